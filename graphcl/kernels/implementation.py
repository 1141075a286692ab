"""Which implementation a call takes, and why."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

Impl = Literal["auto", "reference", "chunked", "triton"]


class ImplChoice(NamedTuple):
    """The implementation a call takes and the reason."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def explain_impl(queries: Tensor, keys: Tensor, *, impl: Impl = "auto") -> ImplChoice:
    """Say which implementation :func:`negative_logsumexp` or :func:`rank_counts` takes, and why.

    Args:
        queries: (Q, D).
        keys: (K, D).
        impl: ``auto`` or the name of one.

    Raises:
        ValueError: unknown name, or ``triton``, which this version does not have.

    Example:
        >>> import torch
        >>> explain_impl(torch.rand(3, 2), torch.rand(4, 2)).name
        'chunked'
    """
    if impl == "reference":
        return ImplChoice("reference", f"asked for; forms the {_size(queries, keys)} matrix")
    if impl == "chunked":
        return ImplChoice("chunked", "asked for; bounded memory in plain torch")
    if impl == "auto":
        return ImplChoice(
            "chunked",
            f"bounded memory in plain torch on {queries.device.type}; the {_size(queries, keys)} "
            "matrix is never formed",
        )
    if impl == "triton":
        raise ValueError(
            "impl='triton' is not part of this version; use impl='auto' or impl='chunked', which "
            "run on every device"
        )
    raise ValueError(f"unknown impl {impl!r}; choose from auto, reference, chunked")


def _size(queries: Tensor, keys: Tensor) -> str:
    return f"{queries.shape[0]} x {keys.shape[0]}"
