"""Log-sum-exp over negatives in bounded memory: tiles are computed, folded and recomputed.

The forward pass keeps one number per row (and column); the backward pass computes each tile again
and multiplies it out at once, so that memory beyond inputs and gradients is a few tiles. Where the
whole problem is no more than that, its tiles are kept instead. A product of a matrix with itself
visits each off-diagonal tile once and uses it for both of its sides. See ``README.md`` beside this
file for the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.reference import working_dtype
from graphcl.kernels.tiles import blocks, tile_shape
from graphcl.kernels.weights import Grads, TileWeight

Sides = Literal["rows", "both", "self"]
"""Fold rows only; rows and columns of one product; rows of a symmetric product with itself."""

# Logits within +-40 can be exponentiated as they are: exp(40) times any count of keys stays far
# below the float32 maximum (3e38), exp(-40) far above the smallest normal number (1e-38).
SAFE_LOGIT = 40.0

# Tiles of a small problem (16 MB of float32) are kept for the backward pass, which then needs three
# products in place of four, and no second exponential where logits are bounded.
_KEPT_PAIRS = 2**22


@dataclass(frozen=True)
class _Tile:
    rows: slice
    columns: slice
    logits: Tensor
    similarity: Tensor | None
    mirrored: bool
    """Whether the tile also serves as its own transpose on the other side."""


class _Problem:
    """One (Q, K) problem in working precision, able to produce its tiles."""

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        tau: float,
        weight: TileWeight | None,
        parameters: tuple[Tensor, ...],
        exclude: Exclude | None,
        sides: Sides,
        kept: list[_Tile] | None = None,
    ) -> None:
        dtype = working_dtype(queries, keys)
        self.keys = keys.to(dtype).contiguous()
        self.queries = (queries.to(dtype) / tau).contiguous()
        self.tau, self.weight, self.sides = tau, weight, sides
        self.exclude = None if exclude is None else exclude.to(queries.device)
        self.parameters = tuple(
            p.to(queries.device, dtype if p.is_floating_point() else p.dtype) for p in parameters
        )
        worked = weight is not None and weight.fills_tiles
        self.shape = tile_shape(len(queries), len(keys), queries.device, worked=worked)
        self.bounded = self._is_bounded()
        # Powers of 2 are quicker than those of e.
        self.unit = 1.0
        if self.bounded and weight is None:
            self.unit = math.log2(math.e)
            self.queries *= self.unit
        self.kept = kept
        self.exponentiated = self.bounded and bool(kept)

    @property
    def is_small(self) -> bool:
        """Whether the tiles may be kept rather than computed again."""
        plain = self.weight is None or not self.weight.needs_similarity
        return plain and self.queries.shape[0] * self.keys.shape[0] <= _KEPT_PAIRS

    def _is_bounded(self) -> bool:
        """Whether every logit is known to lie within the range that needs no shift."""
        if self.queries.shape[0] == 0 or self.keys.shape[0] == 0:
            return True
        bound = float(self.queries.norm(dim=1).max() * self.keys.norm(dim=1).max())
        if self.weight is not None:
            extent = self.weight.bounds(self.parameters)
            if extent is None:
                return False
            bound += max(abs(extent[0]), abs(extent[1]))
        return bound <= SAFE_LOGIT  # false for NaN as well

    def tiles(self) -> Iterator[_Tile]:
        """Visit the tiles; the logits of one are overwritten by the next, unless they are kept."""
        if self.kept:
            yield from self.kept
            return
        num_queries, num_keys = self.queries.shape[0], self.keys.shape[0]
        height, width = self.shape
        if self.sides == "self":
            width = height
        memory = self.queries.new_empty(height * width)
        for rows in blocks(num_queries, height):
            hide = None if self.exclude is None else self.exclude.rows(rows.start, rows.stop)
            for columns in blocks(num_keys, width):
                if self.sides == "self" and columns.start < rows.start:
                    continue
                high, wide = rows.stop - rows.start, columns.stop - columns.start
                if self.kept is None:
                    logits = memory[: high * wide].view(high, wide)
                else:
                    logits = torch.empty_like(memory[: high * wide]).view(high, wide)
                torch.mm(self.queries[rows], self.keys[columns].T, out=logits)
                similarity = None
                if self.weight is not None:
                    if self.weight.needs_similarity:
                        similarity = logits * self.tau
                    logits += self.weight.tile(self.parameters, rows, columns, similarity)
                if hide is not None:
                    hide(logits, columns.start, columns.stop)
                mirrored = self.sides == "both" or (
                    self.sides == "self" and columns.start > rows.start
                )
                tile = _Tile(rows, columns, logits, similarity, mirrored)
                if self.kept is not None:
                    self.kept.append(tile)
                yield tile

    def exponentiate(self, logits: Tensor) -> Tensor:
        """Exponentials of bounded logits, in place; kept tiles hold them already."""
        if self.exponentiated:
            return logits
        return logits.exp_() if self.unit == 1.0 else logits.exp2_()

    def totals(self) -> tuple[Tensor, Tensor]:
        """Log-sum-exp of every row (Q,) and column (K,); columns only where ``sides`` asks."""
        rows = _Total(self.queries)
        columns = rows if self.sides == "self" else _Total(self.keys)
        for tile in self.tiles():
            if self.bounded:
                terms = self.exponentiate(tile.logits)
                rows.sum[tile.rows] += terms.sum(1)
                if tile.mirrored:
                    columns.sum[tile.columns] += terms.sum(0)
            else:
                rows.fold(tile.rows, tile.logits, 1)
                if tile.mirrored:
                    columns.fold(tile.columns, tile.logits, 0)
        return rows.value(), columns.value()

    def gradients(
        self,
        totals: tuple[Tensor, Tensor | None],
        upstream: tuple[Tensor, Tensor | None],
        wanted: tuple[bool, bool, bool],
        out: Grads,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of queries, keys and tau, recomputing every tile.

        Args:
            totals: what :meth:`totals` returned; columns ``None`` for ``sides="rows"``.
            upstream: gradients of those.
            wanted: which of queries, keys and tau need a gradient.
            out: accumulators of the weight's parameters.
        """
        grad_queries, grad_keys = torch.zeros_like(self.queries), torch.zeros_like(self.keys)
        if self.sides == "self":
            grad_keys = grad_queries  # one matrix in both roles
        share = _Share(self, totals, upstream)
        into_weight = self.weight is not None and (
            self.weight.feeds_similarity or any(slot is not None for slot in out)
        )
        # With rows alone, the row factor of the shares can be taken out of both products.
        factored = self.bounded and self.sides == "rows" and not into_weight
        scaled = self.queries * share.rows.factor[:, None] if factored else self.queries
        raw = self.keys if self.sides == "self" else scaled
        grad_tau = self.queries.new_zeros(())
        for tile in self.tiles():
            grad = self.exponentiate(tile.logits) if factored else share.of(tile)
            if into_weight and self.weight is not None:
                # A diagonal tile of a symmetric product holds each pair in both orders already.
                once = 1.0 if tile.mirrored or self.sides == "rows" else 0.5
                if self.weight.feeds_similarity and wanted[2] and tile.similarity is not None:
                    grad_tau -= once / self.tau**2 * (grad * tile.similarity).sum()
                through = self.weight.backward_tile(
                    self.parameters, tile.rows, tile.columns, tile.similarity, once * grad, out
                )
                if through is not None:
                    grad.add_(through, alpha=self.tau / once)
            if wanted[0] or wanted[2]:
                grad_queries[tile.rows].addmm_(grad, self.keys[tile.columns])
            if (wanted[1] and self.sides != "self") or (self.sides == "self" and tile.mirrored):
                grad_keys[tile.columns].addmm_(grad.T, raw[tile.rows])
        if factored:
            grad_queries *= share.rows.factor[:, None]
        if wanted[2] and not (self.weight is not None and self.weight.feeds_similarity):
            half = 0.5 if self.sides == "self" else 1.0
            grad_tau = -half / (self.tau * self.unit) * (self.queries * grad_queries).sum()
        if self.sides != "self" and self.unit != 1.0:
            grad_keys /= self.unit
        return grad_queries / self.tau, grad_keys, grad_tau


