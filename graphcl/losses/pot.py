"""The regulariser of provable training: nodes that stand out in every view of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphcl.kernels.kept import Kept
from graphcl.pot.adjacency import AdjacencyBounds, Interval, adjacency_bounds, check_view
from graphcl.pot.intervals import (
    BLOCK_FLOATS,
    clean_products,
    masked_products,
    node_intervals,
)
from graphcl.pot.layers import Layer, gcn_layers
from graphcl.pot.scores import SCORES, Score, contrast_weights, node_scores

Intervals = Literal["clean", "sound"]


class DrawnView(NamedTuple):
    """What an encoder was given and what it made of it: (N, F), (2, E'), (N, D)."""

    x: Tensor
    edge_index: Tensor
    z: Tensor


class POTRegularizer(nn.Module):
    r"""POT (Yu et al., 2023, arXiv 2309.13944) on top of a contrastive loss.

    .. math:: L = (1 - \kappa) L_{host} + \frac{\kappa}{2} \sum_{v \in \{1, 2\}}
              \frac{1}{N} \sum_i softplus(-score_i^{(v)})

    with scores of :mod:`graphcl.pot.scores`: view v against the other one, which is held fixed in
    place but not for the gradient. Embeddings are those of the encoder, without projection head.
    The encoder has to be a :class:`~graphcl.encoders.GCNEncoder` of any depth whose activation
    consists of two lines. Memory O(N d + E).

    Scores take the unaugmented features, so that a budget concerns edges alone, as in the release;
    with ``columns`` the views' own masked features.

    Args:
        score: ``pairwise`` (the paper's derivation at the drawn view), ``certified`` (a true lower
            bound over the budget) or ``official`` (the release, for reproduction).
        kappa: :math:`\kappa` in [0, 1).
        warmup: epochs with kappa 0: bounds of random weights say little.
        refresh: epochs from one computation of the intervals to the next; in between, and for the
            gradient, they are constants. With 1 gradients pass through them. Between computations
            weights move on, and a ``certified`` score is then a bound no more; without gradients
            its intervals are always computed anew.
        batch: number of nodes, drawn anew in every step, whose scores are taken; 0 takes all. Their
            neighbours are complete either way.
        intervals: ``sound``, or ``clean``: beyond the first layer those around the unaugmented
            hidden embeddings, as in the release, which views may leave. Default: ``sound`` for
            ``certified``, ``clean`` for the others: on a block model of 240 nodes ``pairwise`` then
            ranks nodes much like their sampled compactness does (Spearman's rho 0.4 to 0.6),
            but not at all with sound ones, which are too wide.
        check: raise an error when a view leaves its budget.
        block: floats that a block of edges may hold.

    Raises:
        ValueError: settings out of range, or ``certified`` with other than sound intervals.

    Example:
        >>> from graphcl.encoders import GCNEncoder
        >>> x, ring = torch.rand(3, 4), torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> encoder = GCNEncoder(4, [8, 5])
        >>> views = [DrawnView(x, ring, encoder(x, ring)) for _ in range(2)]
        >>> budget, host_loss = torch.ones(3).long(), torch.tensor(1.0)
        >>> POTRegularizer()(host_loss, encoder, x, ring, views, [budget, budget]).shape
        torch.Size([])
    """

    epoch: Tensor
    kept: Tensor

    def __init__(
        self,
        score: Score = "pairwise",
        *,
        kappa: float = 0.4,
        warmup: int = 0,
        refresh: int = 1,
        batch: int = 0,
        intervals: Intervals | None = None,
        check: bool = False,
        block: int = BLOCK_FLOATS,
    ) -> None:
        super().__init__()
        if score not in SCORES:
            raise ValueError(f"unknown POT score {score!r}; choose from {', '.join(SCORES)}")
        if not isinstance(kappa, (int, float)) or not 0 <= kappa < 1:
            raise ValueError(f"kappa must lie in [0, 1), got {kappa!r}")
        for name, value, least in (
            ("warmup", warmup, 0),
            ("refresh", refresh, 1),
            ("batch", batch, 0),
            ("block", block, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"POT's {name} must be an integer >= {least}, got {value!r}")
        if intervals not in (None, "clean", "sound"):
            raise ValueError(f"unknown POT intervals {intervals!r}; choose clean or sound")
        if score == "certified" and intervals == "clean":
            raise ValueError("a certified score needs intervals=sound: views leave clean ones")
        self.score: Score = score
        self.kappa, self.warmup, self.refresh, self.batch = kappa, warmup, refresh, batch
        self.sound = (intervals or ("sound" if score == "certified" else "clean")) == "sound"
        self.check, self.block = check, block
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        if refresh > 1:
            # Part of checkpoints, so that a continued run goes on with the same intervals.
            self.register_buffer("kept", torch.empty(0))
        self._bounds: Kept[list[AdjacencyBounds]] | None = None
        self._features: Kept[None] = Kept(None)

    def forward(
        self,
        host_loss: Tensor,
        encoder: nn.Module,
        x: Tensor,
        edge_index: Tensor,
        views: Sequence[DrawnView],
        budgets: Sequence[Tensor],
        *,
        columns: int = 0,
    ) -> Tensor:
        """The regularised loss, a scalar.

        Args:
            host_loss: the contrastive loss of the two views.
            encoder: a GCN encoder.
            x: (N, F) features of the unaugmented graph, dense or in CSR layout.
            edge_index: (2, E) its edges, both directions of each once.
            views: the two drawn views and their embeddings.
            budgets: (N,) edges that a node may lose, of each view.
            columns: feature columns that a view may mask.

        Raises:
            ValueError: see :func:`~graphcl.pot.gcn_layers` and :func:`~graphcl.pot.edge_budgets`.
        """
        kappa = self.kappa if int(self.epoch) >= self.warmup else 0.0
        if kappa == 0:
            return host_loss
        rows = None
        if 0 < self.batch < x.shape[0]:
            rows = torch.randperm(x.shape[0], device=x.device)[: self.batch]
        found = self.scores(encoder, x, edge_index, views, budgets, columns=columns, rows=rows)
        regulariser = sum(F.softplus(-one).mean() for one in found) / 2
        return (1 - kappa) * host_loss + kappa * regulariser

    def scores(
        self,
        encoder: nn.Module,
        x: Tensor,
        edge_index: Tensor,
        views: Sequence[DrawnView],
        budgets: Sequence[Tensor],
        *,
        columns: int = 0,
        rows: Tensor | None = None,
    ) -> list[Tensor]:
        """Scores (R,) of both views, of all nodes or those of ``rows``; see :meth:`forward`."""
        if len(views) != 2 or len(budgets) != 2:
            raise ValueError(
                f"POT compares two views in two budgets, got {len(views)} and {len(budgets)}"
            )
        with torch.autocast(x.device.type, enabled=False):
            layers = gcn_layers(encoder)
            if self.score == "official":
                layers = [Layer(one.weight, one.bias, one.slope.detach()) for one in layers]
            dtype = layers[0].weight.dtype
            bounds = self._bounds_of(x, edge_index, budgets, dtype)
            products = clean_products(layers, x, None if self.sound else bounds[0])
            first = (
                masked_products(x, layers[0].weight, columns, block=self.block) if columns else None
            )
            # The official score needs all nodes' vectors, whichever rows are asked for.
            needed = None if self.score == "official" else rows
            intervals = self._intervals(layers, bounds, products, first, needed)
            found = []
            for which, (view, budget) in enumerate(zip(views, bounds, strict=True)):
                if self.check:
                    check_view(edge_index, view.edge_index, budget.budget)
                product = products[0]
                if columns:
                    product = view.x.to(dtype) @ layers[0].weight
                score = node_scores(
                    self.score,
                    layers,
                    budget,
                    intervals[which],
                    contrast_weights(views[1 - which].z.to(dtype), needed),
                    view=view.edge_index,
                    product=product,
                    first=first,
                    rows=needed,
                    block=self.block,
                )
                found.append(score if needed is rows else score[rows])
            return found

    def after_step(self, step: int, total: int = 0) -> None:
        """Count the epochs of the warm-up and between refreshes."""
        self.epoch.fill_(step + 1)

    def _bounds_of(
        self, x: Tensor, edge_index: Tensor, budgets: Sequence[Tensor], dtype: torch.dtype
    ) -> list[AdjacencyBounds]:
        """Bounds of both budgets, computed once for a graph; another graph's intervals go."""
        graph = (edge_index, *budgets, dtype)
        known = self._bounds is not None and self._bounds.is_of(*graph)
        # Learned features move with the weights and keep their intervals until the next refresh.
        same = known and (x.requires_grad or self._features.is_of(x))
        if self.refresh > 1 and self._features.sources and not same:
            self.kept = self.kept.new_empty(0)
        self._features = Kept(None, x)
        if self._bounds is None or not known:
            refine = self.score != "official"  # the release takes every edge for droppable
            bounds = [
                adjacency_bounds(edge_index, one, dtype=dtype, refine=refine) for one in budgets
            ]
            self._bounds = Kept(bounds, *graph)
        return self._bounds.value

    def _intervals(
        self,
        layers: Sequence[Layer],
        bounds: Sequence[AdjacencyBounds],
        products: Sequence[Tensor],
        first: Interval | None,
        rows: Tensor | None,
    ) -> list[list[Interval]]:
        options: dict[str, Any] = {"sound": self.sound, "first": first}
        if self.refresh == 1 or (self.score == "certified" and not torch.is_grad_enabled()):
            return [node_intervals(layers, one, products, rows=rows, **options) for one in bounds]
        if self.kept.numel() == 0 or (int(self.epoch) - self.warmup) % self.refresh == 0:
            with torch.no_grad():
                fresh = [node_intervals(layers, one, products, **options) for one in bounds]
                ends = [end.flatten() for view in fresh for one in view for end in one]
                self.kept = torch.cat(ends)
        widths = [len(layer.bias) for layer in layers]
        nodes = len(products[0])
        ends = list(self.kept.split([nodes * width for width in widths for _ in range(2)] * 2))
        ends = [end.view(nodes, -1) for end in ends]
        found = []
        for view in range(2):
            mine = ends[view * 2 * len(widths) : (view + 1) * 2 * len(widths)]
            pairs = [Interval(*mine[2 * depth : 2 * depth + 2]) for depth in range(len(widths))]
            found.append([*pairs[:-1], pairs[-1].rows(rows)])
        return found

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # The kept intervals have no shape before the first step.
        saved = state_dict.get(f"{prefix}kept")
        if saved is not None and self.refresh > 1:
            self.kept = self.kept.new_empty(saved.shape, dtype=saved.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """Settings shown by ``print``."""
        kind = "sound" if self.sound else "clean"
        return f"score={self.score}, kappa={self.kappa}, warmup={self.warmup}, intervals={kind}"
