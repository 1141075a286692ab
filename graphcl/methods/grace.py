"""GRACE: contrast of two randomly corrupted views at the level of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from graphcl.encoders.heads import ProjectionHead
from graphcl.encoders.message_passing import encoder as make_encoder
from graphcl.encoders.message_passing import grace_channels
from graphcl.losses.infonce import InfoNCE
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
        z1, z2 = (self.encode(*self.view(x, edge_index, which)) for which in (0, 1))
        return self.contrast(z1, z2)

    def contrast(self, z1: Tensor, z2: Tensor) -> Tensor:
        """The loss of two matrices of embeddings (R, D) whose rows belong together, a scalar."""
        h1, h2 = self.head(z1), self.head(z2)
        # InfoNCE sees inner products only: fewer columns with the same ones are less work.
        basis = self.head.span() if isinstance(self.loss, InfoNCE) else None
        if basis is not None:
            with torch.autocast(z1.device.type, enabled=False):
                h1, h2 = h1.to(basis.dtype) @ basis, h2.to(basis.dtype) @ basis
        loss: Tensor = self.loss(h1, h2)
        return loss
