"""gCooL: contrast of two views with communities that are learned on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.community.assignment import soft_assignment
from graphcl.community.finding import check_communities, find_communities
from graphcl.encoders.message_passing import encoder as make_encoder
from graphcl.kernels.kept import Kept
from graphcl.kernels.unit_rows import unit_rows
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
    ``gamma=0`` does that. ``mode="official"`` reproduces the release.

    Args:
        in_channels: F.
        hidden: width D of the embeddings and of the projection head.
        inner: width of the encoder's inner layers; default ``2 * hidden``.
        layers: number of message-passing layers.
        activation: after every layer.
        tau: temperature of all three terms.
        communities: K; or the name of a method of :func:`~graphcl.community.find_communities`
            (``louvain``, ``leiden``, ``heat``, ...), whose partition of the graph then stands in
            for the learned memberships. Being there from the start and a constant, it leaves
            :math:`L = L_{node} + \alpha_t L_{ReSC}`.
        num_communities: K of a spectral method; the others find it.
        inter_weight: :math:`\lambda` of :class:`~graphcl.losses.DeCA`.
        density: likewise.
        gamma: of :class:`~graphcl.losses.ReSC`.
        similarity: ``cos`` or ``rbf``, of memberships and of ReSC.
        stride: of the schedule, in epochs.
        detach_assign: memberships train the centres alone, as in the paper; otherwise the encoder
            too.
        mode: ``official`` takes one direction of the node term and the release's ReSC, see
            :class:`~graphcl.losses.ReSC`.
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
        communities: int | str = 8,
        num_communities: int | None = None,
        inter_weight: float = 1.0,
        density: Density = "code",
        gamma: float = 0.0,
        similarity: Literal["cos", "rbf"] = "cos",
        stride: float = 500,
        detach_assign: bool = True,
        mode: Literal["paper", "official"] = "paper",
        **options: Any,
    ) -> None:
        if isinstance(communities, str):
            check_communities(communities, num_communities)
        elif not isinstance(communities, int) or communities < 1:
            raise ValueError(f"communities must be an integer of at least 1, got {communities!r}")
        elif num_communities is not None:
            raise ValueError(
                f"communities={communities} is their number already: leave num_communities"
            )
        if not (stride > 0 and math.isfinite(stride)):
            raise ValueError(f"stride must be positive and finite, got {stride}")
        if inner is not None and isinstance(options.get("encoder", "gcn"), nn.Module):
            raise ValueError(
                f"inner={inner} is the width of the encoder that gCooL makes; leave it out with "
                "an encoder of your own"
            )
        resc = ReSC(tau, gamma, similarity, mode=mode)
        if options.get("loss") is None:
            options["loss"] = InfoNCE(tau=tau, intra_view=False, symmetric=mode == "paper")
        if inner is not None:
            widths: Sequence[int] = (*[inner] * (layers - 1), hidden)
            options["encoder"] = make_encoder(
                options.get("encoder", "gcn"),
                in_channels,
                widths,
                activation=activation,
                share_activation=True,
            )
        super().__init__(
            in_channels, hidden, layers=layers, activation=activation, tau=tau, **options
        )
        self.partition = communities if isinstance(communities, str) else None
        self.num_communities = num_communities
        self._found: Kept[Tensor] | None = None
        self._whole_labels: Tensor | None = None
        self.centres: nn.Parameter | None = None
        if isinstance(communities, int):
            self.centres = nn.Parameter(torch.empty(communities, hidden))
            nn.init.xavier_uniform_(self.centres)
        self.deca = DeCA(inter_weight, density)
        self.resc = resc
        self.tau, self.similarity = tau, similarity
        self.stride, self.detach_assign = stride, detach_assign
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def memberships(self, h: Tensor) -> Tensor:
        """Soft assignment (N, K) of projected nodes with unit rows (N, D).

        Raises:
            ValueError: communities are not learned but found by a named method.
        """
        if self.centres is None:
            raise ValueError(
                f"communities={self.partition!r} are no memberships: see communities()"
            )
        h = h.detach() if self.detach_assign else h
        similarity: Literal["cos", "rbf"] = self.similarity
        return soft_assignment(h, self.centres, tau=self.tau, similarity=similarity)

    @torch.no_grad()
    def communities(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Community (N,) of every node of the unaugmented graph."""
        if self.partition is not None:
            return self._partitioned(edge_index, x.shape[0])
        h = unit_rows(self.head(self.embed(x, edge_index)))
        return self.memberships(h).argmax(1)

    def know_whole_graph(self, x: Tensor, edge_index: Tensor) -> None:
        """See :meth:`GraphMethod.know_whole_graph`: a named method finds its communities there."""
        super().know_whole_graph(x, edge_index)
        if self.partition is not None:
            self._whole_labels = self._partitioned(edge_index, x.shape[0])

    def _labels(self, x: Tensor, edge_index: Tensor, ids: Tensor | None) -> Tensor:
        """Labels of a graph's nodes, or of the anchors of a batch by their global ids."""
        if ids is None or self._whole_labels is None:
            return self._partitioned(edge_index, x.shape[0])
        return self._whole_labels[ids.to(self._whole_labels.device)].to(x.device)

    def _partitioned(self, edge_index: Tensor, nodes: int) -> Tensor:
        """The named method's partition, found once and kept while the same graph is passed."""
        assert self.partition is not None
        if self._found is None or not self._found.is_of(edge_index, nodes):
            label = find_communities(
                self.partition, edge_index, nodes, num_communities=self.num_communities
            )
            self._found = Kept(label.to(edge_index.device), edge_index, nodes)
        return self._found.value

    def project(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Nodes of a view (N, D) as they are contrasted: encoded, projected, unit rows."""
        return unit_rows(self.head(self.encode(x, edge_index)))

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
        h1, h2 = (self.project(*view) for view in views)
        node = self.contrast(h1[:count], h2[:count], ids, views, pool)
        found = None
        if self.partition is not None:
            label = self._labels(x, edge_index, ids)[:count]
            found = (label, label)
        return self.pair_loss(h1, h2, (views[0][1], views[1][1]), found, node=node, count=count)

    def pair_loss(
        self,
        h1: Tensor,
        h2: Tensor,
        edges: tuple[Tensor, Tensor],
        found: tuple[Tensor, Tensor] | None = None,
        *,
        node: Tensor | None = None,
        count: int | None = None,
    ) -> Tensor:
        """The scheduled loss of two views of the same nodes, a scalar.

        Args:
            h1: (N, D) of :meth:`project` in view 1.
            h2: (N, D) in view 2.
            edges: (2, E1) of view 1 and (2, E2) of view 2.
            found: (N,) labels in each view where communities are not learned.
            node: the node term, where it is known already.
            count: how many of the nodes, from the first on, are anchors; default all.
        """
        if node is None:
            node = self.contrast(h1, h2)
        share, aggregation = gcool_schedule(int(self.epoch), self.stride)
        if share == 0:
            return node
        if found is not None:
            most = 1 + max(int(label.max()) for label in found)
            mature: Tensor = self.resc(h1[:count], h2[:count], *found, most)
            return node + share * mature
        r1, r2 = self.memberships(h1), self.memberships(h2)
        deca = (self.deca(r1, edges[0]) + self.deca(r2, edges[1])) / 2
        own1, own2 = r1[:count].argmax(1), r2[:count].argmax(1)
        resc: Tensor = self.resc(h1[:count], h2[:count], own1, own2, r1.shape[1])
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
