"""An encoder whose message passing has no weights: one linear map, then smoothing."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from graphcl.encoders.adjacency import sparse_adjacency
from graphcl.kernels.sparse_product import sparse_product

Aggregation = Literal["gcn", "sum"]


class PropagationEncoder(nn.Module):
    """Linear map of the features, then ``layers`` steps of message passing without weights.

    A step is ``h' = LayerNorm(Â h)``, with ``Â = D^{-1/2} (A + I) D^{-1/2}`` or the plain sum over
    neighbours. After Wu et al., 2019, arXiv 1902.07153 (SGC); NCN's release calls it "puregcn" or
    "puresum" and has it without the norm.

    Args:
        in_channels: F; with ``embed`` the number of nodes.
        hidden: width D of the embeddings.
        layers: steps of propagation.
        aggregation: ``gcn`` or ``sum``.
        norm: layer norm after each step.
        residual: add what a step began with to what it gives.
        jumping_knowledge: give the steps' results weighted by learned numbers, not the last alone
            (Xu et al., 2018, arXiv 1806.03536, with a sum in place of the concatenation).
        embed: learn a vector for each node in place of features, orthogonal at first.
        feature_dropout: of the features.
        dropout: after the linear map, and after each step unless ``tail_dropout`` is given.
        tail_dropout: after the last step, and none after the others.

    Shape:
        ``x`` (N, F) dense or in CSR layout, or with ``embed`` node ids (N,), and ``edge_index``
        (2, E) -> (N, D).

    Raises:
        ValueError: widths or layers that are not positive, or an unknown aggregation.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int = 256,
        *,
        layers: int = 1,
        aggregation: Aggregation = "gcn",
        norm: bool = True,
        residual: bool = False,
        jumping_knowledge: bool = False,
        embed: bool = False,
        feature_dropout: float = 0.0,
        dropout: float = 0.0,
        tail_dropout: float | None = None,
    ) -> None:
        super().__init__()
        if min(in_channels, hidden, layers) < 1:
            raise ValueError(
                f"in_channels={in_channels}, hidden={hidden}, layers={layers}: must be positive"
            )
        if aggregation not in ("gcn", "sum"):
            raise ValueError(f"aggregation must be gcn or sum, got {aggregation!r}")
        self.out_channels, self.aggregation, self.residual = hidden, aggregation, residual
        self.feature_dropout = nn.Dropout(feature_dropout)
        if embed:
            self.linear: nn.Linear | nn.Embedding = nn.Embedding(in_channels, hidden)
            nn.init.orthogonal_(self.linear.weight)
        else:
            self.linear = nn.Linear(in_channels, hidden)
        self.norms = nn.ModuleList(
            nn.LayerNorm(hidden) if norm else nn.Identity() for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        tail = dropout if tail_dropout is None else tail_dropout
        between = dropout if tail_dropout is None else 0.0
        self.dropouts = nn.ModuleList(
            nn.Dropout(tail if step == layers - 1 else between) for step in range(layers)
        )
        self.jump = nn.Parameter(torch.randn(layers)) if jumping_knowledge else None

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embed the nodes."""
        adjacency = self._adjacency(edge_index, x.shape[0])
        h: Tensor = self.dropout(self._mapped(x))
        steps = []
        with torch.autocast(x.device.type, enabled=False):
            for norm, dropout in zip(self.norms, self.dropouts, strict=True):
                passed = dropout(norm(sparse_product(adjacency, h)))
                h = passed + h if self.residual else passed
                steps.append(h)
        if self.jump is None:
            return h
        return (torch.stack(steps) * self.jump[:, None, None]).sum(0)

    def _mapped(self, x: Tensor) -> Tensor:
        if isinstance(self.linear, nn.Embedding) or x.layout != torch.sparse_csr:
            kept = x if isinstance(self.linear, nn.Embedding) else self.feature_dropout(x)
            mapped: Tensor = self.linear(kept)
            return mapped
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            values = F.dropout(x.values(), self.feature_dropout.p, self.training)
            kept = torch.sparse_csr_tensor(
                x.crow_indices(), x.col_indices(), values, x.shape, check_invariants=False
            )
        with torch.autocast(x.device.type, enabled=False):
            return sparse_product(kept, self.linear.weight.T) + self.linear.bias

    def _adjacency(self, edge_index: Tensor, nodes: int) -> Tensor:
        dtype = self.linear.weight.dtype
        if self.aggregation == "gcn":
            edges, weight = gcn_norm(edge_index, None, nodes, dtype=dtype)
            return sparse_adjacency(edges, weight, nodes)
        ones = torch.ones(edge_index.shape[1], dtype=dtype, device=edge_index.device)
        return sparse_adjacency(edge_index, ones, nodes)
