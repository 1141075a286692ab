"""GRACE: contrast of two randomly corrupted views at the level of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.encoders.heads import ProjectionHead
from graphcl.encoders.message_passing import encoder as make_encoder
from graphcl.encoders.message_passing import grace_channels
from graphcl.losses.candidates import Candidates
from graphcl.losses.infonce import InfoNCE
from graphcl.losses.pool import CandidatePool
from graphcl.methods.method import GraphMethod
from graphcl.methods.rates import view_rates
from graphcl.views.edges import drop_edges
from graphcl.views.features import mask_features


class GRACE(GraphMethod):
    """GRACE (Zhu et al., 2020, arXiv 2006.04131).

    Two views by edge dropping and feature-column masking, one shared encoder, a projection head and
    the exact InfoNCE with intra-view negatives, in O(N D) memory.

    Args:
        in_channels: F.
        hidden: width D of the embeddings; inner layers are ``2 * hidden`` wide.
        projection: width of the projection head's hidden layer; default ``hidden``.
        layers: number of message-passing layers.
        activation: after every layer.
        encoder: ``gcn``, ``gat``, ``sage``, or a module mapping (x, edge_index) to (N, hidden).
        tau: temperature.
        drop_edge: share of edges dropped in each of the two views.
        mask_feature: share of feature columns masked in each of the two views.
        undirected_views: drop both directions of an edge together; the papers drop each alone.
        loss: replaces the default :class:`~graphcl.losses.InfoNCE`, any (z1, z2) -> scalar.

    Example:
        >>> import torch
        >>> method = GRACE(8, hidden=4)
        >>> loss = method(torch.rand(5, 8), torch.tensor([[0, 1, 2], [1, 0, 3]]))
        >>> loss.shape, method.embed(torch.rand(5, 8), torch.tensor([[0], [1]])).shape
        (torch.Size([]), torch.Size([5, 4]))
    """

    paper: ClassVar[str] = "GRACE, Zhu et al., 2020, arXiv 2006.04131"
    uses_candidates: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        hidden: int = 128,
        *,
        projection: int | None = None,
        layers: int = 2,
        activation: str = "relu",
        encoder: str | nn.Module = "gcn",
        tau: float = 0.5,
        drop_edge: Sequence[float] = (0.2, 0.4),
        mask_feature: Sequence[float] = (0.3, 0.4),
        undirected_views: bool = False,
        loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.drop_edge = view_rates("drop_edge", drop_edge)
        self.mask_feature = view_rates("mask_feature", mask_feature)
        self.encoder = (
            make_encoder(
                encoder,
                in_channels,
                grace_channels(hidden, layers),
                activation=activation,
                share_activation=True,
            )
            if isinstance(encoder, str)
            else encoder
        )
        self.head = ProjectionHead(hidden, projection or hidden)
        self.loss = InfoNCE(tau=tau) if loss is None else loss
        self.undirected_views = undirected_views

    def view(self, x: Tensor, edge_index: Tensor, which: int) -> tuple[Tensor, Tensor]:
        """Draw view ``which`` (0 or 1): masked features and kept edges."""
        edges = drop_edges(edge_index, self.drop_edge[which], undirected=self.undirected_views)
        return mask_features(x, self.mask_feature[which]), edges

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.encode`."""
        z: Tensor = self.encoder(x, edge_index)
        return z

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        h1, h2 = (self.head(self.encode(*self.view(x, edge_index, which))) for which in (0, 1))
        return self.contrast(h1, h2)

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """See :meth:`GraphMethod.seed_loss`; the candidates are the seeds and those of ``pool``."""
        ids = batch.n_id[: batch.batch_size]
        views, rows = [], []
        for which in (0, 1):
            views.append(self.view(batch.x, batch.edge_index, which))
            rows.append(self.head(self.encode(*views[-1]))[: len(ids)])
        return self.contrast(rows[0], rows[1], ids, views, pool)

    def contrast(
        self,
        h1: Tensor,
        h2: Tensor,
        ids: Tensor | None = None,
        views: Sequence[tuple[Tensor, Tensor]] = (),
        pool: CandidatePool | None = None,
    ) -> Tensor:
        """The loss of projected nodes.

        Args:
            h1: (B, hidden) in view 1.
            h2: (B, hidden) in view 2.
            ids: (B,) global ids of the nodes; none for the whole graph.
            views: the views, (x, edge_index) each, whose first nodes these are; for ``pool``.
            pool: candidates beyond these nodes.

        Raises:
            ValueError: candidates beyond the nodes for a loss that takes none.
        """
        keys = beyond = None
        if pool is not None and ids is not None:
            keys = pool.keys((self.encoder, self.head), views, ids)
            beyond = pool.beyond(Candidates(h1, h2, ids) if keys is None else keys)
        alone = keys is None and beyond is None
        if not isinstance(self.loss, InfoNCE):
            if not alone:
                raise ValueError(
                    f"{type(self.loss).__name__} takes no candidates beyond the batch: train it in "
                    "one process, without a queue"
                )
            plain: Tensor = self.loss(h1, h2)
            return plain
        # InfoNCE sees inner products only: fewer columns with the same ones are less work. Keys of
        # another encoder lie outside of their span.
        basis = self.head.span() if alone else None
        if basis is not None:
            with torch.autocast(h1.device.type, enabled=False):
                h1, h2 = h1.to(basis.dtype) @ basis, h2.to(basis.dtype) @ basis
        loss: Tensor = self.loss(h1, h2, ids=ids, beyond=beyond, keys=keys)
        return loss
