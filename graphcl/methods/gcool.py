"""gCooL: contrast of two views with communities that are learned on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.community.assignment import soft_assignment
from graphcl.encoders.message_passing import encoder as make_encoder
from graphcl.losses.deca import DeCA, Density
from graphcl.losses.infonce import InfoNCE
from graphcl.losses.pool import CandidatePool
from graphcl.losses.resc import ReSC
from graphcl.methods.gca import GCA


class GCooL(GCA):
    r"""gCooL (Li et al., 2022, arXiv 2110.14863) on one homogeneous graph.

    GCA's views and encoder; learned centres give every node soft memberships, DeCA makes the
    communities dense, ReSC contrasts nodes with the other view's centroids. In epoch t

    .. math:: L = L_{node} + \alpha_t (c_t L_{DeCA} + (1 - c_t) L_{ReSC}), \quad
              \alpha_t = \max(0, 1 - t / (0.2\, stride)), \quad c_t = e^{-t / stride}.

    The node term is the inter-view InfoNCE in both directions; the release takes one direction
    twice. Its settings leave ``gamma`` without effect (the cosine has no weights there); here
    ``gamma=0`` does that.

    Args:
        in_channels: F.
        hidden: width D of the embeddings and of the projection head.
        inner: width of the encoder's inner layers; default ``2 * hidden``.
        layers: number of message-passing layers.
        activation: after every layer.
        tau: temperature of all three terms.
        communities: K.
        inter_weight: :math:`\lambda` of :class:`~graphcl.losses.DeCA`.
        density: likewise.
        gamma: of :class:`~graphcl.losses.ReSC`.
        similarity: ``cos`` or ``rbf``, of memberships and of ReSC.
        stride: of the schedule, in epochs.
        detach_assign: memberships train the centres alone, as in the paper; otherwise the encoder
            too.
        options: of :class:`~graphcl.methods.GCA` (``scheme``, ``drop_edge``, ``mask_feature``).

    Raises:
        ValueError: settings out of range.
    """

    paper: ClassVar[str] = "gCooL, Li et al., 2022, arXiv 2110.14863"
    rests_parameters: ClassVar[bool] = True
    epoch: Tensor

    def __init__(
        self,
        in_channels: int,
        hidden: int = 128,
        *,
        inner: int | None = None,
        layers: int = 2,
        activation: str = "relu",
        tau: float = 0.4,
        communities: int = 8,
        inter_weight: float = 1.0,
        density: Density = "code",
        gamma: float = 0.0,
        similarity: Literal["cos", "rbf"] = "cos",
        stride: float = 500,
        detach_assign: bool = True,
        **options: Any,
    ) -> None:
        if communities < 1:
            raise ValueError(f"communities must be at least 1, got {communities}")
        if not (stride > 0 and math.isfinite(stride)):
            raise ValueError(f"stride must be positive and finite, got {stride}")
        options.setdefault("loss", InfoNCE(tau=tau, intra_view=False))
        if inner is not None:
            widths: Sequence[int] = (*[inner] * (layers - 1), hidden)
            options["encoder"] = make_encoder(
                "gcn", in_channels, widths, activation=activation, share_activation=True
            )
        super().__init__(
            in_channels, hidden, layers=layers, activation=activation, tau=tau, **options
        )
        self.centres = nn.Parameter(torch.empty(communities, hidden))
        nn.init.xavier_uniform_(self.centres)
        self.deca = DeCA(inter_weight, density)
        self.resc = ReSC(tau, gamma, similarity)
        self.tau, self.similarity = tau, similarity
        self.stride, self.detach_assign = stride, detach_assign
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def memberships(self, h: Tensor) -> Tensor:
        """Soft assignment (N, K) of projected nodes with unit rows (N, D)."""
        h = h.detach() if self.detach_assign else h
        similarity: Literal["cos", "rbf"] = self.similarity
        return soft_assignment(h, self.centres, tau=self.tau, similarity=similarity)

    def communities(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Community (N,) of every node of the unaugmented graph."""
        with torch.no_grad():
            h = F.normalize(self.head(self.embed(x, edge_index)))
            return self.memberships(h).argmax(1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        return self._loss(x, edge_index, x.shape[0])

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """See :meth:`GraphMethod.seed_loss`.

        DeCA takes the edges of the batch, ReSC contrasts the seeds with the centroids of the seeds.
        """
        self.use_whole_graph(batch)
        return self._loss(
            batch.x, batch.edge_index, batch.batch_size, batch.n_id[: batch.batch_size], pool
        )

    def _loss(
        self,
        x: Tensor,
        edge_index: Tensor,
        count: int,
        ids: Tensor | None = None,
        pool: CandidatePool | None = None,
    ) -> Tensor:
        """The loss with the first ``count`` nodes as anchors."""
        views = [self.view(x, edge_index, which) for which in (0, 1)]
        h1, h2 = (F.normalize(self.head(self.encode(*view))) for view in views)
        node = self.contrast(h1[:count], h2[:count], ids, views, pool)
        share, aggregation = gcool_schedule(int(self.epoch), self.stride)
        if share == 0:
            return node
        r1, r2 = self.memberships(h1), self.memberships(h2)
        deca = (self.deca(r1, views[0][1]) + self.deca(r2, views[1][1])) / 2
        own1, own2 = r1[:count].argmax(1), r2[:count].argmax(1)
        resc: Tensor = self.resc(h1[:count], h2[:count], own1, own2, len(self.centres))
        return node + share * (aggregation * deca + (1 - aggregation) * resc)

    def after_step(self, step: int, total: int) -> None:
        """Count the epochs of the schedule."""
        self.epoch.fill_((step + 1) // self.steps_per_epoch)


def gcool_schedule(epoch: int, stride: float) -> tuple[float, float]:
    """Share of the community terms, and of DeCA among them, in an epoch from 0.

    Example:
        >>> gcool_schedule(0, 500)
        (1.0, 1.0)
    """
    return max(0.0, 1.0 - epoch / (0.2 * stride)), math.exp(-epoch / stride)
