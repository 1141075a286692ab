"""GRACE: contrast of two randomly corrupted views at the level of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.encoders.heads import ProjectionHead
from graphcl.encoders.message_passing import encoder as make_encoder
from graphcl.encoders.message_passing import grace_channels
from graphcl.kernels.kept import Kept
from graphcl.losses.candidates import Candidates
from graphcl.losses.infonce import InfoNCE
from graphcl.losses.pool import CandidatePool
from graphcl.methods.method import GraphMethod
from graphcl.methods.rates import view_rates
from graphcl.pot.budgets import edge_budgets
from graphcl.views.budgeted import drop_edges_within
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
        edge_budget: take no more than a budget of edges from a node, both directions together:
            ``"mean"`` for as many as the rate loses on average, or the probability in (0, 1) that
            coins would exceed it; see :func:`~graphcl.pot.edge_budgets`. None sets no budget.
        column_budget: mask at most so many feature columns in a view. None sets no budget.
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
        edge_budget: str | float | None = None,
        column_budget: int | None = None,
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
        self.edge_budget = _edge_budget(edge_budget)
        self.column_budget = _column_budget(column_budget)
        self._budgets: Kept[list[Tensor]] | None = None

    def view(self, x: Tensor, edge_index: Tensor, which: int) -> tuple[Tensor, Tensor]:
        """Draw view ``which`` (0 or 1): masked features and kept edges."""
        edges = self.keep_edges(x, edge_index, which)
        mask = self.mask_rate(x, edge_index, which)
        return mask_features(x, mask, at_most=self.column_budget), edges

    def edge_rate(self, x: Tensor, edge_index: Tensor, which: int) -> float | Tensor:
        """Drop probability in view ``which``, one for all edges or (E,)."""
        return self.drop_edge[which]

    def mask_rate(self, x: Tensor, edge_index: Tensor, which: int) -> float | Tensor:
        """Mask probability in view ``which``, one for all columns or (F,)."""
        return self.mask_feature[which]

    def keep_edges(self, x: Tensor, edge_index: Tensor, which: int) -> Tensor:
        """Draw the edges (2, E') of view ``which``, within the budget if there is one."""
        rate = self.edge_rate(x, edge_index, which)
        if self.edge_budget is None:
            return drop_edges(edge_index, rate, undirected=self.undirected_views)
        return drop_edges_within(edge_index, rate, self.budgets(x, edge_index)[which])

    def budgets(self, x: Tensor, edge_index: Tensor) -> list[Tensor]:
        """Edges (N,) that a node may lose in each view; the mean where no budget is set.

        Computed once for a graph and kept while the same tensor is passed.
        """
        nodes = x.shape[0]
        if self._budgets is None or not self._budgets.is_of(edge_index, nodes):
            delta = None if isinstance(self.edge_budget, str) else self.edge_budget
            rates = [self.edge_rate(x, edge_index, which) for which in (0, 1)]
            budgets = [edge_budgets(edge_index, p, nodes, delta=delta) for p in rates]
            self._budgets = Kept(budgets, edge_index, nodes)
        return self._budgets.value

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


def _edge_budget(value: Any) -> str | float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None or value == "mean" or (number and 0 < value < 1):
        return value
    raise ValueError(f"edge_budget must be None, 'mean' or a probability in (0, 1), got {value!r}")


def _column_budget(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"column_budget must be None or an integer >= 0, got {value!r}")
