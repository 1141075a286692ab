"""MEOW: a coarse view of meta-paths against a fine one, negatives graded by clusterings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphcl.hetero.attention import SemanticAttention
from graphcl.hetero.clustering import cluster_labels
from graphcl.hetero.contexts import Contexts
from graphcl.hetero.encoder import MetaPathEncoder, Norm
from graphcl.hetero.features import Rows, TypeTransform
from graphcl.hetero.inputs import HeteroInputs
from graphcl.kernels.kept import Kept
from graphcl.kernels.unit_rows import unit_rows
from graphcl.losses.meow import MEOWLoss, cluster_counts
from graphcl.metapaths.composition import PathLike
from graphcl.metapaths.neighbours import mean_adjacency
from graphcl.metapaths.pathsim import TIES, Ties, top_neighbours
from graphcl.methods.hetero_method import HeteroMethod, kept_neighbours, per_path
from graphcl.methods.rates import check_rate


class MetaPathViews(HeteroMethod):
    """The two views of MEOW and AdaMEOW, which differ in their loss.

    The *fine* view embeds the nodes along each meta-path, with its contexts (what stands between
    the ends), once as they are and once with masked features and edges, and weighs all of them by
    attention; it is the embedding. The *coarse* view embeds the nodes' own features along the mean
    of all meta-paths.

    Args:
        in_channels: width of the features of each node type.
        metapaths: such as ``["PAP", "PSP"]``.
        hidden: width D of the embeddings.
        projection: width of the embeddings that are contrasted; default ``hidden``.
        layers: graph convolutions.
        top_n: PathSim neighbours kept for each node, a number or one for each meta-path; ``None``
            keeps all.
        ties: which of equally similar neighbours are kept, see
            :func:`~graphcl.metapaths.top_neighbours`.
        mask_feature: share of feature entries masked.
        mask_edge: share of neighbour pairs masked, a number or one for each meta-path.
        dropout: of every linear map.
        norm: see :class:`~graphcl.hetero.MetaPathEncoder`.

    Raises:
        ValueError: settings out of range.
    """

    def __init__(
        self,
        in_channels: Mapping[str, int],
        metapaths: Sequence[PathLike] = ("PAP", "PSP"),
        hidden: int = 64,
        *,
        projection: int | None = None,
        layers: int = 2,
        top_n: int | Sequence[int] | None = None,
        ties: Ties = "random",
        mask_feature: float = 0.3,
        mask_edge: float | Sequence[float] = 0.2,
        dropout: float = 0.2,
        norm: Norm = "graph",
    ) -> None:
        super().__init__(in_channels, metapaths)
        count = len(self.metapaths)
        width = hidden if projection is None else projection
        if min(hidden, width) < 1:
            raise ValueError(
                f"hidden and projection must be positive, got {hidden} and {projection}"
            )
        if ties not in TIES:
            raise ValueError(f"unknown ties {ties!r}; choose from {', '.join(TIES)}")
        self.ties: Ties = ties
        self.top_n = kept_neighbours(top_n, count)
        self.mask_feature = check_rate("mask_feature", mask_feature)
        self.mask_edge = tuple(
            check_rate("mask_edge", rate) for rate in per_path("mask_edge", mask_edge, count)
        )
        self.types = TypeTransform(self.in_channels, hidden, dropout)
        # Without a bias: contexts are means of small rows, and a constant would drown them.
        self.context_maps = nn.ModuleList(
            nn.Linear(hidden, hidden, bias=False) for _ in range(count)
        )
        self.dropout = nn.Dropout(dropout)
        self.encoder = MetaPathEncoder(hidden, layers=layers, dropout=dropout, norm=norm)
        self.attention = SemanticAttention(hidden)
        self.head = nn.Linear(hidden, width)
        for linear in (*self.context_maps, self.head):
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_normal_(linear.weight, gain=1.414)

    def prepare(self, data: HeteroData, *, seed: int = 0) -> HeteroInputs:
        """Neighbour graphs, their matrices and the contexts; ``seed`` breaks ties."""
        x = self.features(data)
        paths = self.paths(data)
        target = paths[0].types[0]
        own = x[target] if "x" in data[target] else None
        graphs = tuple(
            top_neighbours(path, n, ties=self.ties, seed=seed, features=own)
            for path, n in zip(paths, self.top_n, strict=True)
        )
        matrices = (*(graph.adjacency() for graph in graphs), mean_adjacency(graphs))
        contexts = tuple(Contexts.of(path) for path in paths)
        used = {target, *(kind for context in contexts for kind in context.types)}
        return HeteroInputs(
            target, {kind: Rows.of(x[kind]) for kind in sorted(used)}, graphs, matrices, contexts
        ).to(self.place(data))

    def fine(self, graph: HeteroInputs) -> Tensor:
        """The fine view (N, D), masked in training mode."""
        return self.attention(self.fine_views(graph, *self._rows(graph)))

    def views(self, graph: HeteroInputs) -> tuple[Tensor, Tensor]:
        """Fine and coarse view, both (N, D)."""
        own, others = self._rows(graph)
        fine: Tensor = self.attention(self.fine_views(graph, own, others))
        whole = graph.adjacencies[-1]
        undirected = all(one.is_undirected for one in graph.graphs)
        coarse: Tensor = self.encoder(own, whole, whole if undirected else None)
        return fine, coarse

    def _rows(self, graph: HeteroInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Transformed rows of the target type, and of the types on the way."""
        own = self.types(graph.target, graph.x[graph.target])
        between = {kind for context in graph.contexts for kind in context.types}
        others = {
            kind: own if kind == graph.target else self.types(kind, graph.x[kind])
            for kind in sorted(between)
        }
        return own, others

    def fine_views(
        self, graph: HeteroInputs, own: Tensor, others: dict[str, Tensor]
    ) -> list[Tensor]:
        """Two unit-row views (N, D) of each meta-path, as it is and masked."""
        masked = own
        if self.training and self.mask_feature:
            masked = self.types(graph.target, graph.x[graph.target].masked(self.mask_feature))
        found = []
        for number, context in enumerate(graph.contexts):
            along = self.dropout(self.context_maps[number](context(others)))
            rate = self.mask_edge[number] if self.training else 0.0
            for rows, matrix in (
                (own, graph.adjacencies[number]),
                (masked, graph.graphs[number].masked(rate)),
            ):
                h = F.elu(rows + along)
                z = self.encoder(h, matrix, graph.transpose_of(number, matrix))
                found.append(unit_rows(z))
        return found

    def project(self, z: Tensor) -> Tensor:
        """Unit rows that are contrasted."""
        return unit_rows(torch.tanh(self.head(z)))

    def encode(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`HeteroMethod.encode`: the fine view before its projection."""
        return self.fine(graph)


class MEOW(MetaPathViews):
    r"""MEOW (Yu et al., 2023, arXiv 2212.13847) on a ``HeteroData``.

    Each coarse row is drawn to its fine row and pushed from the others', the more the more
    clusterings of the fine view separate the two; a second term draws it to the centroids of its
    clusters. The released code breaks ties between neighbours by the order of nodes, which
    hands class labels to the model on ACM; here they are broken at random by default. Masks are
    drawn anew in every epoch, clusterings every ``recluster`` epochs (the release: masks once,
    clusterings in every epoch).

    Args:
        in_channels: width of the features of each node type, :meth:`input_channels` of a graph.
        metapaths: such as ``["PAP", "PSP"]``.
        hidden: width D of the embeddings.
        tau: temperature.
        clusters: numbers of clusters, one clustering each.
        recluster: epochs between clusterings.
        proto_weight: :math:`\lambda` of :class:`~graphcl.losses.MEOWLoss`.
        options: of :class:`MetaPathViews` (``top_n``, ``ties``, ``mask_feature``, ``mask_edge``,
            ``dropout``, ``layers``, ``norm``, ``projection``).

    Raises:
        ValueError: settings out of range.

    Example:
        >>> data = HeteroData()
        >>> data["paper"].x, data["author"].num_nodes = torch.rand(4, 3), 2
        >>> data["paper", "by", "author"].edge_index = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]])
        >>> method = MEOW(MEOW.input_channels(data), ["PAP"], 8, clusters=[2])
        >>> graph = method.prepare(data)
        >>> method(graph).shape, method.embed(graph).shape
        (torch.Size([]), torch.Size([4, 8]))
    """

    paper: ClassVar[str] = "MEOW, Yu et al., 2023, arXiv 2212.13847"
    labels: Tensor
    epoch: Tensor

    def __init__(
        self,
        in_channels: Mapping[str, int],
        metapaths: Sequence[PathLike] = ("PAP", "PSP"),
        hidden: int = 64,
        *,
        tau: float = 0.4,
        clusters: Sequence[int] = (100, 300),
        recluster: int = 1,
        proto_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, metapaths, hidden, **options)
        if recluster < 1:
            raise ValueError(f"recluster must be at least 1, got {recluster}")
        numbers = list(clusters) if isinstance(clusters, Iterable) else []
        if not numbers or not all(isinstance(n, Integral) and n > 0 for n in numbers):
            raise ValueError(
                f"clusters must be numbers of clusters such as [100, 300], got {clusters!r}"
            )
        self.clusters, self.recluster = [int(n) for n in numbers], recluster
        self.loss = MEOWLoss(tau, proto_weight)
        self.register_buffer("labels", torch.empty(0, len(self.clusters), dtype=torch.long))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        self._clustered: Kept[None] = Kept(None)

    def forward(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`HeteroMethod.forward`."""
        cluster_counts(graph.num_nodes, self.clusters)
        fine, coarse = (self.project(view) for view in self.views(graph))
        # Labels from a checkpoint are of the first graph that comes.
        sources = (*(rows.x for rows in graph.x.values()), *graph.adjacencies)
        other = bool(self._clustered.sources) and not self._clustered.is_of(*sources)
        self._clustered = Kept(None, *sources)
        if other or int(self.epoch) % self.recluster == 0 or len(self.labels) != len(fine):
            self.labels = cluster_labels(fine, self.clusters)
        loss: Tensor = self.loss(coarse, fine, self.labels)
        return loss

    def after_step(self, step: int, total: int) -> None:
        """Count the epochs between clusterings."""
        self.epoch.fill_(step + 1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        stored = state.get(f"{prefix}labels")
        if stored is not None:  # one row for each node of the graph that was trained on
            self.labels = self.labels.new_empty(stored.shape)
        super()._load_from_state_dict(state, prefix, *args)