class _Total:
    """Running log-sum-exp of each row of a matrix."""

    def __init__(self, like: Tensor) -> None:
        self.sum = like.new_zeros(like.shape[0])
        self.top: Tensor | None = None

    def fold(self, at: slice, logits: Tensor, dim: int) -> None:
        """Add the logits of a tile to the rows ``at``, rescaling by the new maximum."""
        if self.top is None:
            self.top = torch.full_like(self.sum, -torch.inf)
        top = torch.maximum(self.top[at], logits.amax(dim))
        shift = torch.where(top.isfinite(), top, 0.0)
        added = _exp_(logits - shift.unsqueeze(dim)).sum(dim)
        self.sum[at] = self.sum[at] * (self.top[at] - shift).exp() + added
        self.top[at] = top

    def value(self) -> Tensor:
        """The log-sum-exp; -inf where nothing was added."""
        if self.top is None:
            return self.sum.log()
        return torch.where(self.top.isfinite(), self.top, 0.0) + self.sum.log()


class _Share:
    """Upstream gradient times softmax share of every pair of a tile."""

    def __init__(
        self,
        problem: _Problem,
        totals: tuple[Tensor, Tensor | None],
        upstream: tuple[Tensor, Tensor | None],
    ) -> None:
        self.problem = problem
        self.rows = Side(totals[0], upstream[0])
        self.columns = (
            None if totals[1] is None or upstream[1] is None else Side(totals[1], upstream[1])
        )
        self.spare: Tensor | None = None

    def of(self, tile: _Tile) -> Tensor:
        """Gradient of the tile's logits, in the tile's own memory."""
        logits, rows, columns = tile.logits, self.rows, self.columns
        if self.problem.bounded:
            share = self.problem.exponentiate(logits)
            factor = rows.factor[tile.rows, None]
            if columns is None:
                return share.mul_(factor)
            if self.spare is None:
                self.spare = torch.empty_like(logits).view(-1)
            spare = self.spare[: logits.numel()].view_as(logits)
            return share.mul_(torch.add(factor, columns.factor[tile.columns], out=spare))
        by_row = _exp_(logits - rows.total[tile.rows, None]).mul_(rows.upstream[tile.rows, None])
        if columns is None:
            return by_row
        by_column = _exp_(logits.sub_(columns.total[tile.columns]))
        return by_row.add_(by_column.mul_(columns.upstream[tile.columns]))


