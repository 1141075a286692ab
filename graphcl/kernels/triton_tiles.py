"""Parts of the Triton kernels that visit tiles of pairs: rows, products, hidden pairs."""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def excluded_pairs(own, others, last, cursor, stop, index_ptr, hidden):
    """Hide the listed pairs below ``last``; the ids of a row ascend and are passed once."""
    ahead = tl.load(index_ptr + cursor, mask=cursor < stop, other=9223372036854775807)
    while tl.min(ahead, 0) < last:
        hidden = hidden | (ahead[:, None] == others[None, :])
        cursor = tl.where(ahead < last, cursor + 1, cursor)
        ahead = tl.load(index_ptr + cursor, mask=cursor < stop, other=9223372036854775807)
    return hidden, cursor


@triton.jit
def hidden_pairs(
    own,
    others,
    valid,
    offset,
    own_group,
    other_group_ptr,
    other_mask,
    DIAGONAL: tl.constexpr,
):
    """Pairs outside the matrix, on the diagonal, or of one group."""
    hidden = valid == 0
    if DIAGONAL:
        hidden = hidden | (others[None, :] == own[:, None] + offset)
    if other_group_ptr is not None:
        group = tl.load(other_group_ptr + others, mask=other_mask, other=-1)
        hidden = hidden | ((own_group[:, None] == group[None, :]) & (own_group[:, None] >= 0))
    return hidden


@triton.jit
def rows_of(ptr, rows, columns, mask, width, stride):
    """A block of rows, zero outside; ``rows`` are int64, so that no address overflows."""
    place = rows[:, None] * stride + columns[None, :]
    return tl.load(ptr + place, mask=mask[:, None] & (columns < width)[None, :], other=0.0)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr, NATIVE: tl.constexpr):
    """Add ``a @ b.T`` in float32."""
    if not NATIVE:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
