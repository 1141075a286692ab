"""Log-sum-exp over negatives by the Triton kernels: launching, gradients, precisions.

float32, bfloat16 and float16 inputs are multiplied as they are and summed in float32. Products of
float32 rows are exact ("ieee"), or of rows rounded to TF32 ("tf32"), or of rows split into two
TF32 numbers each ("tf32x3", nearly exact): as asked for, else as torch's own setting
(``torch.set_float32_matmul_precision``) has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import triton
from torch import Tensor

from graphcl.kernels.chunked import FirstOrder, Side, Sides
from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.tiles import blocks
from graphcl.kernels.triton_launch import (
    CHUNKS,
    SHAPES,
    compiled,
    first_that_fits,
    matmul_precision,
    power_of_two,
)
from graphcl.kernels.triton_pairs import fold_rows
from graphcl.kernels.triton_segments import segment_totals
from graphcl.kernels.triton_support import (
    ExclusionPlan,
    Precision,
    WeightPlan,
    interpreting,
    plan_exclusion,
    plan_weight,
)
from graphcl.kernels.weights import TileWeight

# Numbers in the sums of (queries, some labels of keys) behind the gradient of a table.
_TABLE_SUMS = 1 << 26


@dataclass(frozen=True)
class _Role:
    """Everything the kernel knows of one side: rows, weights' factors, labels."""

    rows: Tensor
    bias: Tensor | None = None
    label: Tensor | None = None
    step: int = 0
    factor: Tensor | None = None
    value: Tensor | None = None
    group: Tensor | None = None


