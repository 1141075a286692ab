"""The graph convolution that all meta-paths of a method share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from graphcl.kernels.sparse_product import sparse_product

Norm = Literal["graph", "node"]


class MetaPathEncoder(nn.Module):
    """Graph convolutions without bias, a PReLU between them, then a layer norm (MEOW).

    Args:
        channels: D, of input and output.
        layers: number of convolutions.
        dropout: of the transformed rows, before they are passed on.
        norm: ``graph`` takes mean and deviation over the whole (N, D) matrix as MEOW does;
            ``node`` over each row, which does not couple nodes.

    Raises:
        ValueError: no layer, or an unknown norm.
    """

    def __init__(
        self, channels: int, *, layers: int = 2, dropout: float = 0.0, norm: Norm = "graph"
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        if norm not in ("graph", "node"):
            raise ValueError(f"unknown norm {norm!r}; choose graph or node")
        self.linears = nn.ModuleList(
            nn.Linear(channels, channels, bias=False) for _ in range(layers)
        )
        self.activations = nn.ModuleList(nn.PReLU() for _ in range(layers - 1))
        self.dropout = nn.Dropout(dropout)
        self.norm = norm
        for linear in self.linears:
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, h: Tensor, adjacency: Tensor, transpose: Tensor | None) -> Tensor:
        """Embed (N, D) rows along a CSR adjacency; see :func:`sparse_product` for its transpose."""
        for number, linear in enumerate(self.linears):
            if number:
                h = self.activations[number - 1](h)
            h = sparse_product(adjacency, self.dropout(linear(h)), transpose)
        shape = h.shape if self.norm == "graph" else h.shape[1:]
        return torch.nn.functional.layer_norm(h, shape)
