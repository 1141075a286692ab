"""An encoder whose message passing has no weights: one linear map, then smoothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from graphcl.encoders.adjacency import sparse_adjacency


class PropagationEncoder(nn.Module):
    """Linear map of the features, then ``layers`` times ``LayerNorm(Â h)`` (SGC, NCN's "puregcn").

    After Wu et al., 2019, arXiv 1902.07153, with a layer norm after each step.

    Args:
        in_channels: F.
        hidden: width D of the embeddings.
        layers: steps of propagation.
        feature_dropout: of the features.
        dropout: after the linear map and after each step.

    Shape:
        ``x`` (N, F) and ``edge_index`` (2, E) -> (N, D).

    Raises:
        ValueError: widths or layers that are not positive.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int = 256,
        *,
        layers: int = 1,
        feature_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(in_channels, hidden, layers) < 1:
            raise ValueError(
                f"in_channels={in_channels}, hidden={hidden}, layers={layers}: must be positive"
            )
        self.out_channels = hidden
        self.feature_dropout = nn.Dropout(feature_dropout)
        self.linear = nn.Linear(in_channels, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embed the nodes."""
        edges, weight = gcn_norm(edge_index, None, x.shape[0], dtype=x.dtype)
        adjacency = sparse_adjacency(edges, weight, x.shape[0])
        h: Tensor = self.dropout(self.linear(self.feature_dropout(x)))
        with torch.autocast(x.device.type, enabled=False):
            for norm in self.norms:
                h = self.dropout(norm(adjacency @ h.to(weight.dtype)))
        return h
