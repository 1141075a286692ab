"""Reductions over segments of rows, given by an index per row or by CSR offsets."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from graphcl.kernels.triton_support import DTYPES, missing

SegmentImpl = Literal["auto", "reference", "chunked", "torch", "torch_scatter", "triton"]


def segment_sum(
    values: Tensor,
    index: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_segments: int | None = None,
    impl: SegmentImpl = "auto",
) -> Tensor:
    """Sum of the rows of each segment; empty segments give 0.

    Args:
        values: (E, ...) rows.
        index: (E,) int64 segment of each row, in any order; or give ``ptr``.
        ptr: (S + 1,) offsets: segment s holds rows ``ptr[s]:ptr[s + 1]``.
        num_segments: S; default ``max(index) + 1``, or ``len(ptr) - 1``.
        impl: ``torch`` (``reference`` and ``chunked`` are the same), ``torch_scatter`` with the
            extra ``scatter`` installed, or ``auto``: that is ``torch``, except that on CUDA devices
            :func:`segment_logsumexp` and :func:`segment_softmax` take ``triton`` (no atomics,
            differentiable once), which the sums, means and maxima do not have.

    Returns:
        (S, ...).

    Raises:
        ValueError: neither or both of ``index`` and ``ptr``, wrong lengths, ids out of range.
        ImportError: ``impl="torch_scatter"`` without that package.

    Example:
        >>> segment_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]))
        tensor([2., 0., 5.])
    """
    index, count = _segments(values, index, ptr, num_segments)
    if impl == "torch_scatter":
        return _torch_scatter().scatter_sum(values, index, dim=0, dim_size=count)
    _check_impl(impl)
    wide = _wide(values)
    return wide.new_zeros(count, *values.shape[1:]).index_add(0, index, wide).to(values.dtype)


def segment_mean(
    values: Tensor,
    index: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_segments: int | None = None,
    impl: SegmentImpl = "auto",
) -> Tensor:
    """Mean of the rows of each segment; empty segments give 0. Arguments as :func:`segment_sum`."""
    index, count = _segments(values, index, ptr, num_segments)
    if impl == "torch_scatter":
        return _torch_scatter().scatter_mean(values, index, dim=0, dim_size=count)
    total = segment_sum(_wide(values), index, num_segments=count, impl=impl)
    mean = total / _column(torch.bincount(index, minlength=count).clamp_(min=1), values)
    return mean.to(values.dtype) if values.is_floating_point() else mean


def segment_max(
    values: Tensor,
    index: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_segments: int | None = None,
    impl: SegmentImpl = "auto",
) -> Tensor:
    """Largest value of each segment; empty segments give -inf. Arguments as :func:`segment_sum`.

    The gradient goes to the largest row; among equal rows it is shared (``torch_scatter`` gives it
    to one of them).
    """
    index, count = _segments(values, index, ptr, num_segments)
    if impl == "torch_scatter":
        largest = _torch_scatter().scatter_max(values, index, dim=0, dim_size=count)[0]
        # torch_scatter fills empty segments with 0.
        empty = torch.bincount(index, minlength=count) == 0
        return largest.masked_fill(_column(empty, values), -torch.inf)
    _check_impl(impl)
    _check_floating(values)
    start = values.new_full((count, *values.shape[1:]), -torch.inf)
    where = _column(index, values).expand_as(values)
    return start.scatter_reduce(0, where, values, "amax", include_self=True)


def segment_logsumexp(
    values: Tensor,
    index: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_segments: int | None = None,
    impl: SegmentImpl = "auto",
) -> Tensor:
    """Log-sum-exp of each segment; empty segments give -inf. Arguments as :func:`segment_sum`.

    Values of -inf add nothing and get no gradient.
    """
    index, count = _segments(values, index, ptr, num_segments)
    if _by_triton(values, impl):
        from graphcl.kernels.triton_segments import triton_segment_logsumexp

        return triton_segment_logsumexp(values, index, count)
    wide = _wide(values)
    shift = _finite_max(wide, index, count, impl)
    total = segment_sum((wide - shift[index]).exp(), index, num_segments=count, impl=impl)
    # log has an infinite slope at 0: keep empty segments out of the graph.
    empty = total == 0
    return torch.where(empty, -torch.inf, torch.where(empty, 1.0, total).log() + shift).to(
        values.dtype
    )


def segment_softmax(
    values: Tensor,
    index: Tensor | None = None,
    *,
    ptr: Tensor | None = None,
    num_segments: int | None = None,
    impl: SegmentImpl = "auto",
) -> Tensor:
    """Softmax of each row within its segment, (E, ...). Arguments as :func:`segment_sum`.

    A segment whose values are all -inf gives zeros.
    """
    index, count = _segments(values, index, ptr, num_segments)
    if _by_triton(values, impl):
        from graphcl.kernels.triton_segments import triton_segment_softmax

        return triton_segment_softmax(values, index, count)
    wide = _wide(values)
    share = (wide - _finite_max(wide, index, count, impl)[index]).exp()
    total = segment_sum(share, index, num_segments=count, impl=impl)
    return (share / torch.where(total == 0, 1.0, total)[index]).to(values.dtype)


def _finite_max(values: Tensor, index: Tensor, count: int, impl: SegmentImpl) -> Tensor:
    """The largest value of each segment as a constant, 0 where it is infinite."""
    largest = segment_max(values.detach(), index, num_segments=count, impl=impl)
    return largest.masked_fill(largest.isinf(), 0.0)


def _wide(values: Tensor) -> Tensor:
    """Sums of half precision are formed in float32, as torch's own reductions do."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _segments(
    values: Tensor, index: Tensor | None, ptr: Tensor | None, num_segments: int | None
) -> tuple[Tensor, int]:
    """Check the description of the segments and return it as ids and a count."""
    if (index is None) == (ptr is None):
        raise ValueError("give the segments either as index (E,) or as ptr (S + 1,), not both")
    rows = values.shape[0]
    ids = index if ptr is None else ptr
    assert ids is not None
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"segments are given by integers, got {ids.dtype}")
    if ptr is not None:
        ptr = ptr.long()
        if ptr.dim() != 1 or ptr.numel() == 0:
            raise ValueError(f"ptr must hold offsets (S + 1,), got shape {tuple(ptr.shape)}")
        sizes = ptr.diff()
        if int(ptr[0]) != 0 or int(ptr[-1]) != rows or bool((sizes < 0).any()):
            raise ValueError(
                f"ptr must rise from 0 to the number of rows, {rows}, but starts at {int(ptr[0])}, "
                f"ends at {int(ptr[-1])}"
                + (" and decreases in between" if bool((sizes < 0).any()) else "")
            )
        count = sizes.numel()
        if num_segments not in (None, count):
            raise ValueError(f"ptr describes {count} segments, but num_segments is {num_segments}")
        return torch.arange(count, device=ptr.device).repeat_interleave(sizes), count
    assert index is not None
    if index.shape != (rows,):
        raise ValueError(f"index must be one id per row, ({rows},), got {tuple(index.shape)}")
    low, high = (int(index.min()), int(index.max())) if rows else (0, -1)
    count = high + 1 if num_segments is None else num_segments
    if low < 0 or high >= count:
        bad = low if low < 0 else high
        raise ValueError(f"index names segment {bad}, but segments run from 0 to {count - 1}")
    return index.long(), count


