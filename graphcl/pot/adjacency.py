"""Bounds of the normalised adjacency over all views in a budget: two numbers an edge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphcl.encoders.adjacency import sparse_adjacency
from graphcl.pot.budgets import simple_edges


class Interval(NamedTuple):
    """Elementwise bounds of a matrix; one and the same tensor twice where it is known."""

    low: Tensor
    high: Tensor

    @classmethod
    def point(cls, value: Tensor) -> Interval:
        """The interval of a matrix that is known."""
        return cls(value, value)

    @property
    def known(self) -> bool:
        """Whether both bounds are the same tensor."""
        return self.low is self.high

    def rows(self, nodes: Tensor | None) -> Interval:
        """Some rows of the bounds, all of them without ``nodes``."""
        return self if nodes is None else Interval(self.low[nodes], self.high[nodes])


@dataclass(frozen=True)
class AdjacencyBounds:
    """``lower <= Â <= upper`` for every view that keeps to a budget.

    Entries (M = E + N, self loops included) are sorted by target.

    Args:
        source: (M,) column.
        target: (M,) row.
        clean: (M,) value in the unaugmented graph, which no entry of a kept edge falls below.
        lower: (M,) 0 where the edge may be dropped, ``clean`` elsewhere; without refinement 0 for
            every edge.
        upper: (M,) value when both ends have lost all they may lose.
        droppable: (M,) edges whose ends both have a budget.
        budget: (N,) edges a node may lose.
        symmetric: no rows are left out.
    """

    source: Tensor
    target: Tensor
    clean: Tensor
    lower: Tensor
    upper: Tensor
    droppable: Tensor
    budget: Tensor
    symmetric: bool = True

    def rows(self, nodes: Tensor | None) -> AdjacencyBounds:
        """The same bounds with the rows of some nodes alone, and all columns."""
        if nodes is None:
            return self
        wanted = torch.zeros_like(self.budget, dtype=torch.bool)
        wanted[nodes] = True
        kept = wanted[self.target]
        names = ("source", "target", "clean", "lower", "upper", "droppable")
        parts = {name: getattr(self, name)[kept] for name in names}
        return replace(self, **parts, symmetric=False)

    def matrix(self, value: Tensor) -> Tensor:
        """Sparse (N, N) matrix with a ``value`` (M,) for each entry."""
        edges = torch.stack([self.source, self.target])
        return sparse_adjacency(edges, value, len(self.budget))

    def product(self, matrix: Tensor, factor: Tensor) -> Tensor:
        """Product of a matrix of these entries with (N, d)."""
        if not self.symmetric:
            return matrix @ factor
        found: Tensor = _SymmetricProduct.apply(matrix, factor)
        return found

    @cached_property
    def clean_matrix(self) -> Tensor:
        """Â of the unaugmented graph."""
        return self.matrix(self.clean)

    @cached_property
    def _centre_radius(self) -> tuple[Tensor, Tensor]:
        centre, radius = (self.upper + self.lower) / 2, (self.upper - self.lower) / 2
        return self.matrix(centre), self.matrix(radius)

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor]:
        return self.matrix(self.lower), self.matrix(self.upper)

    def multiply(self, factor: Interval) -> Interval:
        """Bounds of ``Â M`` for every Â in these bounds and M (N, d) in its own.

        Four sparse products, or two where M is known.
        """
        if factor.known:
            centre, radius = (
                self.product(matrix, value)
                for matrix, value in zip(
                    self._centre_radius, (factor.low, factor.low.abs()), strict=True
                )
            )
            return Interval(centre - radius, centre + radius)
        lower, upper = self._ends
        positive, negative = (
            [end.clamp(**side) for end in factor] for side in ({"min": 0}, {"max": 0})
        )
        low = self.product(lower, positive[0]) + self.product(upper, negative[0])
        high = self.product(upper, positive[1]) + self.product(lower, negative[1])
        return Interval(low, high)


class _SymmetricProduct(torch.autograd.Function):
    """``S M`` for a constant symmetric sparse S, whose backward pass needs no transpose of S."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, factor: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ factor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix @ gradient


