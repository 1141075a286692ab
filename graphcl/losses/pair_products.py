"""Inner products of listed pairs of rows, in memory linear in the number of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIECE = 1 << 16
"""Pairs whose rows are gathered at one time."""


def pair_products(z: Tensor, pairs: Tensor, other: Tensor | None = None) -> Tensor:
    """``z[i] . other[j]`` for every listed pair (i, j); O(P + N D) memory in both passes.

    Gathering all rows at once would hold two (P, D) tensors until the backward pass. First-order
    gradients only.

    Args:
        z: (N, D) rows.
        pairs: (2, P) int64 ids.
        other: (N, D) rows that the second ids name; default ``z``.

    Returns:
        (P,).

    Raises:
        ValueError: shapes that do not fit, or ids out of range.

    Example:
        >>> pair_products(torch.eye(2), torch.tensor([[0, 0], [0, 1]]))
        tensor([1., 0.])
    """
    if z.dim() != 2 or pairs.dim() != 2 or pairs.shape[0] != 2:
        raise ValueError(
            f"z must be (N, D) and pairs (2, P), got {tuple(z.shape)} and {tuple(pairs.shape)}"
        )
    if other is not None and other.shape != z.shape:
        raise ValueError(f"rows are {tuple(z.shape)}, the others {tuple(other.shape)}")
    if pairs.numel():
        low, high = (int(end) for end in pairs.aminmax())
        if low < 0 or high >= z.shape[0]:
            raise ValueError(f"pairs name rows {low} to {high}, but there are {z.shape[0]}")
    products: Tensor = _PairProducts.apply(z, other, pairs)
    return products


class _PairProducts(torch.autograd.Function):
    """Keeps the rows and the ids alone, and gathers again on the way back."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, other: Tensor | None, pairs: Tensor) -> Tensor:
        ctx.save_for_backward(z, other, pairs)
        rows = z if other is None else other
        found = [
            torch.einsum("pd,pd->p", z.index_select(0, left), rows.index_select(0, right))
            for _, left, right in _pieces(pairs)
        ]
        return torch.cat(found) if found else z.new_zeros(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        z, other, pairs = ctx.saved_tensors
        rows = z if other is None else other
        out = torch.zeros_like(z)
        across = out if other is None else torch.zeros_like(other)
        for part, left, right in _pieces(pairs):
            share = grad[part, None]
            out.index_add_(0, left, share * rows.index_select(0, right))
            across.index_add_(0, right, share * z.index_select(0, left))
        return out, None if other is None else across, None


def _pieces(pairs: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    for start in range(0, pairs.shape[1], _PIECE):
        part = slice(start, start + _PIECE)
        yield part, pairs[0, part], pairs[1, part]
