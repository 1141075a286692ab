"""Edge dropping: each stored edge by its own coin, or one coin per undirected edge."""

import torch
from torch import Tensor

from graphcl.views.coins import check_probabilities, flip_coins


def drop_edges(
    edge_index: Tensor,
    p: float | Tensor,
    *,
    undirected: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Drop each edge with probability ``p``; the rest keeps its order.

    With ``undirected=False`` every stored directed edge has its own coin, as in GRACE (Zhu et al.,
    2020, arXiv:2006.04131) and GCA; a view of an undirected graph is then directed. With
    ``undirected=True`` both directions of an edge, and all copies of them, share one coin.

    Args:
        edge_index: Edges (2, E), sorted and unique or not; self loops allowed.
        p: Drop probability, or one per stored edge (E,). With ``undirected=True`` an edge is
            dropped with the mean over its stored copies, that is over its two directions.
        undirected: Keep or drop the two directions together.
        generator: Source of randomness; torch's global one if None.

    Returns:
        The kept edges (2, E').

    Raises:
        ValueError: If ``edge_index`` is not an integer tensor (2, E), or a probability is NaN,
            outside [0, 1] or of the wrong shape.

    Example:
        >>> ring = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> seeded = torch.Generator().manual_seed(1)
        >>> view = drop_edges(ring, 0.5, undirected=True, generator=seeded)
        >>> set(map(tuple, view.T.tolist())) == set(map(tuple, view.flip(0).T.tolist()))
        True
    """
    return edge_index[:, edge_mask(edge_index, p, undirected=undirected, generator=generator)]


def edge_mask(
    edge_index: Tensor,
    p: float | Tensor,
    *,
    undirected: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mask (E,) of the edges that ``drop_edges`` keeps, to index edge weights or types along.

    Arguments and errors are those of ``drop_edges``.
    """
    check_edge_index(edge_index)
    num_edges, device = edge_index.size(1), edge_index.device
    if not undirected:
        return ~flip_coins(p, num_edges, device=device, generator=generator)
    check_probabilities(p, num_edges)
    ids, count = undirected_edge_ids(edge_index)
    if isinstance(p, Tensor) and p.dim() > 0:
        p = _group_mean(p, ids, count)
    return ~flip_coins(p, count, device=device, generator=generator)[ids]


def undirected_mean(edge_index: Tensor, p: Tensor) -> Tensor:
    """Probability (E,) with which an undirected edge falls: the mean over its stored copies."""
    ids, count = undirected_edge_ids(edge_index)
    return _group_mean(p.to(ids.device), ids, count)[ids]


def _group_mean(p: Tensor, ids: Tensor, count: int) -> Tensor:
    total = p.new_zeros(count).index_add_(0, ids, p)
    # The mean of probabilities may round to just above one.
    return (total / torch.bincount(ids, minlength=count)).clamp_max(1)


def undirected_edge_ids(edge_index: Tensor) -> tuple[Tensor, int]:
    """Number the undirected edges: ids (E,) that both directions and all copies share, and a count.

    Ids follow the order of (smaller end, larger end), whatever the order of storage.
    """
    check_edge_index(edge_index)
    if edge_index.size(1) == 0:
        return edge_index.new_zeros(0, dtype=torch.long), 0
    edges = edge_index.long()
    low, high = edges.amin(0), edges.amax(0)
    keys, ids = torch.unique(low * (high.max() + 1) + high, return_inverse=True)
    return ids, keys.numel()


def check_edge_index(edge_index: Tensor, num_nodes: int | None = None) -> None:
    """Raise ValueError unless ``edge_index`` is integer (2, E) with ends in [0, num_nodes)."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index has shape {tuple(edge_index.shape)}: give (2, E)")
    if edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool:
        raise ValueError(f"edge_index has dtype {edge_index.dtype}: give integers")
    if num_nodes is None or edge_index.size(1) == 0:
        return
    low, high = (int(end) for end in edge_index.aminmax())
    if low < 0 or high >= num_nodes:
        raise ValueError(f"edge_index has node ids {low} to {high}, num_nodes is {num_nodes}")
