"""Weighted log-sum-exp over candidate negatives: the one primitive of every loss."""

from __future__ import annotations

import math
from typing import get_args

from torch import Tensor

from graphcl.kernels.chunked import Sides, chunked_logsumexp
from graphcl.kernels.exclusions import Exclude, check_exclusions
from graphcl.kernels.implementation import Impl, explain_impl
from graphcl.kernels.reference import reference_logsumexp
from graphcl.kernels.triton_support import Precision
from graphcl.kernels.weights import TileWeight


def negative_logsumexp(
    queries: Tensor,
    keys: Tensor,
    *,
    tau: float | Tensor = 1.0,
    log_weight: TileWeight | None = None,
    exclude: Exclude | None = None,
    impl: Impl = "auto",
    precision: Precision | None = None,
) -> Tensor:
    """Log-sum-exp of scaled similarities over all candidates that are not excluded.

    ``out[i] = log sum_j exp(queries[i] . keys[j] / tau + log w_ij)`` over ``j`` not excluded for
    ``i``. Weights and exclusions are evaluated inside tiles: beyond inputs and gradients, memory is
    a few tiles, whatever Q and K are. First-order gradients flow to ``queries``, ``keys``, ``tau``
    when it is a tensor, and to the tensors of ``log_weight``. When ``keys is queries`` and weights
    and exclusions are symmetric, each off-diagonal tile is computed once for both of its sides.

    Tiling with recomputation: Cheng et al., 2024 (Inf-CL), arXiv 2410.17243; Dao et al., 2022
    (FlashAttention), arXiv 2205.14135.

    Args:
        queries: (Q, D) floating point.
        keys: (K, D) of the same dtype.
        tau: temperature, positive; a 0-d tensor may require a gradient.
        log_weight: log-weights of pairs, see :class:`~graphcl.kernels.weights.TileWeight`.
        exclude: pairs that take no part.
        impl: ``auto``, ``reference`` (dense, any derivative), ``chunked`` or ``triton`` (CUDA);
            see :func:`explain_impl`.
        precision: how the Triton kernels multiply float32 rows: ``ieee`` (exact), ``tf32`` (rounded
            to 11 bits) or ``tf32x3`` (nearly exact on tensor cores). None follows
            ``torch.set_float32_matmul_precision``, as the other implementations always do.

    Returns:
        (Q,) in float64 for float64 inputs and float32 otherwise. Rows with no candidate left give
        ``-inf`` and zero gradient.

    Raises:
        ValueError: shapes, dtypes, devices, tau, weights or exclusions that do not fit.

    Example:
        >>> z = torch.eye(3)
        >>> negative_logsumexp(z, z, exclude=Exclude.diagonal())
        tensor([0.6931, 0.6931, 0.6931])
    """
    _check_pairs(log_weight, exclude)
    symmetric = (
        keys is queries
        and (exclude is None or exclude.symmetric)
        and (log_weight is None or log_weight.symmetric)
    )
    sides: Sides = "self" if symmetric else "rows"
    return _logsumexp(queries, keys, tau, log_weight, exclude, sides, impl, precision)[0]


def two_sided_logsumexp(
    queries: Tensor,
    keys: Tensor,
    *,
    tau: float | Tensor = 1.0,
    log_weight: TileWeight | None = None,
    exclude: Exclude | None = None,
    impl: Impl = "auto",
    precision: Precision | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the rows and over the columns of one matrix of pairs.

    Equal to ``negative_logsumexp(queries, keys)`` and ``negative_logsumexp(keys, queries)`` with
    the weight and exclusion of pair (i, j) in both, at half of the arithmetic: the symmetric
    contrastive losses need both directions of the same products.

    Args:
        queries: (Q, D).
        keys: (K, D).
        tau: see :func:`negative_logsumexp`, as the other arguments and errors.
        log_weight: log-weights of pairs (i, j), used for row i and for column j.
        exclude: pairs that take no part in either direction.
        impl: see :func:`negative_logsumexp`.
        precision: see :func:`negative_logsumexp`.

    Returns:
        (Q,) over keys for each query, and (K,) over queries for each key.
    """
    _check_pairs(log_weight, exclude)
    return _logsumexp(queries, keys, tau, log_weight, exclude, "both", impl, precision)


def _check_pairs(log_weight: TileWeight | None, exclude: Exclude | None) -> None:
    check_exclusions(exclude)
    if log_weight is not None and not isinstance(log_weight, TileWeight):
        raise ValueError(
            f"log_weight must be a TileWeight, got {type(log_weight).__name__}: weightings of "
            "papers, which need the sums of both views, go to InfoNCE(weight=...)"
        )


def _logsumexp(
    queries: Tensor,
    keys: Tensor,
    tau: float | Tensor,
    log_weight: TileWeight | None,
    exclude: Exclude | None,
    sides: Sides,
    impl: Impl,
    precision: Precision | None,
) -> tuple[Tensor, Tensor]:
    _check(queries, keys, tau)
    if log_weight is not None:
        log_weight.check(queries.shape[0], keys.shape[0])
    if exclude is not None:
        exclude.check(queries.shape[0], keys.shape[0])
    if precision not in (None, *get_args(Precision)):
        names = ", ".join(get_args(Precision))
        raise ValueError(f"unknown precision {precision!r}; choose from {names}")
    chosen = explain_impl(queries, keys, log_weight=log_weight, exclude=exclude, impl=impl).name
    if chosen == "reference":
        return reference_logsumexp(queries, keys, tau, log_weight, exclude)
    if chosen == "triton":
        from graphcl.kernels.triton_logsumexp import triton_logsumexp

        return triton_logsumexp(queries, keys, tau, log_weight, exclude, sides, precision=precision)
    return chunked_logsumexp(queries, keys, tau, log_weight, exclude, sides)


def _check(queries: Tensor, keys: Tensor, tau: float | Tensor) -> None:
    if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            "queries and keys must be (Q, D) and (K, D), got "
            f"{tuple(queries.shape)} and {tuple(keys.shape)}"
        )
    if queries.dtype != keys.dtype or not queries.is_floating_point():
        raise ValueError(
            "queries and keys must share one floating-point dtype, got "
            f"{queries.dtype} and {keys.dtype}"
        )
    if queries.device != keys.device:
        raise ValueError(f"queries are on {queries.device}, keys on {keys.device}")
    if isinstance(tau, Tensor) and tau.numel() != 1:
        raise ValueError(f"tau must be one number, got a tensor of shape {tuple(tau.shape)}")
    value = float(tau.detach() if isinstance(tau, Tensor) else tau)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"tau must be positive and finite, got {value}")
