"""Scores of node pairs by their common neighbours, the baselines of link prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from graphcl.links.neighbourhoods import Neighbourhoods, common_neighbour_sum


def common_neighbours(graph: Neighbourhoods, pairs: Tensor) -> Tensor:
    """Number of common neighbours (B,) float64 of pairs (2, B) (Newman, 2001).

    Example:
        >>> square = Neighbourhoods(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), 4)
        >>> common_neighbours(square, torch.tensor([[0, 0], [2, 1]]))
        tensor([2., 0.], dtype=torch.float64)
    """
    return common_neighbour_sum(graph, pairs, _weights(graph)[:, :1])[:, 0]


def adamic_adar(graph: Neighbourhoods, pairs: Tensor) -> Tensor:
    """Common neighbours weighted by 1 / log(degree) (Adamic and Adar, 2003); (B,) float64."""
    return common_neighbour_sum(graph, pairs, _weights(graph)[:, 1:2])[:, 0]


def resource_allocation(graph: Neighbourhoods, pairs: Tensor) -> Tensor:
    """Common neighbours weighted by 1 / degree (Zhou et al., 2009, arXiv 0901.0553); (B,)."""
    return common_neighbour_sum(graph, pairs, _weights(graph)[:, 2:])[:, 0]


def heuristic_scores(graph: Neighbourhoods, pairs: Tensor) -> Tensor:
    """All three scores (B, 3), in the order above, for one walk through the neighbours."""
    return common_neighbour_sum(graph, pairs, _weights(graph))


def _weights(graph: Neighbourhoods) -> Tensor:
    """What each node counts as a common neighbour, (N, 3)."""
    # A common neighbour of two different nodes has degree two or more, so that the logarithm of a
    # smaller one is asked for by pairs of a node with itself alone, where it counts as of two.
    degree = graph.degree.clamp(min=1).double()
    logarithm = degree.clamp(min=2).log()
    return torch.stack([torch.ones_like(degree), 1 / logarithm, 1 / degree], dim=1)
