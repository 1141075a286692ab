"""A plain autoencoder of node features, whose encoder clustering methods start from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphcl.kernels.sparse_product import sparse_product

# Rows that are encoded at once. A backward pass then holds gradients of the wide layers for so many
# rows alone: half of its memory, and they stay in the cache.
_BLOCK = 1024


class Autoencoder(nn.Module):
    """Linear layers with a ReLU between, to a narrow code and mirrored back.

    The architecture of DEC (Xie et al., 2016, arXiv 1511.06335), without message passing: nodes
    that the graph does not know yet are encoded alike.

    Args:
        in_channels: F.
        hidden: widths of the encoder's inner layers.
        width: D of the code.

    Raises:
        ValueError: widths that are not positive.
    """

    def __init__(
        self, in_channels: int, hidden: Sequence[int] = (500, 500, 2000), width: int = 10
    ) -> None:
        super().__init__()
        if min(in_channels, width, *hidden) < 1:
            raise ValueError(
                f"in_channels={in_channels}, hidden={list(hidden)}, width={width}: must be positive"
            )
        widths = [in_channels, *hidden, width]
        self.encoder = _layers(widths)
        self.decoder = _layers(widths[::-1])

    def encode(self, x: Tensor) -> Tensor:
        """Codes (N, D) of features (N, F) of any precision, dense or in CSR layout."""
        x = x.to(next(self.parameters(), x).dtype)
        if x.layout == torch.sparse_csr:
            return self._codes(x)
        return torch.cat([self._codes(rows) for rows in x.split(_BLOCK)])

    def _codes(self, h: Tensor) -> Tensor:
        for place, layer in enumerate(self.encoder):
            h = F.relu(h, inplace=True) if place else h
            h = _linear(layer, h)
        return h

    def decode(self, z: Tensor) -> Tensor:
        """Features (N, F) from codes (N, D)."""
        for place, layer in enumerate(self.decoder):
            z = layer(F.relu(z, inplace=True) if place else z)
        return z

    def forward(self, x: Tensor) -> Tensor:
        """Features from features."""
        return self.decode(self.encode(x))


def _layers(widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer, for sparse features too: then a sparse product, in full precision."""
    assert isinstance(layer, nn.Linear)
    if x.layout != torch.sparse_csr:
        out: Tensor = layer(x)
        return out
    with torch.autocast(x.device.type, enabled=False):
        return sparse_product(x, layer.weight.t()) + layer.bias
