"""Modularity of a partition, from the list of edges."""

from __future__ import annotations

import torch
from torch import Tensor


def modularity(edge_index: Tensor, label: Tensor) -> float:
    r"""Newman's modularity :math:`\sum_c (L_c / 2m - (v_c / 2m)^2)` in O(E + N).

    Args:
        edge_index: (2, E) directed edges; an undirected graph stores both directions.
        label: (N,) int64 communities.

    Returns:
        At most 1; 0 for a graph without edges.

    Example:
        >>> pairs = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
        >>> modularity(pairs, torch.tensor([0, 0, 1, 1]))
        0.5
    """
    edges = edge_index.shape[1]
    if edges == 0:
        return 0.0
    ends = label[edge_index]
    inside = (ends[0] == ends[1]).double().mean()
    volume = torch.bincount(ends[0]).double() / edges
    return float(inside - volume.square().sum())
