"""The Triton kernel of a ranking: scores of owned targets against all keys, counted in tiles."""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from graphcl.kernels.triton_tiles import excluded_pairs, hidden_pairs, product, rows_of


@triton.jit
def _far(row, stride):
    """Where a row begins, in 64 bits; in two halves, lest a pointer for each lane be kept."""
    high = tl.umulhi(row, stride).to(tl.int64)
    low = (row * stride).to(tl.uint32).to(tl.int64)
    return (high << 32) + low


@triton.jit(do_not_specialize=["num_own", "num_keys", "offset"])
def count_rows(
    query_ptr,
    key_ptr,
    bias_ptr,
    place_ptr,
    target_ptr,
    low_ptr,
    high_ptr,
    num_own,
    num_keys,
    width,
    query_stride,
    key_stride,
    offset,
    query_group_ptr,
    key_group_ptr,
    list_ptr,
    list_index,
    greater_ptr,
    within_ptr,
    candidates_ptr,
    bad_ptr,
    start_ptr,
    found_ptr,
    SCORE: tl.constexpr,
    DIAGONAL: tl.constexpr,
    CHECK: tl.constexpr,
    WRITE: tl.constexpr,
    PRECISION: tl.constexpr,
    NATIVE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
):
    """Scores above and within the band of each target; with ``WRITE`` the keys of the latter.

    Rows are (Q, D) and (K, D) for products and (D, Q) and (D, K) for distances.
    """
    own = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    own_mask = own < num_own
    query = tl.load(place_ptr + own, mask=own_mask, other=0)
    target = tl.load(target_ptr + own, mask=own_mask, other=-1)
    low = tl.load(low_ptr + own, mask=own_mask, other=0.0)
    high = tl.load(high_ptr + own, mask=own_mask, other=0.0)
    query_group = query
    cursor = query
    stop = query
    if query_group_ptr is not None:
        query_group = tl.load(query_group_ptr + query, mask=own_mask, other=-1)
    if list_ptr is not None:
        cursor = tl.load(list_ptr + query, mask=own_mask, other=0)
        stop = tl.load(list_ptr + query + 1, mask=own_mask, other=0)
    greater = tl.zeros((BM,), dtype=tl.int64)
    within = tl.zeros((BM,), dtype=tl.int64)
    candidates = tl.zeros((BM,), dtype=tl.int64)
    bad = tl.zeros((BM,), dtype=tl.int64)
    if WRITE:
        start = tl.load(start_ptr + own, mask=own_mask, other=0)
        limit = tl.load(start_ptr + own + 1, mask=own_mask, other=0)
    for first in range(0, num_keys, BN):
        keys = first + tl.arange(0, BN).to(tl.int64)
        key_mask = keys < num_keys
        scores = tl.zeros((BM, BN), dtype=tl.float32)
        if SCORE == "dot":
            for begin in range(0, width, BD):
                columns = begin + tl.arange(0, BD)
                a = rows_of(query_ptr, query, columns, own_mask, width, query_stride)
                b = rows_of(key_ptr, keys, columns, key_mask, width, key_stride)
                scores = product(a, b, scores, PRECISION, NATIVE)
        elif SCORE == "rotate":
            half = width // 2
            for c in range(0, half):
                real_query = query_ptr + _far(c, query_stride) + query
                real_key = key_ptr + _far(c, key_stride) + keys
                a = tl.load(real_query, mask=own_mask, other=0.0)
                b = tl.load(real_key, mask=key_mask, other=0.0)
                real = a[:, None] - b[None, :]
                a = tl.load(real_query + _far(half, query_stride), mask=own_mask, other=0.0)
                b = tl.load(real_key + _far(half, key_stride), mask=key_mask, other=0.0)
                imaginary = a[:, None] - b[None, :]
                scores -= tl.sqrt_rn(real * real + imaginary * imaginary)
        else:
            for c in range(0, width):
                a = tl.load(query_ptr + _far(c, query_stride) + query, mask=own_mask, other=0.0)
                b = tl.load(key_ptr + _far(c, key_stride) + keys, mask=key_mask, other=0.0)
                difference = a[:, None] - b[None, :]
                if SCORE == "l1":
                    scores -= tl.abs(difference)
                else:
                    scores += difference * difference
            if SCORE == "l2":
                scores = -tl.sqrt_rn(scores)
        if bias_ptr is not None:
            scores += tl.load(bias_ptr + keys, mask=key_mask, other=0.0)[None, :]
        valid = own_mask[:, None] & key_mask[None, :]
        if CHECK:
            bad += tl.sum((valid & (scores - scores != 0)).to(tl.int32), 1).to(tl.int64)
        hidden = hidden_pairs(
            query, keys, valid, offset, query_group, key_group_ptr, key_mask, DIAGONAL
        )
        if list_ptr is not None:
            hidden, cursor = excluded_pairs(
                query, keys, first + BN, cursor, stop, list_index, hidden
            )
        counted = (hidden == 0) & (keys[None, :] != target[:, None])
        near = counted & (scores >= low[:, None]) & (scores <= high[:, None])
        if WRITE:
            flags = near.to(tl.int32)
            slot = start[:, None] + tl.cumsum(flags, 1) - 1
            here = tl.zeros((BM, BN), dtype=tl.int64) + keys[None, :]
            tl.store(found_ptr + slot, here, mask=near & (slot < limit[:, None]))
            start += tl.sum(flags, 1)
        else:
            greater += tl.sum((counted & (scores > high[:, None])).to(tl.int32), 1).to(tl.int64)
            within += tl.sum((near).to(tl.int32), 1).to(tl.int64)
            candidates += tl.sum((counted).to(tl.int32), 1).to(tl.int64)
    if not WRITE:
        tl.store(greater_ptr + own, greater, mask=own_mask)
        tl.store(within_ptr + own, within, mask=own_mask)
        tl.store(candidates_ptr + own, candidates, mask=own_mask)
        tl.store(bad_ptr + own, bad, mask=own_mask)
