r"""Scores of nodes: lower bounds of how well a view's embedding matches the other view's.

With the other view's embedding Z' held fixed, a node's match in a view with adjacency Â is

.. math:: c_i(\hat A) = f(X, \hat A)_i \cdot w_i, \quad
          w_i = \bar z'_i - \tfrac{1}{N - 1} \sum_{j \ne i} \bar z'_j

with unit rows :math:`\bar z'`; its smallest value over a budget is the node's compactness. The last
activation is replaced by lines, so that :math:`c_i \ge \sum_j \hat A_{ij} v_i \cdot H_j + const_i`,
and the scores differ in how they bound what is left:

- ``pairwise``: at the drawn view, with lines for the activation before. A lower bound of
  :math:`c_i` of that view where intervals are sound.
- ``certified``: over the whole budget. A lower bound of the compactness. The line of the last
  activation that may be tilted freely has the slope of one side or the other, whichever is better
  for the node: tighter than the slope of the chord, and a larger budget never raises the score.
- ``official``: what the release of POT computes, with the lines and the vector v of the neighbour
  in place of the target's. A bound of nothing; for reproduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphcl.kernels.unit_rows import unit_rows
from graphcl.pot.adjacency import AdjacencyBounds, Interval, view_matrix
from graphcl.pot.intervals import BLOCK_FLOATS, activate
from graphcl.pot.layers import Layer
from graphcl.pot.relaxation import Lines, activation_lines

Score = Literal["pairwise", "certified", "official"]
SCORES: tuple[str, ...] = get_args(Score)


def contrast_weights(other: Tensor, rows: Tensor | None = None) -> Tensor:
    """``w_i`` for embeddings of the other view (N, D), all rows or some.

    O(N D): the mean over the other nodes takes one sum. The rows of all nodes add up to zero. An
    embedding of zero has no direction: it counts as zero and gets no gradient.

    Raises:
        ValueError: fewer than two nodes.
    """
    nodes = len(other)
    if nodes < 2:
        raise ValueError(f"a contrast needs at least two nodes, got {nodes}")
    unit = unit_rows(other)
    own = unit if rows is None else unit[rows]
    return (nodes * own - unit.sum(0)) / (nodes - 1)


def node_scores(
    score: Score,
    layers: Sequence[Layer],
    bounds: AdjacencyBounds,
    intervals: Sequence[Interval],
    weights: Tensor,
    *,
    view: Tensor | None = None,
    product: Tensor | None = None,
    first: Interval | None = None,
    rows: Tensor | None = None,
    block: int = BLOCK_FLOATS,
) -> Tensor:
    """Scores (R,) of R nodes.

    Time O(E d); memory O(N d) and, for ``certified``, blocks of edges. With ``rows`` the scores
    are those of a full batch: only targets are left out, no neighbour.

    Args:
        score: ``pairwise``, ``certified`` or ``official``.
        layers: of the encoder.
        bounds: of the adjacency, over the budget.
        intervals: of :func:`~graphcl.pot.node_intervals`, the last one with R rows.
        weights: (R, D) of :func:`contrast_weights`.
        view: (2, E') edges of the drawn view; ``certified`` needs none.
        product: (N, d_1) ``X W_1`` with the features of the drawn view; ``certified`` needs none
            but for one layer.
        first: interval of ``X W_1`` for one layer under ``certified``; ``product`` without it.
        rows: (R,) distinct targets; all nodes without it.
        block: floats that a block of edges may hold.

    Raises:
        ValueError: an unknown score, or ``official`` with other than two layers or with ``rows``:
            it needs the vectors v of all nodes; or what a score needs is missing.
    """
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}; choose from {', '.join(SCORES)}")
    if score == "official" and len(layers) != 2:
        raise ValueError(
            f"the official score is defined for two layers, the encoder has {len(layers)}: take "
            "pairwise or certified"
        )
    if score == "official" and rows is not None:
        raise ValueError("the official score needs all nodes: leave rows out and pick afterwards")
    if score == "certified":
        # One layer is linear in X W: its columns take the place of the hidden ones.
        hidden = (
            activate(intervals[-2], layers[-2].slope) if len(layers) > 1 else _first(first, product)
        )
        found = []
        for tilt in (layers[-1].slope, torch.ones_like(layers[-1].slope)):
            vector, constant = _last_lines(layers, intervals[-1], weights, tilt)
            found.append(constant + _smallest_sum(bounds, hidden, vector, rows, block))
        return torch.maximum(*found)
    vector, constant = _last_lines(layers, intervals[-1], weights)
    if view is None or product is None:
        raise ValueError(f"the {score} score needs view and product, X W_1 of the view")
    count = len(bounds.budget)
    full = view_matrix(view, count, dtype=product.dtype)
    part = full if rows is None else view_matrix(view, count, dtype=product.dtype, rows=rows)
    if score == "official":
        return constant + _official(layers, intervals, full, product, vector)
    return constant + _pairwise(layers, intervals, full, part, product, vector, rows)


def _first(first: Interval | None, product: Tensor | None) -> Interval:
    if first is not None:
        return first
    if product is None:
        raise ValueError("the certified score of one layer needs first, or product")
    return Interval.point(product)


def _last_lines(
    layers: Sequence[Layer], interval: Interval, weights: Tensor, tilt: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Vectors v (R, d) and constants (R,) with ``c_i >= v_i · (Â H)_i + const_i``.

    The line through the origin has the slope of the chord, or ``tilt``.
    """
    slope = layers[-1].slope
    lines = activation_lines(interval, slope)
    chosen = lines.slope
    if tilt is not None:
        mixed = (interval.low < 0) & (interval.high > 0)
        free = mixed & ((weights >= 0) == (slope <= 1))
        chosen = torch.where(free, tilt, chosen)
    slopes = chosen * weights
    constant = slopes @ layers[-1].bias + _intercepts(lines, weights)
    return slopes @ layers[-1].weight.t() if len(layers) > 1 else slopes, constant


def _intercepts(lines: Lines, coefficient: Tensor) -> Tensor:
    """Sum over channels of the intercept on the side that a coefficient's sign asks for."""
    below, above = coefficient.clamp(min=0), coefficient.clamp(max=0)
    return (below * lines.lower + above * lines.upper).sum(1)


def _pairwise(
    layers: Sequence[Layer],
    intervals: Sequence[Interval],
    full: Tensor,
    part: Tensor,
    product: Tensor,
    vector: Tensor,
    rows: Tensor | None,
) -> Tensor:
    """``Σ_j Â_ij (v_i · line of H_j)`` at the drawn view.

    The lines have one slope per node and channel, so that the target's v stands outside of the sum.
    Before the last two layers the drawn view itself is propagated.
    """
    if len(layers) == 1:
        return (vector * _some(part @ product, rows)).sum(1)
    for layer, following in pairwise(layers[:-1]):
        product = layer.activate(full @ product + layer.bias) @ following.weight
    hidden = full @ product + layers[-2].bias
    lines = activation_lines(intervals[-2], layers[-2].slope)
    total = (vector * _some(part @ (lines.slope * hidden), rows)).sum(1)
    for intercept, side in (
        (lines.lower, vector.clamp(min=0)),
        (lines.upper, vector.clamp(max=0)),
    ):
        if bool(intercept.any()):
            total = total + (side * _some(part @ intercept, rows)).sum(1)
    return total


def _official(
    layers: Sequence[Layer],
    intervals: Sequence[Interval],
    full: Tensor,
    product: Tensor,
    vector: Tensor,
) -> Tensor:
    """The release's sum, in which every node brings its own vector and its own lines."""
    lines = activation_lines(intervals[0], layers[0].slope)
    tilted = lines.slope * vector
    own = (product * tilted).sum(1)
    shift = tilted @ layers[0].bias + _intercepts(lines, vector)
    return (full @ (full @ own[:, None] + shift[:, None])).squeeze(1)


def _some(values: Tensor, rows: Tensor | None) -> Tensor:
    return values if rows is None else values[rows]


def _smallest_sum(
    bounds: AdjacencyBounds, hidden: Interval, vector: Tensor, rows: Tensor | None, block: int
) -> Tensor:
    """Smallest ``Σ_j Â_ij v_i · H_j`` (R,) over the budget.

    Every neighbour contributes its smallest value as a kept edge, less the largest positive ones
    among those that may be dropped, as many as the budget allows.
    """
    part = bounds.rows(rows)
    place = part.target
    budget = part.budget
    if rows is not None:
        position = torch.zeros_like(budget)
        position[rows] = torch.arange(len(rows), device=rows.device)
        place, budget = position[part.target], budget[rows]
    least = _entry_products(vector, hidden, place, part.source, block)
    kept = torch.minimum(part.clean * least, part.upper * least)
    gain = kept.clamp(min=0).masked_fill(~part.droppable, 0)
    order = torch.argsort(gain.detach(), descending=True, stable=True)
    order = order[torch.argsort(place[order], stable=True)]
    where = place[order]
    size = torch.bincount(place, minlength=len(vector))
    rank = torch.arange(len(where), device=where.device) - (size.cumsum(0) - size)[where]
    lost = torch.where(rank < budget[where], gain[order], 0.0)
    total = vector.new_zeros(len(vector))
    return total.index_add(0, place, kept).index_add(0, where, -lost)


def _entry_products(
    vector: Tensor, hidden: Interval, place: Tensor, source: Tensor, block: int
) -> Tensor:
    """Smallest ``v_i · H_j`` for every entry (i, j), (M,), in blocks that backward forms again."""
    step = max(1, block // max(1, vector.shape[1]))
    below, above = vector.clamp(min=0), vector.clamp(max=0)
    found = []
    for at, other in zip(place.split(step), source.split(step), strict=True):
        arguments = (below, above, hidden.low, hidden.high, at, other)
        if torch.is_grad_enabled():
            part = checkpoint(
                _block_products, *arguments, use_reentrant=False, preserve_rng_state=False
            )
        else:
            part = _block_products(*arguments)
        found.append(part)
    return torch.cat(found)


def _block_products(
    below: Tensor, above: Tensor, low: Tensor, high: Tensor, place: Tensor, source: Tensor
) -> Tensor:
    return (below[place] * low[source]).sum(1) + (above[place] * high[source]).sum(1)
