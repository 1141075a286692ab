"""What bounds need to know of an encoder: the weights, biases and slopes of its GCN layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """``σ(Â H W + b)`` with ``σ(t) = t`` for t >= 0 and ``slope t`` below.

    Args:
        weight: (d, d') W.
        bias: (d',) b.
        slope: one number, or one per channel (d',); 0 is a ReLU, 1 no activation at all. May be
            negative or above 1.
    """

    weight: Tensor
    bias: Tensor
    slope: Tensor

    def activate(self, value: Tensor) -> Tensor:
        """σ."""
        return two_lines(value, self.slope)


def two_lines(value: Tensor, slope: Tensor) -> Tensor:
    """``t`` for t >= 0 and ``slope t`` below, elementwise; one slope, or one per last dimension."""
    return F.relu(value) - slope * F.relu(-value)


def gcn_layers(encoder: nn.Module) -> list[Layer]:
    """Layers of a :class:`~graphcl.encoders.GCNEncoder`, in at least single precision.

    Raises:
        ValueError: another kind of encoder, normalisation or dropout between layers, or an
            activation that does not consist of two lines.
    """
    from graphcl.encoders.message_passing import GCNEncoder

    if not isinstance(encoder, GCNEncoder):
        raise ValueError(
            f"provable training needs a GCN encoder, got {type(encoder).__name__}: bounds are "
            "known for graphcl.encoders.GCNEncoder, so set encoder=gcn"
        )
    if any(not isinstance(norm, nn.Identity) for norm in encoder.norms):
        raise ValueError("provable training has no bounds for batch normalisation: set norm=None")
    if encoder.dropout:
        raise ValueError(
            f"provable training has no bounds for dropout={encoder.dropout} between layers: set 0"
        )
    return [
        _layer(conv, activation)
        for conv, activation in zip(encoder.convs, encoder.activations, strict=True)
    ]


def _layer(conv: Any, activation: nn.Module) -> Layer:
    weight: Tensor = conv.lin.weight.t()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    bias = weight.new_zeros(weight.shape[1]) if conv.bias is None else conv.bias.to(weight.dtype)
    return Layer(weight, bias, _slope(activation, weight))


def _slope(activation: nn.Module, like: Tensor) -> Tensor:
    if isinstance(activation, nn.PReLU):
        return activation.weight.to(like.dtype)
    for kind, slope in ((nn.ReLU, 0.0), (nn.Identity, 1.0)):
        if isinstance(activation, kind):
            return like.new_tensor(slope)
    if isinstance(activation, nn.LeakyReLU):
        return like.new_tensor(activation.negative_slope)
    raise ValueError(
        f"provable training has no lines for the activation {type(activation).__name__}: choose "
        "relu, prelu, rrelu, leaky_relu or identity"
    )
