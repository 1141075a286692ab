"""Segment log-sum-exp and softmax by Triton kernels that own segments: no atomics."""
# mypy: disable-error-code="no-untyped-def, operator, arg-type, assignment"

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphcl.kernels.chunked import FirstOrder

# Numbers of a block, and most columns of one.
_BLOCK, _COLUMNS = 2048, 64


@triton.jit
def fold_segments(
    values_ptr,
    order_ptr,
    ptr,
    out_ptr,
    width,
    LOG: tl.constexpr,
    ORDERED: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Log-sum-exp (``LOG``) or sum of the rows of one segment, for a block of columns."""
    segment = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BC + tl.arange(0, BC)
    begin = tl.load(ptr + segment)
    end = tl.load(ptr + segment + 1)
    top = tl.full((BC,), float("-inf"), dtype=tl.float32)
    mass = tl.zeros((BC,), dtype=tl.float32)
    for first in range(begin, end, BR):
        rows = first + tl.arange(0, BR).to(tl.int64)
        inside = rows < end
        if ORDERED:
            rows = tl.load(order_ptr + rows, mask=inside, other=0)
        mask = inside[:, None] & (columns < width)[None, :]
        place = values_ptr + rows[:, None] * width + columns[None, :]
        if LOG:
            values = tl.load(place, mask=mask, other=float("-inf")).to(tl.float32)
            higher = tl.maximum(top, tl.max(values, 0))
            shift = tl.where(tl.abs(higher) == float("inf"), 0.0, higher)
            mass = mass * tl.exp(top - shift) + tl.sum(tl.exp(values - shift[None, :]), 0)
            top = higher
        else:
            mass += tl.sum(tl.load(place, mask=mask, other=0.0).to(tl.float32), 0)
    if LOG:
        empty = mass == 0
        mass = tl.where(empty, float("-inf"), top + tl.log(tl.where(empty, 1.0, mass)))
    tl.store(out_ptr + segment * width + columns, mask=columns < width, value=mass)


def _fold(values: Tensor, order: Tensor | None, ptr: Tensor, *, log: bool) -> Tensor:
    """Fold (E, F) into float32 (S, F)."""
    count, width = ptr.numel() - 1, values.shape[1]
    out = torch.zeros(count, width, dtype=torch.float32, device=values.device)
    kernel: Any = fold_segments
    if count and width:
        columns = min(_COLUMNS, triton.next_power_of_2(width))
        on = torch.cuda.device(values.device) if values.is_cuda else nullcontext()
        with on:
            kernel[(count, triton.cdiv(width, columns))](
                values.contiguous(), order, ptr, out, width,
                LOG=log, ORDERED=order is not None, BR=_BLOCK // columns, BC=columns,
            )  # fmt: skip
    return out


def _layout(index: Tensor, count: int) -> tuple[Tensor | None, Tensor]:
    """The order that sorts rows by segment (None if they are sorted) and the offsets."""
    order = None
    if bool((index.diff() < 0).any()):
        index, order = index.sort(stable=True)
    return order, torch.searchsorted(index, torch.arange(count + 1, device=index.device))


class _SegmentLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, count: int) -> Tensor:
        total = _fold(values, *_layout(index, count), log=True)
        ctx.save_for_backward(values, index, total)
        return total.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        values, index, total = ctx.saved_tensors
        found = _share(values, index, total).mul_(grad.float()[index]).to(values.dtype)
        return _once(found, values, grad), None, None


class _SegmentSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, count: int) -> Tensor:
        order, ptr = _layout(index, count)
        total = _fold(values, order, ptr, log=True)
        ctx.ordered = order is not None
        ctx.save_for_backward(values, index, total, ptr, *([order] if order is not None else []))
        return _share(values, index, total).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        values, index, total, ptr, *order = ctx.saved_tensors
        share = _share(values, index, total)
        weighted = share * grad.float()
        mean = _fold(weighted, order[0] if order else None, ptr, log=False)
        found = (weighted - share * mean[index]).to(values.dtype)
        return _once(found, values, grad), None, None


def _once(found: Tensor, *origins: Tensor) -> Tensor:
    """The gradient, such that differentiating it again raises."""
    if not torch.is_grad_enabled():
        return found
    return cast("Tensor", FirstOrder.apply(1, found.detach(), *origins)[0])


def _share(values: Tensor, index: Tensor, total: Tensor) -> Tensor:
    """Softmax share (E, F) of each row; 0 in segments with nothing to sum."""
    return (values.float() - total.masked_fill(total == -torch.inf, 0.0)[index]).exp_()


def segment_totals(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sums (S, F) of the rows (E, F) of each segment, float32, without atomics."""
    return _fold(values, *_layout(index, count), log=False)


def triton_segment_logsumexp(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Log-sum-exp (S, ...) of the rows (E, ...) of each of ``count`` segments."""
    flat = cast("Tensor", _SegmentLogSumExp.apply(_flat(values), index, count))
    return flat.view(count, *values.shape[1:])


def triton_segment_softmax(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Softmax (E, ...) of the rows within their segments."""
    flat = cast("Tensor", _SegmentSoftmax.apply(_flat(values), index, count))
    return flat.view(values.shape)


def _flat(values: Tensor) -> Tensor:
    """(E, ...) as (E, F)."""
    return values.reshape(values.shape[0], values.shape[1:].numel())
