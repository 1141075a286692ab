"""Adaptive drop probabilities of GCA: what matters little is dropped more often.

Both functions map log-importances w to relative drop rates

    s = (max w - w) / (max w - mean w),        p_drop = min(p * s, threshold),

so the mean of s is exactly one and the mean drop rate is ``p`` where nothing is clipped.
"""

import torch
from torch import Tensor

from graphcl.views.coins import check_probabilities
from graphcl.views.edges import check_edge_index

# Smallest centrality counted, relative to the largest: keeps log(0) out.
RELATIVE_FLOOR = 1e-8
# A smaller spread of log-importances is rounding noise, which s would blow up to full range.
SMALLEST_SPREAD = 1e-6


def edge_drop_probabilities(
    edge_index: Tensor, centrality: Tensor, p: float, *, threshold: float = 0.7
) -> Tensor:
    """Drop probability per stored edge from the centrality of its target (GCA).

    Zhu et al., 2021, arXiv:2010.14945, with ``w = log(centrality of the target)``. Only the ratios
    of centralities matter; those below 1e-8 of the largest count as 1e-8 of it. If all targets
    are equally central (within 1e-6), every edge gets ``min(p, threshold)``.

    Args:
        edge_index: Edges (2, E) from row 0 to row 1. The two directions of an undirected edge get
            different probabilities, each from its own target.
        centrality: Non-negative node centrality (N,).
        p: Mean drop probability before clipping.
        threshold: Largest drop probability.

    Returns:
        Probabilities (E,), for ``drop_edges``.

    Raises:
        ValueError: If ``p`` or ``threshold`` is outside [0, 1], ``centrality`` is negative, not
            finite or not a vector, or ``edge_index`` is not (2, E) integers below N.

    Example:
        >>> star = torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])
        >>> edge_drop_probabilities(star, torch.tensor([2.0, 1.0, 1.0]), 0.2)
        tensor([0.4000, 0.0000, 0.4000, 0.0000])
    """
    importance = _relative(centrality)
    check_edge_index(edge_index, importance.numel())
    return _drop_probabilities(importance[edge_index[1].long()].log(), p, threshold)


def feature_mask_probabilities(
    x: Tensor, centrality: Tensor, p: float, *, threshold: float = 0.7
) -> Tensor:
    """Mask probability per feature column from the centrality of the nodes that use it (GCA).

    Zhu et al., 2021, arXiv:2010.14945, with ``w_f = log(sum_i |x_if| centrality_i)``. Columns that
    are zero everywhere stay out of the maximum and the mean and get the largest probability of the
    used ones. If all used columns are equally important (within 1e-6), every column gets
    ``min(p, threshold)``. Centralities are floored as in ``edge_drop_probabilities``.

    Args:
        x: Node features (N, F), dense or in CSR layout.
        centrality: Non-negative node centrality (N,).
        p: Mean mask probability of the used columns before clipping.
        threshold: Largest mask probability.

    Returns:
        Probabilities (F,), for ``mask_features``.

    Raises:
        ValueError: If ``p`` or ``threshold`` is outside [0, 1], ``centrality`` is negative, not
            finite or not of shape (N,), or ``x`` is not a finite matrix.
    """
    importance = _relative(centrality)
    if x.dim() != 2 or x.size(0) != importance.numel():
        raise ValueError(
            f"x has shape {tuple(x.shape)}: give (N, F), the {importance.numel()} nodes as rows"
        )
    use = torch.zeros(x.size(1), dtype=torch.double, device=x.device)
    if x.layout == torch.sparse_csr:
        by_entry = importance.repeat_interleave(x.crow_indices().diff())
        use.index_add_(0, x.col_indices(), x.values().double().abs() * by_entry)
    else:
        # In blocks: neither |x| nor its double precision copy is ever held in full.
        for rows, weights in zip(torch.split(x, 1024), torch.split(importance, 1024), strict=True):
            use += weights @ rows.double().abs()
    if not use.isfinite().all():
        raise ValueError(f"x has NaN or infinite values in {int((~use.isfinite()).sum())} columns")
    return _drop_probabilities(use.log(), p, threshold)


def _relative(centrality: Tensor) -> Tensor:
    """Centrality over its largest value, floored, in double precision."""
    if centrality.dim() != 1:
        raise ValueError(f"centrality has shape {tuple(centrality.shape)}: give (N,)")
    values = centrality.detach().double()
    wrong = ~(values.isfinite() & (values >= 0))
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"centrality {values[first].item()} of node {first}: give finite values >= 0"
        )
    if not values.any():
        return torch.ones_like(values)
    return (values / values.max()).clamp_min(RELATIVE_FLOOR)


def _drop_probabilities(w: Tensor, p: float, threshold: float) -> Tensor:
    """Map log-importances to ``min(p * s, threshold)``; -inf marks what is never used."""
    check_probabilities(p, 1)
    check_probabilities(threshold, 1)
    used = w.isfinite()
    known = w[used]
    s = torch.ones_like(w)
    if known.numel() and known.max() - known.min() > SMALLEST_SPREAD:
        s = (known.max() - w) / (known.max() - known.mean())
        s = torch.where(used, s, s[used].max())
    return (p * s).clamp_max(threshold).to(torch.get_default_dtype())
