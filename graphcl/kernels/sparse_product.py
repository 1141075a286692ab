"""Products of sparse matrices with dense ones, whose gradient is a sparse product too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sparse_product(matrix: Tensor, h: Tensor, transpose: Tensor | None = None) -> Tensor:
    """``matrix @ h`` for a CSR matrix, in float32 or float64.

    Sparse products exist in no half precision: autocasting is off here, and in the backward pass.

    Args:
        matrix: (N, M) CSR.
        h: (M, D).
        transpose: (M, N) CSR, which the gradient is multiplied by; the matrix itself where it is
            symmetric. Without it torch transposes at every step, which takes much longer for wide
            matrices.
    """
    with torch.autocast(h.device.type, enabled=False):
        if h.dtype == torch.float64:
            matrix = matrix.double()
            transpose = None if transpose is None else transpose.double()
        h = h.to(matrix.dtype)
        if matrix.requires_grad:
            return matrix @ h
        product: Tensor = _Product.apply(matrix, transpose, h)
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor | None, h: Tensor) -> Tensor:
        ctx.matrix, ctx.transpose = matrix, transpose
        return matrix @ h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        with torch.autocast(grad.device.type, enabled=False):
            transpose = ctx.matrix.t() if ctx.transpose is None else ctx.transpose
            return None, None, transpose @ grad.contiguous()
