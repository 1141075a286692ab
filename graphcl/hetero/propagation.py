"""Products with sparse matrices whose transpose is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def propagate(matrix: Tensor, h: Tensor, transpose: Tensor | None = None) -> Tensor:
    """``matrix @ h`` for a CSR matrix without gradient, in float32 or float64.

    Args:
        matrix: (N, M) CSR.
        h: (M, D).
        transpose: (M, N) CSR, which the gradient is multiplied by; the matrix itself where it is
            symmetric. Without it torch transposes at every step, which takes much longer.
    """
    with torch.autocast(h.device.type, enabled=False):
        if h.dtype == torch.float64:
            matrix = matrix.double()
            transpose = None if transpose is None else transpose.double()
        h = h.to(matrix.dtype)
        if transpose is None:
            return matrix @ h
        product: Tensor = _Product.apply(matrix, transpose, h)
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, h: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transpose @ grad.contiguous()
