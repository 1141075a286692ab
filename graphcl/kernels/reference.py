"""The definition of the weighted log-sum-exp over negatives, dense and readable."""

from __future__ import annotations

import torch
from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.weights import TileWeight


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """Precision of the sums: float64 for float64 inputs, float32 for everything else."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def masked_logits(
    queries: Tensor,
    keys: Tensor,
    tau: float | Tensor,
    log_weight: TileWeight | None,
    exclude: Exclude | None,
) -> Tensor:
    """The (Q, K) matrix ``q_i . k_j / tau + log w_ij``, ``-inf`` at excluded pairs."""
    dtype = working_dtype(queries, keys)
    with torch.autocast(queries.device.type, enabled=False):
        similarity = queries.to(dtype) @ keys.to(dtype).T
        logits = similarity / (tau.to(similarity).reshape(()) if isinstance(tau, Tensor) else tau)
        if log_weight is not None:
            seen = similarity if log_weight.feeds_similarity else similarity.detach()
            parameters = tuple(
                p.to(queries.device, dtype if p.is_floating_point() else p.dtype)
                for p in log_weight.parameters
            )
            rows, columns = slice(0, queries.shape[0]), slice(0, keys.shape[0])
            logits = logits + log_weight.tile(parameters, rows, columns, seen)
        if exclude is not None:
            logits = logits.masked_fill(
                exclude.to(torch.device("cpu"))
                .dense(queries.shape[0], keys.shape[0])
                .to(logits.device),
                -torch.inf,
            )
    return logits


def logsumexp_or_empty(logits: Tensor, dim: int) -> Tensor:
    """Log-sum-exp whose value is -inf, with zero gradient, where nothing is left to sum."""
    if logits.shape[dim] == 0:
        return logits.sum(dim) - torch.inf
    empty = (logits == -torch.inf).all(dim, keepdim=True)
    total = torch.where(empty, 0.0, logits).logsumexp(dim)
    return torch.where(empty.squeeze(dim), -torch.inf, total)


def reference_logsumexp(
    queries: Tensor,
    keys: Tensor,
    tau: float | Tensor,
    log_weight: TileWeight | None,
    exclude: Exclude | None,
) -> tuple[Tensor, Tensor]:
    """Row-wise (Q,) and column-wise (K,) log-sum-exp by the definition; O(Q K) memory."""
    logits = masked_logits(queries, keys, tau, log_weight, exclude)
    return logsumexp_or_empty(logits, 1), logsumexp_or_empty(logits, 0)
