"""Budgets: how many of its edges a node may lose in a view."""

from __future__ import annotations

import torch
from scipy.stats import binom
from torch import Tensor

from graphcl.views.coins import check_probabilities
from graphcl.views.edges import check_edge_index, undirected_mean


def edge_budgets(
    edge_index: Tensor, p: float | Tensor, num_nodes: int, *, delta: float | None = None
) -> Tensor:
    """Largest number of edges that each node may lose, never its last one.

    Without ``delta`` it is the number that dropping loses on average, rounded:
    ``min(max(d_i - 1, 0), round(sum of p over the edges into i))``, which is ``p d_i`` for one
    rate. That is a mean, not a bound: when each edge is dropped by a coin, a node loses more with a
    probability of 0.16 to 0.42 (degrees 1 to 30 at p = 0.4). With ``delta`` it is the number that
    coins exceed with probability at most ``delta`` a node: those of undirected edges, each falling
    with the mean rate of its directions, as in :func:`~graphcl.views.drop_edges_within`. Rates that
    differ within a node are replaced by their mean, which only widens the tail (Hoeffding, 1956),
    and the budget is then at least the expected number.

    Args:
        edge_index: (2, E) edges, both directions of each; self loops do not count.
        p: drop probability, or one per stored edge (E,).
        num_nodes: N.
        delta: None, or a probability in (0, 1).

    Returns:
        (N,) int64.

    Raises:
        ValueError: repeated or one-way edges, node ids out of range, or no probabilities.

    Example:
        >>> star = torch.tensor([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]])
        >>> edge_budgets(star, 0.4, 4).tolist(), edge_budgets(star, 0.4, 4, delta=0.05).tolist()
        ([1, 0, 0, 0], [2, 0, 0, 0])
    """
    check_probabilities(p, edge_index.shape[-1])
    if delta is not None and not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    kept = simple_edges(edge_index, num_nodes)
    target = edge_index[1, kept].long()
    degree = torch.bincount(target, minlength=num_nodes)
    rates = p.double().to(target.device) if isinstance(p, Tensor) and p.dim() > 0 else None
    if rates is not None:
        if delta is not None:
            rates = undirected_mean(edge_index, rates)
        expected = torch.zeros(num_nodes, dtype=torch.double, device=target.device)
        expected.index_add_(0, target, rates[kept])
    else:
        expected = degree.double() * float(p)
    lost = expected.round()
    if delta is not None:
        mean = (expected / degree.clamp(min=1)).clamp(0, 1)
        quantile = binom.ppf(1 - delta, degree.cpu().numpy(), mean.cpu().numpy())
        lost = torch.from_numpy(quantile).to(target.device).clamp(min=0)
        if rates is not None:
            lost = torch.where(
                _differ(rates[kept], target, num_nodes), lost.maximum(expected.ceil()), lost
            )
    return torch.minimum(lost.long(), (degree - 1).clamp(min=0))


def _differ(rates: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """Whether the rates of the edges into each node differ, (N,) bool."""
    first = rates.new_zeros(num_nodes)
    first[target] = rates  # of each node's edges any one
    other = torch.zeros(num_nodes, dtype=torch.bool, device=target.device)
    other[target[rates != first[target]]] = True
    return other


def simple_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Mask (E,) of the edges that are no self loops, of a graph without repeated or one-way edges.

    Raises:
        ValueError: an edge that is repeated or lacks its reverse, or node ids out of range.
    """
    check_edge_index(edge_index, num_nodes)
    source, target = edge_index.long()
    kept = source != target
    keys = (source * num_nodes + target)[kept]
    unique, count = torch.unique(keys, return_counts=True)
    if len(unique) < len(keys):
        where = int(unique[count > 1][0])
        raise ValueError(
            f"edge_index holds the edge ({where // num_nodes}, {where % num_nodes}) more than once:"
            " remove copies first with torch_geometric.utils.coalesce"
        )
    reverse = torch.sort((target * num_nodes + source)[kept]).values
    if not torch.equal(unique, reverse):
        alone = unique[~torch.isin(unique, reverse)]
        where = int(alone[0])
        raise ValueError(
            f"edge_index holds ({where // num_nodes}, {where % num_nodes}) without its reverse: "
            "budgets are for undirected graphs, see torch_geometric.utils.to_undirected"
        )
    return kept