def _check_floating(values: Tensor) -> None:
    if not values.is_floating_point():
        raise ValueError(f"values must be of a floating-point type, got {values.dtype}")


def _column(index: Tensor, values: Tensor) -> Tensor:
    return index.view(-1, *[1] * (values.dim() - 1))


def _check_impl(impl: str) -> None:
    if impl == "triton":
        raise ValueError(
            "impl='triton' has only segment_logsumexp and segment_softmax; use impl='auto' or "
            "'torch' here"
        )
    if impl not in ("auto", "reference", "chunked", "torch"):
        raise ValueError(f"unknown impl {impl!r}; choose from {', '.join(get_args(SegmentImpl))}")


def _by_triton(values: Tensor, impl: SegmentImpl) -> bool:
    """Whether the Triton kernels take these values: when asked for, or by ``auto`` on CUDA."""
    if impl not in ("auto", "triton") or (impl == "auto" and not values.is_cuda):
        return False
    why = missing(values.device)
    if why is None and values.dtype not in DTYPES:
        why = f"the Triton kernels sum in float32, the values are {values.dtype}"
    if why is not None and impl == "triton":
        raise ValueError(f"impl='triton' cannot take this call: {why}; impl='auto' can")
    return why is None


def _torch_scatter() -> Any:
    try:
        import torch_scatter
    except ImportError as error:
        raise ImportError(
            "impl='torch_scatter' needs the extra: pip install --no-build-isolation "
            "'graphcl-kge[scatter]' (it compiles); impl='torch' needs nothing"
        ) from error
    return torch_scatter
