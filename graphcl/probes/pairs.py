"""Unordered node pairs numbered from 0, and uniform sampling of pairs that are no edge."""

import torch
from torch import Tensor


def pair_number(u: Tensor, v: Tensor) -> Tensor:
    """Number of each pair ``u < v``: ``v (v - 1) / 2 + u``, dense from 0."""
    return v * (v - 1) // 2 + u


def pair_of_number(number: Tensor) -> Tensor:
    """Pairs ``(2, P)`` with ``u < v``, the inverse of :func:`pair_number`."""
    v = ((1 + (1 + 8 * number.double()).sqrt()) / 2).long()
    # The square root is rounded, v may be off by one.
    v = v - (v * (v - 1) // 2 > number).long()
    v = v + (v * (v + 1) // 2 <= number).long()
    return torch.stack([number - v * (v - 1) // 2, v])


def undirected_pairs(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Sorted numbers of the undirected edges, without repeats, directions and self loops.

    Raises:
        ValueError: If ``edge_index`` is not an integer ``(2, E)`` tensor of nodes in range.
    """
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.is_floating_point():
        raise ValueError(
            f"edge_index must be an integer tensor (2, E), got {edge_index.dtype} "
            f"{tuple(edge_index.shape)}"
        )
    edges = edge_index.detach().cpu().long()
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < num_nodes:
        raise ValueError(
            f"edge_index names nodes {int(edges.min())}..{int(edges.max())}, expected "
            f"0..{num_nodes - 1}"
        )
    edges = edges[:, edges[0] != edges[1]]
    numbers: Tensor = torch.unique(pair_number(edges.amin(dim=0), edges.amax(dim=0)))
    return numbers


def sample_non_edges(
    edge_index: Tensor, num_nodes: int, count: int, *, generator: torch.Generator
) -> Tensor:
    """Sample distinct node pairs uniformly among those that are no edge, without self loops.

    Exact at any density: ranks among the non-edges are drawn and shifted past the edges, nothing
    is rejected. Memory is O(E + count).

    Args:
        edge_index: Edges (2, E) in either or both directions.
        num_nodes: Number of nodes.
        count: Number of pairs.
        generator: Source of randomness, on the CPU.

    Returns:
        Pairs (2, count), ``u < v``, in random order, on the CPU.

    Raises:
        ValueError: If there are fewer than ``count`` non-edges.

    Example:
        >>> path = torch.tensor([[0, 1], [1, 2]])
        >>> sample_non_edges(path, 3, 1, generator=torch.Generator())
        tensor([[0],
                [2]])
    """
    edges = undirected_pairs(edge_index, num_nodes)
    available = num_nodes * (num_nodes - 1) // 2 - len(edges)
    if count > available:
        raise ValueError(
            f"the graph is too dense: {count} non-edges asked for, but its {num_nodes} nodes and "
            f"{len(edges)} edges leave {available}"
        )
    rank = _distinct(available, count, generator)
    # edges - arange counts the non-edges below each edge; a rank passes those edges that have no
    # more non-edges below them than the rank.
    passed = torch.searchsorted(edges - torch.arange(len(edges)), rank, right=True)
    return pair_of_number(rank + passed)


def _distinct(limit: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` distinct integers below ``limit``, uniform and in random order."""
    if count > limit // 8:
        return torch.randperm(limit, generator=generator)[:count]
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < count:
        more = torch.randint(limit, (count - len(drawn) + 16,), generator=generator)
        drawn = torch.unique(torch.cat([drawn, more]))
    # All sets of one size are equally likely, and so is each subset of them.
    return drawn[torch.randperm(len(drawn), generator=generator)[:count]]
