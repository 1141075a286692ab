"""Encoders and heads: GCN, GAT and GraphSAGE stacks, projection and prediction heads."""

from typing import TYPE_CHECKING, Any

from graphcl.encoders.activations import activation
from graphcl.encoders.heads import MLPPredictor, ProjectionHead

if TYPE_CHECKING:
    from graphcl.encoders.message_passing import (
        GATEncoder,
        GCNEncoder,
        SAGEEncoder,
        encoder,
        grace_channels,
    )

__all__ = [
    "GATEncoder",
    "GCNEncoder",
    "MLPPredictor",
    "ProjectionHead",
    "SAGEEncoder",
    "activation",
    "encoder",
    "grace_channels",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: message passing needs torch_geometric.
    if name in __all__:
        from graphcl.encoders import message_passing

        return getattr(message_passing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
