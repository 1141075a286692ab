"""Sums over two views in which a pair of nodes has one weight, from its similarity across views.

The sums that such a weight asks for one by one are four kernel calls, each of which looks the
weights up again: over the other view, over the own view for anchors of either, and over the weights
alone, for their mean. Here a tile of pairs is visited once, its weights are looked up once, and all
sums are folded from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphcl.kernels.chunked import SAFE_LOGIT, FirstOrder
from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.reference import working_dtype
from graphcl.kernels.tiles import blocks, tile_shape
from graphcl.weights.view_sums import Both, ViewSums, with_diagonal

PairWeight = Callable[[Tensor], Tensor]
"""Element-wise map from similarities to new weights, of which no gradient is taken."""


def paired_view_sums(sums: ViewSums, function: PairWeight) -> tuple[Both, Both] | None:
    r"""Log-sums over the negatives of both views, and the log-sums of their weights in one view.

    For an anchor i of view 1, :math:`\log \sum_j w_{ij} (e^{s_{ij} / \tau} + e^{r_{ij} / \tau})`
    with the similarities s across the views, r within view 1 and :math:`w_{ij} = f(s_{ij})`; for an
    anchor j of view 2 the same over i, within view 2.

    Args:
        sums: two views, with ``intra_view`` and ``symmetric``.
        function: f, with values from 1e-12 to 1.

    Returns:
        (N,) each, those of the weights without a gradient; None where another route must be taken:
        logits that have to be shifted, pairs excluded in one direction alone, the reference
        implementation, or half of the sums.
    """
    lengths = torch.stack([z.detach().norm(dim=1).max() for z in (sums.z1, sums.z2)])
    hidden = with_diagonal(sums.exclude)
    if (
        sums.impl not in ("auto", "chunked")
        or not (sums.intra_view and sums.symmetric and hidden.symmetric)
        or not float(lengths.max()) ** 2 / sums.tau <= SAFE_LOGIT  # also for NaN
    ):
        return None
    dtype = working_dtype(sums.z1, sums.z2)
    views = sums.z1.to(dtype), sums.z2.to(dtype)
    first, second, *weights = _PairedSums.apply(*views, sums.tau, function, hidden)
    return (first, second), (weights[0], weights[1])


@dataclass(frozen=True)
class _Tile:
    rows: slice
    columns: slice
    weights: Tensor
    across: Tensor
    within1: Tensor
    within2: Tensor
    """Weighted exponentials of (i, j) across the views, within view 1 and within view 2."""


def _tiles(
    z1: Tensor, z2: Tensor, tau: float, function: PairWeight, exclude: Exclude
) -> Iterator[_Tile]:
    """Visit the tiles; one is overwritten by the next."""
    exclude = exclude.to(z1.device)
    scale = 1 / (tau * math.log(2))  # powers of 2 are quicker than those of e
    scaled1, scaled2 = z1 * scale, z2 * scale
    height, width = tile_shape(len(z1), len(z2), z1.device, worked=True)
    memory = z1.new_empty(3, height * width)
    for rows in blocks(len(z1), height):
        hide = exclude.rows(rows.start, rows.stop)
        for columns in blocks(len(z2), width):
            shape = rows.stop - rows.start, columns.stop - columns.start
            across, within1, within2 = (
                room[: shape[0] * shape[1]].view(shape) for room in memory.unbind()
            )
            torch.mm(z1[rows], z2[columns].T, out=across)
            weights = function(across)
            hide(weights, columns.start, columns.stop)
            weights.clamp_min_(0)  # it was -inf that hid
            torch.mm(scaled1[rows], z1[columns].T, out=within1)
            torch.mm(scaled2[rows], z2[columns].T, out=within2)
            across.mul_(scale)
            for logits in (across, within1, within2):
                logits.exp2_().mul_(weights)
            yield _Tile(rows, columns, weights, across, within1, within2)


class _PairedSums(torch.autograd.Function):
    """The four log-sums, with gradients of the first two by recomputation."""

    @staticmethod
    def forward(
        ctx: Any, z1: Tensor, z2: Tensor, tau: float, function: PairWeight, exclude: Exclude
    ) -> tuple[Tensor, ...]:
        first, second, weights1, weights2 = z1.new_zeros(4, len(z1)).unbind()
        for tile in _tiles(z1, z2, tau, function, exclude):
            weights1[tile.rows] += tile.weights.sum(1)
            weights2[tile.columns] += tile.weights.sum(0)
            first[tile.rows] += tile.within1.add_(tile.across).sum(1)
            second[tile.columns] += tile.within2.add_(tile.across).sum(0)
        ctx.options = tau, function, exclude
        found = tuple(one.log() for one in (first, second, weights1, weights2))
        ctx.save_for_backward(z1, z2, *found[:2])
        ctx.mark_non_differentiable(*found[2:])
        return found

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        z1, z2, *totals = ctx.saved_tensors
        with torch.no_grad():
            found = _gradients(z1, z2, totals, upstream[:2], *ctx.options)
        if torch.is_grad_enabled():
            found = FirstOrder.apply(2, *found, *ctx.saved_tensors, *upstream[:2])
        return *found, None, None, None


def _gradients(
    z1: Tensor,
    z2: Tensor,
    totals: list[Tensor],
    upstream: tuple[Tensor, ...],
    tau: float,
    function: PairWeight,
    exclude: Exclude,
) -> tuple[Tensor, Tensor]:
    """Gradients of both views from those of their log-sums."""
    # An anchor without negatives has nothing to give.
    factor1, factor2 = (
        torch.where(total == -torch.inf, 0.0, up * (-total).exp())
        for total, up in zip(totals, upstream, strict=True)
    )
    given1, given2 = z1 * factor1[:, None], z2 * factor2[:, None]
    grad1, grad2, anchors1, anchors2 = (torch.zeros_like(z1) for _ in range(4))
    for tile in _tiles(z1, z2, tau, function, exclude):
        rows, columns = tile.rows, tile.columns
        share = torch.add(factor1[rows, None], factor2[columns], out=tile.weights)
        across = tile.across.mul_(share)
        grad1[rows].addmm_(across, z2[columns])
        grad2[columns].addmm_(across.T, z1[rows])
        # Within a view the anchor's factor is taken out of the products.
        anchors1[rows].addmm_(tile.within1, z1[columns])
        grad1[columns].addmm_(tile.within1.T, given1[rows])
        grad2[rows].addmm_(tile.within2, given2[columns])
        anchors2[columns].addmm_(tile.within2.T, z2[rows])
    grad1.addcmul_(anchors1, factor1[:, None])
    grad2.addcmul_(anchors2, factor2[:, None])
    return grad1 / tau, grad2 / tau
