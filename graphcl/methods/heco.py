"""HeCo: the network schema against meta-paths, with several positives for each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.utils import coalesce

from graphcl.encoders.heads import ProjectionHead
from graphcl.hetero.attention import SemanticAttention
from graphcl.hetero.features import Rows, TypeTransform
from graphcl.hetero.inputs import HeteroInputs
from graphcl.hetero.positives import positive_pairs
from graphcl.hetero.schema import NeighbourLists, SchemaEncoder
from graphcl.kernels.sparse_product import sparse_product
from graphcl.losses.cross_view import HeCoLoss
from graphcl.metapaths.composition import PathLike, compose
from graphcl.metapaths.pathsim import top_neighbours
from graphcl.methods.hetero_method import HeteroMethod, kept_neighbours


class HeCo(HeteroMethod):
    r"""HeCo (Wang et al., 2021, arXiv 2105.09111) on a ``HeteroData``.

    The schema view embeds a node by sampled neighbours of each type and not by its own features;
    the meta-path view by nodes of its own type at the ends of meta-paths, and not by what stands
    between. Each is contrasted with the other; nodes that many meta-paths join are positives.
    The meta-path view is the embedding.

    Args:
        in_channels: width of the features of each node type, :meth:`input_channels` of a graph.
        metapaths: such as ``["PAP", "PSP"]``.
        hidden: width D of the embeddings.
        sample: neighbours drawn in an epoch of each type, such as ``{"author": 7, "subject": 1}``
            (types that are left out are not in the schema view), or one number for all types that
            a relation joins to the target, but the target itself.
        tau: temperature.
        balance: share :math:`\lambda` of the direction from meta-paths to schema.
        feature_dropout: of the transformed features.
        attention_dropout: of the attention vectors.
        positives: positives of a node at most, itself among them.
        positive_source: ``stored`` takes the pairs that come with the data (``positive_pairs`` of
            the target type) where there are any, ``computed`` always chooses them anew, see
            :func:`~graphcl.hetero.positive_pairs`.
        top_n: nodes that a node keeps along each meta-path, see
            :func:`~graphcl.metapaths.top_neighbours`; the paper keeps all, which a path through a
            hub makes nearly all nodes of the graph.

    Raises:
        ValueError: settings out of range.
    """

    paper: ClassVar[str] = "HeCo, Wang et al., 2021, arXiv 2105.09111"

    def __init__(
        self,
        in_channels: Mapping[str, int],
        metapaths: Sequence[PathLike] = ("PAP", "PSP"),
        hidden: int = 64,
        *,
        sample: int | Mapping[str, int] = 5,
        tau: float = 0.8,
        balance: float = 0.5,
        feature_dropout: float = 0.3,
        attention_dropout: float = 0.5,
        positives: int = 5,
        positive_source: Literal["stored", "computed"] = "stored",
        top_n: int | Sequence[int | None] | None = None,
    ) -> None:
        super().__init__(in_channels, metapaths)
        if hidden < 1:
            raise ValueError(f"hidden must be positive, got {hidden}")
        if not isinstance(positives, int | Integral) or positives < 1:
            raise ValueError(f"positives must be an integer of at least 1, got {positives!r}")
        if positive_source not in ("stored", "computed"):
            raise ValueError(
                f"unknown positive_source {positive_source!r}; choose stored or computed"
            )
        self.all_neighbours = not isinstance(sample, Mapping)
        sizes = sample if isinstance(sample, Mapping) else dict.fromkeys(self.in_channels, sample)
        if unknown := set(sizes) - set(self.in_channels):
            raise ValueError(
                f"sample names node types {sorted(unknown)}; there are {sorted(self.in_channels)}"
            )
        self.positives, self.positive_source = int(positives), positive_source
        self.top_n = kept_neighbours(top_n, len(self.metapaths))
        self.types = TypeTransform(self.in_channels, hidden, feature_dropout)
        self.schema = SchemaEncoder(hidden, sizes, dropout=attention_dropout)
        count = len(self.metapaths)
        self.linears = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(count))
        self.activations = nn.ModuleList(nn.PReLU() for _ in range(count))
        self.attention = SemanticAttention(hidden, attention_dropout)
        self.head = ProjectionHead(hidden, hidden)
        self.loss = HeCoLoss(tau, balance)
        for module in (*self.linears, *self.head.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain=1.414)

    def prepare(self, data: HeteroData, *, seed: int = 0) -> HeteroInputs:
        """Neighbour graphs, their matrices, neighbour lists and positives; ``seed`` breaks ties."""
        x = self.features(data)
        paths = self.paths(data)
        target = paths[0].types[0]
        graphs = tuple(
            top_neighbours(path, n, seed=seed) for path, n in zip(paths, self.top_n, strict=True)
        )
        lists = {kind: self._neighbours(data, target, kind) for kind in self._sampled(data, target)}
        store = data[target]
        if self.positive_source == "stored" and "positive_pairs" in store:
            pairs = coalesce(store.positive_pairs.long(), num_nodes=paths[0].num_nodes)
        else:
            pairs = positive_pairs(paths, self.positives, seed=seed)
        return HeteroInputs(
            target,
            {kind: Rows.of(x[kind]) for kind in (target, *lists)},
            graphs,
            tuple(graph.adjacency(binary=True) for graph in graphs),
            neighbours=lists,
            positives=pairs,
        ).to(self.place(data))

    def _sampled(self, data: HeteroData, target: str) -> list[str]:
        """Node types of the schema view."""
        if not self.all_neighbours:
            return list(self.schema.sample)
        joined = {kind for a, _, b in data.edge_types if target in (a, b) for kind in (a, b)}
        kinds = [kind for kind in self.schema.sample if kind in joined - {target}]
        if not kinds:
            raise ValueError(
                f"no relation joins {target!r} to another node type, which the schema view is made "
                f"of; to take {target!r} itself give sample={{{target!r}: 5}}"
            )
        return kinds

    @staticmethod
    def _neighbours(data: HeteroData, target: str, kind: str) -> NeighbourLists:
        try:
            return NeighbourLists.of(compose(data, [(target, kind)]))
        except ValueError as error:
            raise ValueError(
                f"the schema view of {target!r} samples {kind!r}, but: {error}; or leave {kind!r} "
                "out of sample"
            ) from error

    def encode(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`HeteroMethod.encode`: the meta-path view before its projection."""
        return self._along_paths(graph, self.types(graph.target, graph.x[graph.target]))

    def _along_paths(self, graph: HeteroInputs, own: Tensor) -> Tensor:
        views = []
        for linear, activation, matrix in zip(
            self.linears, self.activations, graph.adjacencies, strict=True
        ):
            assert isinstance(linear, nn.Linear)
            passed = sparse_product(matrix, F.linear(own, linear.weight), matrix)
            views.append(activation(passed + linear.bias))
        out: Tensor = self.attention(views)
        return out

    def forward(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`HeteroMethod.forward`."""
        assert graph.positives is not None
        own = self.types(graph.target, graph.x[graph.target])
        others = {kind: self.types(kind, graph.x[kind]) for kind in graph.neighbours}
        paths = self._along_paths(graph, own)
        schema = self.schema(own, others, graph.neighbours)
        loss: Tensor = self.loss(self.head(paths), self.head(schema), graph.positives)
        return loss
