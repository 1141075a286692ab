"""Triton kernels over tiles of pairs: weighted log-sum-exp of owned rows, and its gradients.

Every program owns a block of rows, visits all other rows in order and writes its own results: no
atomics, so that results do not depend on scheduling. Queries own rows in the forward pass and for
gradients of queries; keys own rows for gradients of keys, with all descriptions transposed.
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from graphcl.kernels.triton_tiles import excluded_pairs, hidden_pairs, product, rows_of


@triton.jit
def similarities(
    own_rows,
    own_ptr,
    own,
    own_mask,
    own_stride,
    other_rows,
    other_ptr,
    others,
    other_mask,
    other_stride,
    width,
    WHOLE: tl.constexpr,
    PRECISION: tl.constexpr,
    NATIVE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
):
    """Dot products of a tile; ``WHOLE`` when the rows at hand are complete."""
    total = tl.zeros((BM, BN), dtype=tl.float32)
    if WHOLE:
        total = product(own_rows, other_rows, total, PRECISION, NATIVE)
    else:
        for first in range(0, width, BD):
            columns = first + tl.arange(0, BD)
            a = rows_of(own_ptr, own, columns, own_mask, width, own_stride)
            b = rows_of(other_ptr, others, columns, other_mask, width, other_stride)
            total = product(a, b, total, PRECISION, NATIVE)
    return total


@triton.jit
def log_weights(
    similarity,
    scale,
    own,
    own_mask,
    others,
    other_mask,
    own_bias,
    other_bias_ptr,
    table_ptr,
    own_label,
    other_label_ptr,
    own_step,
    other_step,
    own_factor_ptr,
    other_factor_ptr,
    rank,
    own_value,
    other_value_ptr,
    number_ptr,
    EVALUATE: tl.constexpr,
    PRECISION: tl.constexpr,
    BIASED: tl.constexpr,
    OWN_VALUE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BR: tl.constexpr,
):
    """Logits of a tile, the weight of low rank, and the slopes of the similarity's function."""
    logits = similarity * scale
    weight = similarity
    slope = similarity
    by_value = similarity
    if BIASED:
        logits += own_bias[:, None]
    if other_bias_ptr is not None:
        logits += tl.load(other_bias_ptr + others, mask=other_mask, other=0.0)[None, :]
    if table_ptr is not None:
        label = tl.load(other_label_ptr + others, mask=other_mask, other=0)
        place = (own_label * own_step)[:, None] + (label * other_step)[None, :]
        logits += tl.load(table_ptr + place)
    if own_factor_ptr is not None:
        weight = tl.zeros((BM, BN), dtype=tl.float32)
        for first in range(0, rank, BR):
            columns = first + tl.arange(0, BR)
            a = rows_of(own_factor_ptr, own, columns, own_mask, rank, rank)
            b = rows_of(other_factor_ptr, others, columns, other_mask, rank, rank)
            if PRECISION == "ieee":
                weight = tl.dot(a, tl.trans(b), weight, input_precision="ieee")
            else:
                weight = tl.dot(a, tl.trans(b), weight, input_precision="tf32x3")
        none = weight == 0
        logits += tl.where(none, float("-inf"), tl.log(tl.where(none, 1.0, weight)))
    if EVALUATE is not None:
        if OWN_VALUE:
            value, slope, by_value = EVALUATE(similarity, own_value[:, None], number_ptr)
        elif other_value_ptr is not None:
            beside = tl.load(other_value_ptr + others, mask=other_mask, other=0.0)
            value, slope, by_value = EVALUATE(similarity, beside[None, :], number_ptr)
        else:
            value, slope, by_value = EVALUATE(similarity, 0.0, number_ptr)
        logits += value
    return logits, weight, slope, by_value


