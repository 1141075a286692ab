"""Edge dropping that no node suffers from beyond its budget."""

import torch
from torch import Tensor

from graphcl.views.edges import check_edge_index, edge_mask


def drop_edges_within(
    edge_index: Tensor,
    p: float | Tensor,
    budget: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Drop undirected edges with probability ``p`` while both ends have budget left.

    Edges are visited in random order; an edge whose coin says so is dropped unless one of its ends
    has already lost as many edges as its budget allows, or would lose its last one. Both directions
    and all copies of an edge share one coin and one fate, and self loops stay. Bounds over a budget
    (``graphcl.pot``) hold for these views and for no others.

    The visits are not made one by one: whether an edge is dropped depends on earlier ones at its
    two ends alone, so that all edges that are early enough at both ends are decided at once, in
    about log(E) rounds.

    Args:
        edge_index: Edges (2, E) of an undirected graph.
        p: Drop probability, or one per stored edge (E,), of which the two directions' mean counts.
        budget: Number of edges (N,) that each node may lose.
        generator: Source of randomness; torch's global one if None.

    Returns:
        The kept edges (2, E'), in their order.

    Raises:
        ValueError: If ``budget`` is not a vector of integers that are at least 0, or as
            ``drop_edges`` does.

    Example:
        >>> ring = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> drop_edges_within(ring, 1.0, torch.tensor([1, 1, 1])).shape  # one edge is gone
        torch.Size([2, 4])
    """
    if budget.dim() != 1 or budget.is_floating_point() or bool((budget < 0).any()):
        raise ValueError(
            f"budget has shape {tuple(budget.shape)} and {budget.dtype}: give integers (N,) >= 0"
        )
    nodes = len(budget)
    check_edge_index(edge_index, nodes)
    keep = edge_mask(edge_index, p, undirected=True, generator=generator)
    edges = edge_index.long()
    low, high = edges.amin(0), edges.amax(0)
    key = low * nodes + high
    pairs = torch.unique(key[low != high])
    degree = torch.bincount(torch.cat([pairs // nodes, pairs % nodes]), minlength=nodes)
    left = torch.minimum(budget.to(degree), (degree - 1).clamp(min=0))
    chosen = torch.unique(key[~keep & (low != high)])
    source = edge_index.device if generator is None else generator.device
    order = torch.randperm(len(chosen), device=source, generator=generator).to(chosen.device)
    visited = chosen[order]
    dropped = visited[_first_come(visited // nodes, visited % nodes, left)]
    return edge_index[:, ~torch.isin(key, dropped)]


def _first_come(low: Tensor, high: Tensor, left: Tensor) -> Tensor:
    """Mask of the edges (low, high), in order of visit, that are taken while both ends have left.

    An edge with fewer undecided edges before it than is left, at both ends, is taken whatever comes
    of those; the first undecided one always is.
    """
    count = len(low)
    left = left.clone()
    ends = torch.cat([low, high])
    edge = torch.arange(count, device=low.device).repeat(2)
    order = torch.argsort(ends * count + edge)
    ends, edge = ends[order], edge[order]
    size = torch.bincount(ends, minlength=len(left))
    start = (size.cumsum(0) - size)[ends]
    taken = torch.zeros(count, dtype=torch.bool, device=low.device)
    open_ = (left[low] > 0) & (left[high] > 0)
    while bool(open_.any()):
        live = open_[edge]
        before = live.cumsum(0) - live.long()
        early = live & (before - before[start] < left[ends])
        now = torch.bincount(edge[early], minlength=count) == 2
        taken |= now
        left -= torch.bincount(torch.cat([low[now], high[now]]), minlength=len(left))
        open_ &= ~now & (left[low] > 0) & (left[high] > 0)
    return taken
