"""Encoders and heads: GCN, GAT and GraphSAGE stacks, projection and prediction heads."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphcl.encoders.activations import activation
from graphcl.encoders.heads import MLPPredictor, ProjectionHead

if TYPE_CHECKING:
    from graphcl.encoders.autoencoder import Autoencoder
    from graphcl.encoders.message_passing import (
        GATEncoder,
        GCNEncoder,
        SAGEEncoder,
        encoder,
        grace_channels,
    )
    from graphcl.encoders.propagation import PropagationEncoder

__all__ = [
    "Autoencoder",
    "GATEncoder",
    "GCNEncoder",
    "MLPPredictor",
    "ProjectionHead",
    "PropagationEncoder",
    "SAGEEncoder",
    "activation",
    "encoder",
    "grace_channels",
]


_HOMES = {
    "Autoencoder": "graphcl.encoders.autoencoder",
    "GATEncoder": "graphcl.encoders.message_passing",
    "GCNEncoder": "graphcl.encoders.message_passing",
    "PropagationEncoder": "graphcl.encoders.propagation",
    "SAGEEncoder": "graphcl.encoders.message_passing",
    "encoder": "graphcl.encoders.message_passing",
    "grace_channels": "graphcl.encoders.message_passing",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: message passing needs torch_geometric.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
