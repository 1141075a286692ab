"""DGI: nodes against a summary of their graph."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.encoders.message_passing import encoder as make_encoder
from graphcl.losses.infomax import discriminator_loss
from graphcl.losses.pool import CandidatePool
from graphcl.methods.method import GraphMethod
from graphcl.views.features import shuffle_rows


class DGI(GraphMethod):
    """Deep Graph Infomax (Velickovic et al., 2019, arXiv 1809.10341).

    A bilinear discriminator tells node embeddings of the graph from those of the same graph with
    shuffled feature rows, given the sigmoid of the mean embedding.

    Args:
        in_channels: F.
        hidden: width D of the embeddings.
        activation: of the encoder.
        encoder: ``gcn``, ``gat``, ``sage`` (one layer), or a module mapping (x, edge_index) to
            (N, hidden).
    """

    paper: ClassVar[str] = "DGI, Velickovic et al., 2019, arXiv 1809.10341"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 512,
        *,
        activation: str = "prelu",
        encoder: str | nn.Module = "gcn",
    ) -> None:
        super().__init__()
        self.encoder = (
            make_encoder(encoder, in_channels, [hidden], activation=activation)
            if isinstance(encoder, str)
            else encoder
        )
        self.bilinear = nn.Parameter(torch.empty(hidden, hidden))
        nn.init.xavier_uniform_(self.bilinear)

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.encode`."""
        z: Tensor = self.encoder(x, edge_index)
        return z

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        return self._loss_of_first(x.shape[0], x, edge_index)

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """See :meth:`GraphMethod.seed_loss`; the summary is the mean of the seeds."""
        return self._loss_of_first(batch.batch_size, batch.x, batch.edge_index)

    def _loss_of_first(self, count: int, x: Tensor, edge_index: Tensor) -> Tensor:
        positive = self.encode(x, edge_index)[:count]
        negative = self.encode(shuffle_rows(x), edge_index)[:count]
        direction = self.bilinear @ positive.mean(0).sigmoid()
        return discriminator_loss(positive @ direction, negative @ direction)