# Sizes that differ from call to call compile nothing anew.
@triton.jit(
    do_not_specialize=["num_own", "num_other", "own_step", "other_step", "rank", "offset", "scale"]
)
def fold_rows(
    own_ptr,
    other_ptr,
    num_own,
    num_other,
    width,
    own_stride,
    other_stride,
    scale,
    own_bias_ptr,
    other_bias_ptr,
    table_ptr,
    own_label_ptr,
    other_label_ptr,
    own_step,
    other_step,
    own_factor_ptr,
    other_factor_ptr,
    rank,
    own_value_ptr,
    other_value_ptr,
    number_ptr,
    offset,
    own_group_ptr,
    other_group_ptr,
    list_ptr,
    list_index,
    # results and what the gradients need
    out_ptr,
    sum_ptr,
    values_ptr,
    value_width,
    value_stride,
    value_label_ptr,
    own_total_ptr,
    own_grad_ptr,
    other_total_ptr,
    other_grad_ptr,
    GRADIENT: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    SUM: tl.constexpr,
    FEEDS: tl.constexpr,
    REUSE: tl.constexpr,
    EVALUATE: tl.constexpr,
    DIAGONAL: tl.constexpr,
    PRECISION: tl.constexpr,
    NATIVE: tl.constexpr,
    WHOLE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
    BE: tl.constexpr,
):
    """Log-sum-exp of owned rows; or with ``GRADIENT`` weighted sums of the other rows' values.

    The gradient of a logit is ``G = share of the own row * its upstream`` plus, where given, the
    same of the other row. ``out`` (M, E) is the sum of ``C * values`` with coefficients C: "row"
    (the slope of the logit by the similarity), "logit" (G), "weight" (G / w). ``sum`` (M,) adds up
    G ("logit"), G times the function's slope by its value ("value"), or G times s ("similarity").
    """
    own = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    own_mask = own < num_own
    chunk = tl.arange(0, BD)
    own_rows = rows_of(own_ptr, own, chunk, own_mask, width, own_stride)
    own_bias = scale
    own_label = scale
    own_value = scale
    own_group = scale
    cursor = own
    stop = own
    if own_bias_ptr is not None:
        own_bias = tl.load(own_bias_ptr + own, mask=own_mask, other=0.0)
    if own_label_ptr is not None:
        own_label = tl.load(own_label_ptr + own, mask=own_mask, other=0)
    if own_value_ptr is not None:
        own_value = tl.load(own_value_ptr + own, mask=own_mask, other=0.0)
    if own_group_ptr is not None:
        own_group = tl.load(own_group_ptr + own, mask=own_mask, other=-1)
    if list_ptr is not None:
        cursor = tl.load(list_ptr + own, mask=own_mask, other=0)
        stop = tl.load(list_ptr + own + 1, mask=own_mask, other=0)
    top = tl.full((BM,), float("-inf"), dtype=tl.float32)
    mass = tl.zeros((BM,), dtype=tl.float32)
    if GRADIENT:
        result = tl.zeros((BM, BE), dtype=tl.float32)
        columns = tl.program_id(1) * BE + tl.arange(0, BE)
    if own_total_ptr is not None:
        own_total = tl.load(own_total_ptr + own, mask=own_mask, other=0.0)
        own_grad = tl.load(own_grad_ptr + own, mask=own_mask, other=0.0)
    for first in range(0, num_other, BN):
        others = first + tl.arange(0, BN).to(tl.int64)
        other_mask = others < num_other
        other_rows = rows_of(other_ptr, others, chunk, other_mask, width, other_stride)
        similarity = similarities(
            own_rows,
            own_ptr,
            own,
            own_mask,
            own_stride,
            other_rows,
            other_ptr,
            others,
            other_mask,
            other_stride,
            width,
            WHOLE,
            PRECISION,
            NATIVE,
            BM,
            BN,
            BD,
        )
        logits, weight, slope, by_value = log_weights(
            similarity,
            scale,
            own,
            own_mask,
            others,
            other_mask,
            own_bias,
            other_bias_ptr,
            table_ptr,
            own_label,
            other_label_ptr,
            own_step,
            other_step,
            own_factor_ptr,
            other_factor_ptr,
            rank,
            own_value,
            other_value_ptr,
            number_ptr,
            EVALUATE,
            PRECISION,
            own_bias_ptr is not None,
            own_value_ptr is not None,
            BM,
            BN,
            BR,
        )
        hidden = hidden_pairs(
            own,
            others,
            own_mask[:, None] & other_mask[None, :],
            offset,
            own_group,
            other_group_ptr,
            other_mask,
            DIAGONAL,
        )
        if list_ptr is not None:
            hidden, cursor = excluded_pairs(
                own, others, first + BN, cursor, stop, list_index, hidden
            )
        logits = tl.where(hidden, float("-inf"), logits)
        if not GRADIENT:
            higher = tl.maximum(top, tl.max(logits, 1))
            shift = tl.where(tl.abs(higher) == float("inf"), 0.0, higher)
            mass = mass * tl.exp(top - shift) + tl.sum(tl.exp(logits - shift[:, None]), 1)
            top = higher
        else:
            share = tl.zeros((BM, BN), dtype=tl.float32)
            if own_total_ptr is not None:
                share += tl.exp(logits - own_total[:, None]) * own_grad[:, None]
            if other_total_ptr is not None:
                total = tl.load(other_total_ptr + others, mask=other_mask, other=0.0)
                grad = tl.load(other_grad_ptr + others, mask=other_mask, other=0.0)
                share += tl.exp(logits - total[None, :]) * grad[None, :]
            if SUM == "logit":
                mass += tl.sum(share, 1)
            elif SUM == "value":
                mass += tl.sum(tl.where(share == 0, 0.0, share * by_value), 1)
            elif SUM == "similarity":
                mass += tl.sum(share * similarity, 1)
            coefficient = share
            if COEFFICIENT == "row":
                coefficient = share * scale
                if FEEDS:
                    coefficient += tl.where(share == 0, 0.0, share * slope)
            elif COEFFICIENT == "weight":
                coefficient = share / tl.where(weight == 0, 1.0, weight)
            if COEFFICIENT is not None:
                if value_label_ptr is not None:
                    label = tl.load(value_label_ptr + others, mask=other_mask, other=-1)
                    values = (label[:, None] == columns[None, :]).to(tl.float32)
                elif REUSE:
                    values = other_rows
                else:
                    values = rows_of(
                        values_ptr, others, columns, other_mask, value_width, value_stride
                    )
                if NATIVE and values.dtype == tl.bfloat16:
                    result = tl.dot(coefficient.to(tl.bfloat16), values, result)
                else:
                    # Shares of many candidates would vanish in float16.
                    result = tl.dot(
                        coefficient, values.to(tl.float32), result, input_precision=PRECISION
                    )
    if not GRADIENT:
        empty = mass == 0
        mass = tl.where(empty, float("-inf"), top + tl.log(tl.where(empty, 1.0, mass)))
        tl.store(sum_ptr + own, mass, mask=own_mask)
    else:
        if SUM is not None and tl.program_id(1) == 0:
            tl.store(sum_ptr + own, mass, mask=own_mask)
        if COEFFICIENT is not None:
            place = own[:, None] * value_width + columns[None, :]
            inside = own_mask[:, None] & (columns < value_width)[None, :]
            tl.store(out_ptr + place, result, mask=inside)