class _Problem:
    """One call: both roles on the device of the queries, ready to launch either way round."""

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        tau: float,
        weight: WeightPlan,
        parameters: tuple[Tensor, ...],
        exclude: ExclusionPlan,
        precision: Precision,
    ) -> None:
        self.scale, self.weight, self.exclude, self.precision = 1 / tau, weight, exclude, precision
        device = queries.device
        self.given = tuple(
            p.to(device, torch.float32 if p.is_floating_point() else torch.int64).contiguous()
            for p in parameters
        )
        bias = None
        for at in weight.keys:
            bias = self.given[at] if bias is None else bias + self.given[at]
        labels: tuple[Tensor | None, ...] = (None, None)
        factors: tuple[Tensor | None, ...] = (None, None)
        self.table: Tensor | None = None
        if weight.group is not None:
            self.table, *found = self.given[weight.group : weight.group + 3]
            labels = tuple(found)
        if weight.low_rank is not None:
            factors = self.given[weight.low_rank : weight.low_rank + 2]
        groups = tuple(
            None if g is None else g.to(device).contiguous() for g in exclude.groups or (None, None)
        )
        steps = (0, 0) if self.table is None else (self.table.shape[1], 1)
        value = None if weight.value is None else self.given[weight.value]
        numbers = () if weight.function is None else weight.function.numbers
        self.numbers = torch.tensor(numbers, dtype=torch.float32, device=device)
        self.queries = _Role(
            _rows(queries), None, labels[0], steps[0], factors[0], value, groups[0]
        )
        self.keys = _Role(_rows(keys), bias, labels[1], steps[1], factors[1], None, groups[1])
        self.lists: dict[bool, tuple[Tensor | None, Tensor | None]] = {}

    def _listed(self, by_key: bool) -> tuple[Tensor | None, Tensor | None]:
        if by_key not in self.lists:
            found: tuple[Tensor | None, Tensor | None] = (None, None)
            if self.exclude.lists:
                counts = self.queries.rows.shape[0], self.keys.rows.shape[0]
                ptr, index = self.exclude.pairs(*counts, by_key=by_key)
                found = ptr.to(self.queries.rows.device), index.to(self.queries.rows.device)
            self.lists[by_key] = found
        return self.lists[by_key]

    def totals(self, by_key: bool = False) -> Tensor:
        """Log-sum-exp (M,) of the rows of one role."""
        return self._launch(by_key, None, None, None, None, None, 0, 0)[1]

    def sums(
        self,
        by_key: bool,
        own: tuple[Tensor, Tensor] | None,
        other: tuple[Tensor, Tensor] | None,
        *,
        coefficient: str | None = None,
        values: Tensor | None = None,
        width: int = 0,
        first: int = 0,
        total: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Weighted sums (M, E) of values, and plain sums (M,); see :func:`fold_rows`.

        Args:
            by_key: whether keys own the rows.
            own: totals and upstream gradients of the owned rows, or None.
            other: the same of the rows that are visited.
            coefficient: of the values.
            values: of the visited rows; by default one-hot vectors of their labels in the table.
            width: E.
            first: label of the first of the E.
            total: what is summed.
        """
        return self._launch(
            by_key, own, other, coefficient, values, total, width, first, gradient=True
        )

    def _launch(
        self,
        by_key: bool,
        own_totals: tuple[Tensor, Tensor] | None,
        other_totals: tuple[Tensor, Tensor] | None,
        coefficient: str | None,
        values: Tensor | None,
        total: str | None,
        width: int,
        first: int,
        gradient: bool = False,
    ) -> tuple[Tensor, Tensor]:
        own, other = (self.keys, self.queries) if by_key else (self.queries, self.keys)
        like = own.rows
        count, dim = like.shape
        sums = torch.zeros(count, dtype=torch.float32, device=like.device)
        out = torch.zeros(count, width, dtype=torch.float32, device=like.device)
        if count == 0 or other.rows.shape[0] == 0:
            return out, sums if gradient else sums - torch.inf
        ptr, index = self._listed(by_key)
        rank = 0 if own.factor is None else own.factor.shape[1]
        evaluate = None
        if self.weight.function is not None:
            evaluate = compiled(self.weight.function.source)
        label = None
        if coefficient == "logit" and other.label is not None:
            label = other.label - first
        block, chunk = power_of_two(width, 128), power_of_two(dim, CHUNKS[self.precision])
        whole = dim <= chunk
        offset = self.exclude.offset or 0

        kernel: Any = fold_rows

        def run(high: int, wide: int, warps: int, stages: int) -> None:
            kernel[(triton.cdiv(count, high), max(1, triton.cdiv(width, block)))](
                own.rows, other.rows, count, other.rows.shape[0], dim,
                own.rows.stride(0), other.rows.stride(0), self.scale,
                own.bias, other.bias, self.table, own.label, other.label, own.step, other.step,
                own.factor, other.factor, rank, own.value, other.value, self.numbers,
                -offset if by_key else offset, own.group, other.group, ptr, index,
                out, sums, values, width, 0 if values is None else values.stride(0),
                label,
                *(own_totals or (None, None)), *(other_totals or (None, None)),
                GRADIENT=gradient, COEFFICIENT=coefficient, SUM=total, FEEDS=self.weight.feeds,
                REUSE=values is other.rows and whole and block == chunk, EVALUATE=evaluate,
                DIAGONAL=self.exclude.offset is not None, PRECISION=self.precision,
                NATIVE=not interpreting(), WHOLE=whole, BM=high, BN=wide, BD=chunk,
                BR=power_of_two(rank, min(32, CHUNKS[self.precision])), BE=block,
                num_warps=warps, num_stages=stages,
            )  # fmt: skip

        kind = (
            "pairs", like.dtype, self.precision, gradient, coefficient, block, chunk, rank > 0,
            own_totals is None, other_totals is None, label is None, evaluate is None,
            self.table is None, own.group is None, ptr is None,
        )  # fmt: skip
        first_that_fits(run, SHAPES[self.precision, gradient], like.device, kind)
        return out, sums


def _rows(rows: Tensor) -> Tensor:
    return rows if rows.stride(1) == 1 and rows.stride(0) >= rows.shape[1] else rows.contiguous()


class _TritonLogSumExp(torch.autograd.Function):
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
        precision: Precision,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.tau_like = tau.detach() if isinstance(tau, Tensor) else None
        ctx.problem = (float(tau), plan_weight(weight), plan_exclusion(exclude), precision)
        ctx.sides = sides
        problem = _problem(ctx, queries, keys, parameters)
        rows = problem.totals()
        columns = problem.totals(by_key=True) if sides == "both" else rows.new_empty(0)
        if sides != "both":
            ctx.mark_non_differentiable(columns)
        ctx.save_for_backward(queries, keys, rows, columns, *parameters)
        return rows, columns

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor, grad_columns: Tensor) -> tuple[Any, ...]:
        with torch.no_grad():
            found = _TritonLogSumExp._gradients(ctx, grad_rows, grad_columns)
        if torch.is_grad_enabled():
            found = FirstOrder.apply(
                len(found), *found, *ctx.saved_tensors, grad_rows, grad_columns
            )
        return found

    @staticmethod
    def _gradients(ctx: Any, grad_rows: Tensor, grad_columns: Tensor) -> tuple[Any, ...]:
        queries, keys, rows, columns, *parameters = ctx.saved_tensors
        problem = _problem(ctx, queries, keys, tuple(parameters))
        by_row = _side(rows, grad_rows)
        by_column = _side(columns, grad_columns) if ctx.sides == "both" else None
        need = ctx.needs_input_grad
        needed = dict(enumerate(need[7:]))
        out: list[Tensor | None] = [None] * len(parameters)
        plan = problem.weight
        # A symmetric product has one matrix in both roles; its gradient is one sum over both.
        mirror = ctx.sides == "self" and not any(needed.values())
        grad_queries = grad_keys = grad_tau = None
        if need[0] or need[2]:
            grad_queries, moments = problem.sums(
                False, by_row, by_row if mirror else by_column,
                coefficient="row" if need[0] else None, values=problem.keys.rows,
                width=keys.shape[1] if need[0] else 0, total="similarity" if need[2] else None,
            )  # fmt: skip
            if need[2]:
                grad_tau = moments.sum() * (-(0.5 if mirror else 1.0) / ctx.problem[0] ** 2)
        if plan.value is not None and needed[plan.value]:
            _, out[plan.value] = problem.sums(False, by_row, by_column, total="value")
        wants_bias = [at for at in plan.keys if needed[at]]
        if (need[1] and not mirror) or wants_bias:
            wanted = need[1] and not mirror
            grad_keys, mass = problem.sums(
                True, by_column, by_row,
                coefficient="row" if wanted else None, values=problem.queries.rows,
                width=keys.shape[1] if wanted else 0, total="logit" if wants_bias else None,
            )  # fmt: skip
            for at in wants_bias:
                out[at] = mass
        if plan.low_rank is not None:
            for by_key in (False, True):
                at = plan.low_rank + by_key
                if needed[at]:
                    factor = problem.given[plan.low_rank + (not by_key)]
                    own, other = (by_column, by_row) if by_key else (by_row, by_column)
                    out[at], _ = problem.sums(
                        by_key, own, other,
                        coefficient="weight", values=factor, width=factor.shape[1],
                    )  # fmt: skip
        if plan.group is not None and needed[plan.group]:
            out[plan.group] = _table_gradient(problem, by_row, by_column)
        return (
            grad_queries.to(queries.dtype) if need[0] and grad_queries is not None else None,
            grad_keys.to(keys.dtype) if need[1] and not mirror and grad_keys is not None else None,
            None if grad_tau is None else grad_tau.to(ctx.tau_like).reshape(ctx.tau_like.shape),
            None,
            None,
            None,
            None,
            *(None if g is None else g.to(p) for g, p in zip(out, parameters, strict=True)),
        )


def _problem(ctx: Any, queries: Tensor, keys: Tensor, parameters: tuple[Tensor, ...]) -> _Problem:
    tau, weight, exclude, precision = ctx.problem
    return _Problem(
        queries.detach(), keys.detach(), tau, weight,
        tuple(p.detach() for p in parameters), exclude, precision,
    )  # fmt: skip


def _side(total: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    side = Side(total, upstream)
    return side.total.contiguous(), side.upstream.contiguous()


def _table_gradient(
    problem: _Problem,
    by_row: tuple[Tensor, Tensor],
    by_column: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Sum the gradient of the logits over both labels: over keys in the kernel, then queries."""
    table, label = problem.table, problem.queries.label
    assert table is not None
    assert label is not None
    found = torch.zeros_like(table)
    # The kernel forms all products anew for every 128 labels, so these bounds cost nothing more.
    size = max(128, _TABLE_SUMS // max(1, label.numel()) // 128 * 128)
    for part in blocks(table.shape[1], size):
        sums, _ = problem.sums(
            False, by_row, by_column,
            coefficient="logit", width=part.stop - part.start, first=part.start,
        )  # fmt: skip
        found[:, part] = segment_totals(sums, label, table.shape[0])
    return found


def triton_logsumexp(
    queries: Tensor,
    keys: Tensor,
    tau: float | Tensor,
    log_weight: TileWeight | None,
    exclude: Exclude | None,
    sides: Sides,
    *,
    precision: Precision | None = None,
) -> tuple[Tensor, Tensor]:
    """Row-wise (Q,) and, for ``sides="both"``, column-wise (K,) log-sum-exp, float32.

    Args:
        queries: (Q, D) float32, bfloat16 or float16, on a CUDA device.
        keys: (K, D).
        tau: temperature.
        log_weight: see :func:`~graphcl.kernels.negatives.negative_logsumexp`.
        exclude: pairs that take no part.
        sides: which totals are wanted.
        precision: of products of float32 rows; None is torch's own setting. Of no effect on others.

    Raises:
        Unsupported: a weight or exclusion without a Triton form.
    """
    parameters = () if log_weight is None else log_weight.parameters
    if queries.dtype != torch.float32:
        precision = None
    chosen = precision or matmul_precision(queries.dtype)
    rows, columns = cast(
        "tuple[Tensor, Tensor]",
        _TritonLogSumExp.apply(queries, keys, tau, log_weight, exclude, sides, chosen, *parameters),
    )
    return rows, columns