class Side:
    """Totals and upstream gradients of the rows or columns of all tiles."""

    def __init__(self, total: Tensor, upstream: Tensor) -> None:
        # A row with nothing to sum has no share to give; its upstream gradient is dropped.
        empty = total == -torch.inf
        self.total = total.masked_fill(empty, 0.0)
        self.upstream = upstream.to(total.dtype).masked_fill(empty, 0.0)
        self.factor = self.upstream * (-self.total).exp()
        """Upstream over sum of exponentials; only meaningful for bounded logits."""


def _exp_(logits: Tensor) -> Tensor:
    """Exponentials of logits up to about 0, in place, by powers of two.

    On a CPU the exponential to base e takes ten to thirty times as long where it underflows, and
    scores of an untrained model with wide vectors are mostly so far apart. The relative error of a
    term grows with its logit, to 4e-6 in float32 for the least that are kept. Terms below 4e-29
    (float64 3e-231) become 0: no sum to which the largest term adds 1 can hold them, and products
    with subnormal numbers, which they would lead to, take many times as long on some processors.
    """
    least = torch.finfo(logits.dtype).tiny ** 0.75
    return torch.threshold_(logits.mul_(1 / math.log(2)).exp2_(), least, 0.0)


class FirstOrder(torch.autograd.Function):
    """Ties gradients to what they were computed from, so that differentiating them raises."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        """The first ``count`` tensors, unchanged."""
        return tuple(None if t is None else t.view_as(t) for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Always an error."""
        raise RuntimeError(
            "this implementation can be differentiated once; impl='reference' (for segments "
            "'torch') has every order"
        )


