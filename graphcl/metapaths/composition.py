"""A meta-path, as a string or a list of edge types, and its counts by sparse products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from torch_geometric.data import HeteroData

PathLike = str | Sequence[Sequence[str]]
"""``"PAP"``, ``"paper-author-paper"``, or edge types as PyG's ``AddMetaPaths`` takes them."""


@dataclass(frozen=True)
class MetaPath:
    """A sequence of relations from nodes of one type to nodes of another.

    Attributes:
        name: for people.
        types: node types on the way, one more than there are hops.
        hops: for each hop a sparse matrix (nodes before, nodes after) of edge counts.
    """

    name: str
    types: tuple[str, ...]
    hops: tuple[sp.csr_matrix, ...]

    @property
    def num_nodes(self) -> int:
        """Number of nodes at the start."""
        return int(self.hops[0].shape[0])

    def counts(self, rows: slice | None = None) -> sp.csr_matrix:
        """Number of instances of the path from each node to each node it reaches, sparse.

        Args:
            rows: start nodes; all by default.
        """
        product = self.hops[0] if rows is None else self.hops[0][rows]
        for hop in self.hops[1:]:
            product = product @ hop
        product = product.tocsr()
        product.sort_indices()
        return product

    def blocks(self, size: int = 1024) -> Iterator[tuple[int, sp.csr_matrix]]:
        """Counts of ``size`` start nodes at a time, with the number of the first of them.

        A path through a hub reaches nearly everything: what is to be cut is never held at once.
        """
        for start in range(0, self.num_nodes, size):
            yield start, self.counts(slice(start, start + size))

    def check_round_trip(self) -> None:
        """Raise ``ValueError`` unless the path ends where it starts."""
        if self.types[0] != self.types[-1]:
            raise ValueError(
                f"meta-path {self.name!r} leads from {self.types[0]!r} to {self.types[-1]!r}; one "
                "that ends where it starts is needed"
            )

    def there_and_back(self) -> bool:
        """Whether its second half is the first one reversed, so that counts are symmetric."""
        half = (len(self.hops) + 1) // 2
        pairs = zip(self.hops[:half], self.hops[::-1], strict=False)
        return all(hop.shape == back.T.shape and not (hop != back.T).nnz for hop, back in pairs)

    def diagonal(self) -> np.ndarray:
        """Number of instances from each node to itself, (N,)."""
        self.check_round_trip()
        parts = [block.diagonal(start) for start, block in self.blocks()]
        return np.concatenate(parts)


def compose(data: HeteroData, path: PathLike) -> MetaPath:
    """Find the relations of a meta-path in a graph.

    A hop from one node type to another takes the one edge type that leads there; where there is
    none, the one that leads back, reversed. Copies of an edge are one edge.

    Args:
        data: the graph.
        path: initials of node types (``"PAP"``), their names with hyphens between, or a list of
            edge types ``(source, target)`` or ``(source, relation, target)``.

    Raises:
        ValueError: the path names no or several node types or relations, its hops do not join, or
            it has no hop.

    Example:
        >>> import torch
        >>> data = HeteroData()
        >>> data["paper"].num_nodes, data["author"].num_nodes = 2, 1
        >>> data["paper", "by", "author"].edge_index = torch.tensor([[0, 1], [0, 0]])
        >>> compose(data, "PAP").counts().toarray().tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    if isinstance(path, str):
        types = [_node_type(data, letter, path) for letter in _letters(path)]
        steps: list[tuple[str, ...]] = list(pairwise(types))
        name = path
    else:
        steps = [tuple(step) for step in path]
        name = "-".join(str(step[0]) for step in steps) + f"-{steps[-1][-1]}" if steps else "[]"
    if not steps:
        raise ValueError(f"meta-path {name!r} has no hop; give two node types or more")
    for number, step in enumerate(steps):
        if len(step) not in (2, 3):
            raise ValueError(
                f"hop {number} of meta-path {name!r} is {step}; give (source, target) or "
                "(source, relation, target)"
            )
        if number and steps[number - 1][-1] != step[0]:
            raise ValueError(
                f"meta-path {name!r} does not compose: hop {number - 1} ends at "
                f"{steps[number - 1][-1]!r}, hop {number} starts at {step[0]!r}"
            )
    hops = tuple(_hop(data, step, name) for step in steps)
    return MetaPath(name, (steps[0][0], *(step[-1] for step in steps)), hops)


def _letters(path: str) -> list[str]:
    return path.split("-") if "-" in path else list(path)


def _node_type(data: HeteroData, letter: str, path: str) -> str:
    types = data.node_types
    if letter in types:
        return letter
    fitting = [t for t in types if t.lower().startswith(letter.lower())]
    if letter and len(fitting) == 1:
        return str(fitting[0])
    raise ValueError(
        f"{letter!r} in meta-path {path!r} stands for {'no' if not fitting else 'several'} of the "
        f"node types {', '.join(types)}; give a list of edge types"
    )


def _hop(data: HeteroData, step: tuple[str, ...], path: str) -> sp.csr_matrix:
    source, target = step[0], step[-1]

    def fits(edge_type: tuple[str, str, str], ends: tuple[str, str]) -> bool:
        named = len(step) == 2 or edge_type[1] == step[1]
        return (edge_type[0], edge_type[2]) == ends and named

    forward = [t for t in data.edge_types if fits(t, (source, target))]
    back = [t for t in data.edge_types if fits(t, (target, source))]
    if len(forward or back) != 1:
        number = "several" if forward or back else "no"
        raise ValueError(
            f"meta-path {path!r} does not compose: {number} relations join "
            f"{source!r} and {target!r}"
            + (f" under the name {step[1]!r}" if len(step) == 3 else "")
            + f"; the edge types are {data.edge_types}"
        )
    edges = data[(forward or back)[0]].edge_index.cpu().numpy()
    row, column = edges if forward else edges[::-1]
    shape = tuple(int(data[t].num_nodes or 0) for t in (source, target))
    for ids, size, kind in ((row, shape[0], source), (column, shape[1], target)):
        if ids.size and not 0 <= ids.min() <= ids.max() < size:
            raise ValueError(
                f"edges of {(forward or back)[0]} name {kind!r} nodes {ids.min()}..{ids.max()}, "
                f"but there are {size}"
            )
    ones = np.ones(len(row), dtype=np.float64)
    hop = sp.csr_matrix((ones, (row, column)), shape=shape)
    hop.data[:] = 1.0  # copies of an edge are one edge
    return hop