def adjacency_bounds(
    edge_index: Tensor,
    budget: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    refine: bool = True,
) -> AdjacencyBounds:
    """Bounds of the normalised adjacency ``D^-1/2 (A + I) D^-1/2`` under edge removal.

    Nodes lose at most ``budget`` edges each, both directions together, and gain none. Then degrees
    only shrink, so that an entry is at most ``1 / sqrt((d_i + 1 - q_i)(d_j + 1 - q_j))`` and, if
    its edge is kept, at least its value in the full graph.

    Args:
        edge_index: (2, E) edges, both directions of each once; self loops are ignored.
        budget: (N,) integers from 0 to ``max(degree - 1, 0)``.
        dtype: of the bounds.
        refine: keep an edge of which an end has no budget at its clean value; the release has
            zero there.

    Raises:
        ValueError: edges as in :func:`~graphcl.pot.edge_budgets`, or a budget out of range.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> bounds = adjacency_bounds(path, torch.tensor([0, 1, 0]))
        >>> bool((bounds.lower == bounds.clean).all())  # an end of each edge has no budget
        True
    """
    if budget.dim() != 1 or budget.is_floating_point():
        raise ValueError(
            f"budget has shape {tuple(budget.shape)} and {budget.dtype}: give integers (N,)"
        )
    nodes = len(budget)
    edges = edge_index[:, simple_edges(edge_index, nodes)].long()
    budget = budget.to(edges.device).long()
    degree = torch.bincount(edges[1], minlength=nodes)
    wrong = (budget < 0) | (budget > (degree - 1).clamp(min=0))
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"budget {int(budget[first])} of node {first} with {int(degree[first])} edges: give 0 "
            "to degree - 1, so that no node is isolated"
        )
    loops = torch.arange(nodes, device=edges.device).expand(2, -1)
    source, target = torch.cat([edges, loops], 1)
    order = torch.argsort(target, stable=True)
    source, target = source[order], target[order]
    full = (degree + 1).double()
    least = full - budget
    clean = (full[source] * full[target]).rsqrt()
    upper = (least[source] * least[target]).rsqrt()
    droppable = (source != target) & (budget[source] > 0) & (budget[target] > 0)
    absent = droppable if refine else source != target
    return AdjacencyBounds(
        source=source,
        target=target,
        clean=clean.to(dtype),
        lower=clean.masked_fill(absent, 0).to(dtype),
        upper=upper.to(dtype),
        droppable=droppable,
        budget=budget,
    )


def view_matrix(
    edge_index: Tensor, num_nodes: int, *, dtype: torch.dtype, rows: Tensor | None = None
) -> Tensor:
    """Sparse Â of a drawn view as GCN normalises it, all rows of it or those of some nodes."""
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    edges, weight = gcn_norm(edge_index, None, num_nodes, dtype=dtype)
    if rows is not None:
        wanted = torch.zeros(num_nodes, dtype=torch.bool, device=edges.device)
        wanted[rows] = True
        kept = wanted[edges[1]]
        edges, weight = edges[:, kept], weight[kept]
    return sparse_adjacency(edges, weight, num_nodes)


def check_view(edge_index: Tensor, view: Tensor, budget: Tensor) -> None:
    """Raise ValueError unless a view is undirected, of the graph's edges and within its budget.

    The bounds say nothing about other views.
    """
    nodes = len(budget)
    full, kept = (edges[:, simple_edges(edges, nodes)].long() for edges in (edge_index, view))
    foreign = ~torch.isin(kept[0] * nodes + kept[1], full[0] * nodes + full[1])
    if foreign.any():
        source, target = kept[:, foreign][:, 0].tolist()
        raise ValueError(
            f"a view has the edge ({source}, {target}), which the graph has not: bounds are for "
            "views that drop edges and add none"
        )
    lost = torch.bincount(full[1], minlength=nodes) - torch.bincount(kept[1], minlength=nodes)
    wrong = lost > budget
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"a view takes {int(lost[first])} edges from node {first}, its budget is "
            f"{int(budget[first])}: draw views with edge_budget set on the method"
        )