class _TiledLogSumExp(torch.autograd.Function):
    """Row-wise and column-wise log-sum-exp with gradients by recomputation."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        tau: float | Tensor,
        weight: TileWeight | None,
        exclude: Exclude | None,
        sides: Sides,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.tau, ctx.weight, ctx.exclude, ctx.sides = float(tau), weight, exclude, sides
        ctx.tau_like = tau.detach() if isinstance(tau, Tensor) else None
        with torch.autocast(queries.device.type, enabled=False):
            problem = _Problem(queries, keys, float(tau), weight, parameters, exclude, sides)
            if any(ctx.needs_input_grad) and problem.is_small:
                problem.kept = []
            rows, columns = problem.totals()
        ctx.kept = problem.kept
        if sides != "both":
            columns = columns.new_empty(0)
            ctx.mark_non_differentiable(columns)
        ctx.save_for_backward(queries, keys, rows, columns, *parameters)
        return rows, columns

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor, grad_columns: Tensor) -> tuple[Any, ...]:
        with torch.no_grad():
            found = _TiledLogSumExp._gradients(ctx, grad_rows, grad_columns)
        if torch.is_grad_enabled():
            found = FirstOrder.apply(
                len(found), *found, *ctx.saved_tensors, grad_rows, grad_columns
            )
        return found

    @staticmethod
    def _gradients(ctx: Any, grad_rows: Tensor, grad_columns: Tensor) -> tuple[Any, ...]:
        queries, keys, rows, columns, *parameters = ctx.saved_tensors
        weight, sides = ctx.weight, ctx.sides
        with torch.autocast(queries.device.type, enabled=False):
            kept, ctx.kept = ctx.kept, None  # the gradients are written over them
            problem = _Problem(
                queries, keys, ctx.tau, weight, tuple(parameters), ctx.exclude, sides, kept
            )
            out: Grads = [
                torch.zeros_like(p) if needed else None
                for p, needed in zip(problem.parameters, ctx.needs_input_grad[6:], strict=True)
            ]
            # A symmetric product folds the same totals on both of its sides.
            total, upstream = {
                "rows": (None, None),
                "both": (columns, grad_columns),
                "self": (rows, grad_rows),
            }[sides]
            grad_queries, grad_keys, grad_tau = problem.gradients(
                (rows, total), (grad_rows, upstream), ctx.needs_input_grad[:3], out
            )
        needs = ctx.needs_input_grad
        return (
            grad_queries.to(queries.dtype) if needs[0] else None,
            grad_keys.to(keys.dtype) if needs[1] and sides != "self" else None,
            grad_tau.to(ctx.tau_like).reshape(ctx.tau_like.shape) if needs[2] else None,
            None,
            None,
            None,
            *(
                None if g is None else g.to(p.dtype).to(p.device)
                for g, p in zip(out, parameters, strict=True)
            ),
        )


def chunked_logsumexp(
    queries: Tensor,
    keys: Tensor,
    tau: float | Tensor,
    log_weight: TileWeight | None,
    exclude: Exclude | None,
    sides: Sides,
) -> tuple[Tensor, Tensor]:
    """Row-wise (Q,) and, for ``sides="both"``, column-wise (K,) log-sum-exp in bounded memory."""
    parameters = () if log_weight is None else log_weight.parameters
    rows, columns = _TiledLogSumExp.apply(
        queries, keys, tau, log_weight, exclude, sides, *parameters
    )
    return rows, columns
