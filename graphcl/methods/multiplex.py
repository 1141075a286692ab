"""gCooL on a multiplex graph: several relations over the same nodes, contrasted pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from graphcl.encoders.evaluating import evaluating
from graphcl.methods.finite import check_finite_once
from graphcl.methods.gcool import GCooL

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Fusion = Literal["mean", "concat"]


class MultiplexGCooL(nn.Module):
    """gCooL (Li et al., 2022, arXiv 2110.14863) on V relations between the same N nodes.

    Every relation is a view of its own. The loss is the sum over all unordered pairs of relations
    of :class:`GCooL`'s scheduled loss; the projection head and the community centres are common to
    all relations, so that they are contrasted in one space. The loop is that of
    :class:`~graphcl.methods.GraphMethod`, with a list of edge indices where it has one.

    Args:
        in_channels: F.
        relations: V.
        hidden: width D of a relation's embeddings.
        share_encoder: one encoder for all relations; otherwise each has its own.
        corrupt: contrast randomly corrupted relations (GCA's views: relation v with the first
            rates, w with the second, for v < w); otherwise relations as they are.
        within: also contrast two corrupted versions of each relation, as on a single graph.
        fusion: embedding of a node from those of its relations: ``mean`` (N, D), or ``concat``
            (N, V D).
        **options: as in :class:`GCooL`; with a named method of communities every relation is
            partitioned by its own edges.

    Raises:
        ValueError: settings out of range, or one relation without ``within``: nothing to contrast.

    Example:
        >>> method = MultiplexGCooL(4, relations=2, hidden=3, communities=2)
        >>> edges = [torch.tensor([[0, 1], [1, 0]]), torch.tensor([[1, 2], [2, 1]])]
        >>> method(torch.rand(5, 4), edges).shape, method.embed(torch.rand(5, 4), edges).shape
        (torch.Size([]), torch.Size([5, 3]))
    """

    paper: ClassVar[str] = "gCooL, Li et al., 2022, arXiv 2110.14863"

    def __init__(
        self,
        in_channels: int,
        relations: int,
        hidden: int = 128,
        *,
        share_encoder: bool = False,
        corrupt: bool = True,
        within: bool = False,
        fusion: Fusion = "mean",
        **options: Any,
    ) -> None:
        super().__init__()
        if relations < 1 or (relations == 1 and not within):
            raise ValueError(
                f"relations={relations} gives no pair to contrast: give at least two, or one with "
                "within=True"
            )
        if fusion not in ("mean", "concat"):
            raise ValueError(f"unknown fusion {fusion!r}; choose mean or concat")
        self.fusion, self.corrupt, self.within = fusion, corrupt, within
        first = GCooL(in_channels, hidden, **options)
        rest = [GCooL(in_channels, hidden, **options) for _ in range(relations - 1)]
        for method in rest:
            method.head, method.centres = first.head, first.centres
            if share_encoder:
                method.encoder = first.encoder
        self.relations = nn.ModuleList([first, *rest])

    def _methods(self) -> list[GCooL]:
        return [method for method in self.relations if isinstance(method, GCooL)]

    def forward(self, x: Tensor, edge_indices: Sequence[Tensor]) -> Tensor:
        """The training loss of one step, a scalar.

        Args:
            x: (N, F) node features.
            edge_indices: V tensors (2, E_v) of directed edges.

        Raises:
            ValueError: not V of them, or features that are NaN or infinite.
        """
        self._check(edge_indices)
        check_finite_once(x)
        methods = self._methods()
        drawn: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

        def version(v: int, which: int, corrupt: bool) -> tuple[Tensor, Tensor]:
            """Projected nodes and edges of a relation, drawn once a step."""
            key = (v, which if corrupt else -1)
            if key not in drawn:
                graph = (x, edge_indices[v])
                view = methods[v].view(*graph, which) if corrupt else graph
                drawn[key] = (methods[v].project(*view), view[1])
            return drawn[key]

        pairs = [(v, w, self.corrupt) for v, w in combinations(range(len(methods)), 2)]
        if self.within:
            pairs += [(v, v, True) for v in range(len(methods))]
        losses = []
        for v, w, corrupt in pairs:
            (h1, edges1), (h2, edges2) = version(v, 0, corrupt), version(w, 1, corrupt)
            found = None
            if methods[v].partition is not None:
                found = (
                    methods[v].communities(x, edge_indices[v]),
                    methods[w].communities(x, edge_indices[w]),
                )
            losses.append(methods[0].pair_loss(h1, h2, (edges1, edges2), found))
        return torch.stack(losses).sum()

    def encode(self, x: Tensor, edge_indices: Sequence[Tensor]) -> Tensor:
        """Fused embeddings of the nodes, with gradients and in the current mode."""
        self._check(edge_indices)
        each = [m.encode(x, edges) for m, edges in zip(self._methods(), edge_indices, strict=True)]
        return torch.cat(each, 1) if self.fusion == "concat" else torch.stack(each).mean(0)

    def embed(self, x: Tensor, edge_indices: Sequence[Tensor]) -> Tensor:
        """Fused embeddings (N, D) or (N, V D) in evaluation mode, detached."""
        with evaluating(self):
            return self.encode(x, edge_indices)

    def after_step(self, step: int, total: int) -> None:
        """Count the epochs of the schedule."""
        for method in self._methods():
            method.after_step(step, total)

    def _check(self, edge_indices: Sequence[Tensor]) -> None:
        if isinstance(edge_indices, Tensor) or len(edge_indices) != len(self.relations):
            got = "a tensor" if isinstance(edge_indices, Tensor) else f"{len(edge_indices)}"
            raise ValueError(
                f"give a list of {len(self.relations)} edge indices, one per relation, got {got}"
            )


def relation_views(data: HeteroData) -> tuple[Tensor, list[Tensor]]:
    """Features (N, F) and the edge indices of all relations of a graph with one node type.

    Relations come in the order in which the graph holds them.

    Raises:
        ValueError: not exactly one node type, no features, or no relation.
    """
    if len(data.node_types) != 1:
        raise ValueError(
            f"a multiplex graph has one node type, this one has {', '.join(data.node_types)}; keep "
            "the relations of one type, such as its meta-path neighbours"
        )
    store = data[data.node_types[0]]
    if "x" not in store:
        raise ValueError(f"node type {data.node_types[0]!r} has no features x")
    if not data.edge_types:
        raise ValueError("the graph has no relation (edge type)")
    return store.x, [data[relation].edge_index for relation in data.edge_types]
