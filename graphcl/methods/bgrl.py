"""BGRL: bootstrapped representations, without negatives."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.encoders.heads import MLPPredictor
from graphcl.encoders.message_passing import GCNEncoder
from graphcl.losses.bootstrap import BootstrapLoss
from graphcl.losses.pool import CandidatePool
from graphcl.methods.method import GraphMethod
from graphcl.methods.rates import view_rates
from graphcl.views.edges import drop_edges
from graphcl.views.features import mask_features


class BGRL(GraphMethod):
    """BGRL (Thakoor et al., 2022, arXiv 2102.06514).

    An online encoder predicts, through an MLP, what a slowly moving copy of itself says of the
    other view. The copy's parameters follow the online encoder's after every step with a momentum
    that rises from ``momentum`` to 1 on a cosine; its buffers are copied. O(N D) memory.

    Args:
        in_channels: F.
        channels: widths of the GCN layers; the last is the width D of the embeddings.
        predictor: width of the predictor's hidden layer.
        activation: after every layer's batch normalisation.
        encoder: replaces the GCN, a module mapping (x, edge_index) to (N, ``channels[-1]``).
        momentum: momentum of the target at the first step.
        drop_edge: share of edges dropped in each of the two views.
        mask_feature: share of feature columns masked in each of the two views.
    """

    paper: ClassVar[str] = "BGRL, Thakoor et al., 2022, arXiv 2102.06514"

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (256, 128),
        *,
        predictor: int = 512,
        activation: str = "prelu",
        encoder: nn.Module | None = None,
        momentum: float = 0.99,
        drop_edge: Sequence[float] = (0.4, 0.1),
        mask_feature: Sequence[float] = (0.1, 0.2),
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], got {momentum}")
        self.drop_edge = view_rates("drop_edge", drop_edge)
        self.mask_feature = view_rates("mask_feature", mask_feature)
        self.encoder = encoder or GCNEncoder(
            in_channels, list(channels), activation=activation, norm="batch"
        )
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.predictor = MLPPredictor(channels[-1], predictor)
        self.loss = BootstrapLoss()
        self.momentum = momentum

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embed with the online encoder."""
        z: Tensor = self.encoder(x, edge_index)
        return z

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        return self._loss_of_first(x.shape[0], x, edge_index)

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """See :meth:`GraphMethod.seed_loss`; there are no negatives, hence no candidates.

        Batch normalisation takes its statistics from all nodes of the batch.
        """
        return self._loss_of_first(batch.batch_size, batch.x, batch.edge_index)

    def _loss_of_first(self, count: int, x: Tensor, edge_index: Tensor) -> Tensor:
        views = [
            (mask_features(x, mask), drop_edges(edge_index, drop))
            for drop, mask in zip(self.drop_edge, self.mask_feature, strict=True)
        ]
        predictions = [self.predictor(self.encode(*view)[:count]) for view in views]
        with torch.no_grad():
            targets = [self.target(*view)[:count] for view in views]
        loss: Tensor = self.loss(*predictions, *targets)
        return loss

    def momentum_at(self, step: int, total: int) -> float:
        """Momentum after optimiser step ``step`` of ``total``: a cosine from its start to 1."""
        return 1 - (1 - self.momentum) * (math.cos(math.pi * step / max(total, 1)) + 1) / 2

    @torch.no_grad()
    def after_step(self, step: int, total: int) -> None:
        """Move the target towards the online encoder."""
        momentum = self.momentum_at(step, total)
        for target, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            target.lerp_(online, 1 - momentum)
        buffers = zip(self.target.buffers(), self.encoder.buffers(), strict=True)
        for target_buffer, online_buffer in buffers:
            target_buffer.copy_(online_buffer)
