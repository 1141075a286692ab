"""GCA: GRACE whose views spare what is central."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch_geometric.data import Data

from graphcl.kernels.kept import Kept
from graphcl.losses.pool import CandidatePool
from graphcl.methods.grace import GRACE
from graphcl.methods.rates import check_rate
from graphcl.views.adaptive import edge_drop_probabilities, feature_mask_probabilities
from graphcl.views.centrality import centrality, check_centrality


class GCA(GRACE):
    """GCA (Zhu et al., 2021, arXiv 2010.14945): adaptive corruption by node centrality.

    Edges into central nodes and features of central nodes are dropped less often; the rest is
    :class:`GRACE`, whose arguments it takes as well.

    Args:
        in_channels: F.
        hidden: width of the embeddings.
        scheme: ``degree``, ``pagerank`` or ``eigenvector`` centrality.
        threshold: largest probability of dropping an edge or masking a feature.
        **options: as in :class:`GRACE`.

    Raises:
        ValueError: an unknown centrality, or settings out of range.
    """

    paper: ClassVar[str] = "GCA, Zhu et al., 2021, arXiv 2010.14945"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 128,
        *,
        scheme: str = "degree",
        threshold: float = 0.7,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, hidden, **options)
        self.scheme = check_centrality(scheme)
        self.threshold = check_rate("threshold", threshold)
        self._importance: Kept[Tensor] | None = None
        self._probabilities: Kept[list[tuple[Tensor, Tensor]]] | None = None
        self._whole: list[tuple[Tensor, Tensor]] = []

    def edge_rate(self, x: Tensor, edge_index: Tensor, which: int) -> float | Tensor:
        """Drop probabilities (E,) of view ``which`` on this graph."""
        return self.probabilities(x, edge_index)[which][0]

    def mask_rate(self, x: Tensor, edge_index: Tensor, which: int) -> float | Tensor:
        """Mask probabilities (F,) of view ``which`` on this graph."""
        return self.probabilities(x, edge_index)[which][1]

    def know_whole_graph(self, x: Tensor, edge_index: Tensor) -> None:
        """Take the probabilities of the whole graph for all of its parts."""
        self._whole = self.probabilities(x, edge_index)

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """See :meth:`GRACE.seed_loss`; edges are dropped with their probability in the whole graph.

        Without :meth:`know_whole_graph`, centralities are those of the batch.
        """
        self.use_whole_graph(batch)
        return super().seed_loss(batch, pool)

    def use_whole_graph(self, batch: Data) -> None:
        """Give the edges of a batch their probabilities in the whole graph, if that is known."""
        if self._whole:
            found = [
                (edge[batch.e_id.to(edge.device)].to(batch.x.device), feature.to(batch.x.device))
                for edge, feature in self._whole
            ]
            self._probabilities = Kept(found, batch.x, batch.edge_index)

    def probabilities(self, x: Tensor, edge_index: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Drop probabilities (E,) and mask probabilities (F,) of both views.

        Computed once for a graph and kept while equal tensors are passed.
        """
        if self._probabilities is None or not self._probabilities.is_of(x, edge_index):
            nodes = x.shape[0]
            if self._importance is None or not self._importance.is_of(edge_index, nodes):
                found = centrality(self.scheme, edge_index, nodes)
                self._importance = Kept(found, edge_index, nodes)
            importance = self._importance.value
            probabilities = [
                (
                    edge_drop_probabilities(
                        edge_index, importance, drop, threshold=self.threshold
                    ).to(x.device),
                    feature_mask_probabilities(x, importance, mask, threshold=self.threshold).to(
                        x.device
                    ),
                )
                for drop, mask in zip(self.drop_edge, self.mask_feature, strict=True)
            ]
            self._probabilities = Kept(probabilities, x, edge_index)
        return self._probabilities.value
