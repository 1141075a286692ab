"""What a method on meta-paths reads of a graph, made ready once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphcl.hetero.contexts import Contexts
from graphcl.hetero.features import Rows
from graphcl.hetero.schema import NeighbourLists
from graphcl.metapaths.neighbours import NeighbourGraph


@dataclass(frozen=True)
class HeteroInputs:
    """Features, neighbour graphs and whatever else a method derives from a ``HeteroData``.

    Attributes:
        target: the node type that is embedded.
        x: features of each type.
        graphs: one for each meta-path.
        adjacencies: their normalised matrices, or of those a method needs.
        contexts: one for each meta-path.
        neighbours: direct neighbours of the target type by their type.
        positives: (2, P) pairs.
    """

    target: str
    x: dict[str, Rows]
    graphs: tuple[NeighbourGraph, ...] = ()
    adjacencies: tuple[Tensor, ...] = ()
    contexts: tuple[Contexts, ...] = ()
    neighbours: dict[str, NeighbourLists] = field(default_factory=dict)
    positives: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        """Number of target nodes."""
        return int(self.x[self.target].x.shape[0])

    def transpose_of(self, number: int, matrix: Tensor) -> Tensor | None:
        """A matrix of graph ``number`` where it is its own transpose."""
        return matrix if self.graphs[number].is_undirected else None

    def to(self, device: torch.device | str) -> HeteroInputs:
        """The same inputs on a device."""
        return HeteroInputs(
            self.target,
            {kind: rows.to(device) for kind, rows in self.x.items()},
            tuple(graph.to(device) for graph in self.graphs),
            tuple(matrix.to(device) for matrix in self.adjacencies),
            tuple(context.to(device) for context in self.contexts),
            {kind: lists.to(device) for kind, lists in self.neighbours.items()},
            None if self.positives is None else self.positives.to(device),
        )
