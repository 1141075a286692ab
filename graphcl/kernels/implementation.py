"""Which implementation a call takes, and why."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.triton_support import inexpressible, missing
from graphcl.kernels.weights import TileWeight

Impl = Literal["auto", "reference", "chunked", "triton"]


class ImplChoice(NamedTuple):
    """The implementation a call takes and the reason."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def explain_impl(
    queries: Tensor,
    keys: Tensor,
    *,
    log_weight: TileWeight | None = None,
    exclude: Exclude | None = None,
    impl: Impl = "auto",
) -> ImplChoice:
    """Say which implementation :func:`negative_logsumexp` or :func:`rank_counts` takes, and why.

    ``auto`` is ``triton`` for tensors on a CUDA device when Triton is installed and its kernels
    know the dtype, the weight and the exclusion, and ``chunked`` otherwise.

    Args:
        queries: (Q, D).
        keys: (K, D).
        log_weight: log-weights of the call.
        exclude: exclusion of the call.
        impl: ``auto`` or the name of one.

    Raises:
        ValueError: unknown name, or ``triton`` where it cannot run; the message says why.

    Example:
        >>> import torch
        >>> explain_impl(torch.rand(3, 2), torch.rand(4, 2)).name
        'chunked'
    """
    if impl == "reference":
        return ImplChoice("reference", f"asked for; forms the {_size(queries, keys)} matrix")
    if impl == "chunked":
        return ImplChoice("chunked", "asked for; bounded memory in plain torch")
    if impl == "triton":
        why = missing(queries.device) or inexpressible(queries, log_weight, exclude)
        if why is not None:
            raise ValueError(
                f"impl='triton' cannot take this call: {why}; impl='auto' or impl='chunked' can"
            )
        return ImplChoice("triton", "asked for; fused kernels, rows owned, no atomics")
    if impl != "auto":
        raise ValueError(f"unknown impl {impl!r}; choose from auto, reference, chunked, triton")
    never = f"the {_size(queries, keys)} matrix is never formed"
    if queries.device.type != "cuda":
        where = f"bounded memory in plain torch on {queries.device.type}"
        return ImplChoice("chunked", f"{where}; {never}")
    why = missing(queries.device) or inexpressible(queries, log_weight, exclude)
    if why is not None:
        return ImplChoice("chunked", f"{why}; bounded memory in plain torch, {never}")
    return ImplChoice("triton", f"fused kernels on cuda, rows owned, no atomics; {never}")


def _size(queries: Tensor, keys: Tensor) -> str:
    return f"{queries.shape[0]} x {keys.shape[0]}"
