"""Intervals of every pre-activation of a GCN, over all views in a budget."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphcl.pot.adjacency import AdjacencyBounds, Interval
from graphcl.pot.layers import Layer, two_lines

# Floats that a block of edges or rows may hold at once.
BLOCK_FLOATS = 2**22


def clean_products(
    layers: Sequence[Layer], x: Tensor, bounds: AdjacencyBounds | None = None
) -> list[Tensor]:
    """``H_{l-1} W_l`` of the unaugmented graph, (N, d_l) for every layer, the first is ``X W_1``.

    Args:
        layers: of the encoder.
        x: (N, F) features, dense or in CSR layout, of any floating dtype.
        bounds: of the adjacency; without them only the first product is made.
    """
    first = layers[0].weight
    products = [x.to(first.dtype) @ first]
    if bounds is not None:
        for layer, following in pairwise(layers):
            hidden = layer.activate(bounds.product(bounds.clean_matrix, products[-1]) + layer.bias)
            products.append(hidden @ following.weight)
    return products


def node_intervals(
    layers: Sequence[Layer],
    bounds: AdjacencyBounds,
    products: Sequence[Tensor],
    *,
    sound: bool = True,
    first: Interval | None = None,
    rows: Tensor | None = None,
) -> list[Interval]:
    """Bounds of ``P_l = Â H_{l-1} W_l + b_l`` for every layer l.

    Sound intervals let both Â and H_{l-1} move: no view in the budget leaves them. Otherwise H is
    held at the unaugmented graph beyond the first layer, as in the release of POT: tighter, but
    views do leave them.

    Args:
        layers: of the encoder.
        bounds: of the adjacency.
        products: of :func:`clean_products`; the first alone is read for sound intervals.
        sound: let H move.
        first: interval of ``X W_1`` where features may be masked; ``products[0]`` without it.
        rows: nodes of the last interval's rows; all without it.

    Returns:
        One interval (N, d_l) per layer.
    """
    if not sound and len(products) < len(layers):
        raise ValueError(
            f"clean intervals of {len(layers)} layers need a product for each, got "
            f"{len(products)}: clean_products(layers, x, bounds)"
        )
    factor = Interval.point(products[0]) if first is None else first
    found: list[Interval] = []
    for depth, layer in enumerate(layers):
        last = depth == len(layers) - 1
        low, high = (bounds.rows(rows) if last else bounds).multiply(factor)
        found.append(Interval(low + layer.bias, high + layer.bias).rows(rows if last else None))
        if last:
            break
        if sound:
            factor = affine(activate(found[-1], layer.slope), layers[depth + 1].weight)
        else:
            factor = Interval.point(products[depth + 1])
    return found


def activate(interval: Interval, slope: Tensor) -> Interval:
    """Bounds of ``σ(t)`` for t in an interval; for a negative slope its minimum is at zero."""
    low, high = interval
    ends = [two_lines(end, slope) for end in interval]
    if bool((slope >= 0).all()):
        return Interval(*ends)
    lower, upper = torch.minimum(*ends), torch.maximum(*ends)
    mixed = (low < 0) & (high > 0)
    return Interval(torch.where(mixed, lower.clamp(max=0), lower), upper)


def affine(interval: Interval, weight: Tensor) -> Interval:
    """Bounds of ``H W`` for H (N, d) in an interval."""
    centre = (interval.high + interval.low) / 2 @ weight
    radius = (interval.high - interval.low) / 2 @ weight.abs()
    return Interval(centre - radius, centre + radius)


def masked_products(
    x: Tensor, weight: Tensor, columns: int, *, block: int = BLOCK_FLOATS
) -> Interval:
    """Bounds of ``X W`` (N, d) over all ways to set at most ``columns`` columns of X to zero.

    Exact for each entry: what it can lose at most are its largest terms ``X_jf W_fc``. Rows are
    taken in blocks and only their non-zero entries are looked at; the backward pass forms the
    blocks again.

    Args:
        x: (N, F) features, dense or in CSR layout.
        weight: (F, d).
        columns: how many columns may be masked.
        block: floats that a block may hold.

    Raises:
        ValueError: ``columns`` is negative.
    """
    if columns < 0:
        raise ValueError(f"columns must not be negative, got {columns}")
    base = x.to(weight.dtype) @ weight
    if columns == 0:
        return Interval.point(base)
    if x.layout != torch.sparse_csr:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            x = x.to_sparse_csr()
    ptr, column, value = x.crow_indices(), x.col_indices(), x.values().to(weight.dtype)
    size = ptr.diff()
    widest = int(size.max()) if len(size) else 0
    if widest == 0:
        return Interval.point(base)
    least, most = [], []
    step = max(1, block // (widest * weight.shape[1]))
    for start in range(0, len(size), step):
        some = size[start : start + step]
        slot = torch.arange(widest, device=x.device)
        filled = slot < some[:, None]
        entry = (ptr[start : start + len(some), None] + slot).clamp(max=len(column) - 1)
        scale = value[entry].masked_fill(~filled, 0)
        arguments = (weight, column[entry], scale, min(columns, widest))
        if torch.is_grad_enabled():
            pair = checkpoint(
                _largest_terms, *arguments, use_reentrant=False, preserve_rng_state=False
            )
        else:
            pair = _largest_terms(*arguments)
        least.append(pair[0])
        most.append(pair[1])
    return Interval(base - torch.cat(most), base - torch.cat(least))


def _largest_terms(
    weight: Tensor, column: Tensor, scale: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Sums (rows, d) of the ``count`` smallest negative and largest positive terms of each row."""
    terms = scale[:, :, None] * weight[column]
    negative = -(-terms).clamp(min=0).topk(count, dim=1).values.sum(1)
    positive = terms.clamp(min=0).topk(count, dim=1).values.sum(1)
    return negative, positive
