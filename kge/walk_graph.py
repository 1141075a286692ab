"""Breadth-first search from many entities at once, by sparse row products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kge.ball_store import Ints, Rows

_WORK = 2**24
"""Entries that one sparse product may create; longer lists of entities are cut accordingly."""


class WalkGraph:
    """The undirected simple graph of a set of edges, searched from batches of entities.

    Rows are boolean CSR, in which sums of paths are logical: no count can overflow to zero.

    Args:
        ends: (n, 2) pairs of joined entities; direction, repetition and loops are ignored.
        num_entities: count of entities.
        max_degree: walks do not pass *through* entities with more neighbours; they may begin and
            end there.
    """

    def __init__(self, ends: Ints, num_entities: int, max_degree: int | None = None) -> None:
        index = np.int32 if num_entities < 2**31 else np.int64
        ends = ends[ends[:, 0] != ends[:, 1]].astype(index)
        row, column = np.concatenate((ends, ends[:, ::-1])).T
        self.adjacency = sparse.coo_matrix(
            (np.ones(len(row), bool), (row, column)), shape=(num_entities, num_entities)
        ).tocsr()
        self.adjacency.sum_duplicates()
        self.num_entities = num_entities
        self.max_degree = max_degree
        self.degree: NDArray[np.int32] = np.diff(self.adjacency.indptr).astype(np.int32)
        self._work: dict[int, NDArray[np.float32]] = {}

    @property
    def num_edges(self) -> int:
        """Count of undirected edges."""
        return self.adjacency.nnz // 2

    @staticmethod
    def estimate_bytes(num_entities: int, num_edges: int) -> int:
        """Bytes held: 5 per direction of an edge, 16 per entity (bounds, degree, work).

        For balls of at most two hops and distances of at most four.
        """
        return 10 * num_edges + 16 * num_entities + 4

    def memory_bytes(self) -> int:
        """Bytes held now."""
        graph = self.adjacency
        held = [graph.data, graph.indices, graph.indptr, self.degree, *self._work.values()]
        return sum(array.nbytes for array in held)

    def parts(self, entities: Ints, hops: int) -> list[Ints]:
        """Cut (n,) entities into parts whose balls can be expanded in bounded memory."""
        return _split(entities, self._bound(entities, hops))

    def expand(self, entities: Ints, hops: int) -> Rows:
        """Entities at distance 1 to ``hops`` of each of (n,)."""
        found = [np.arange(len(entities)) * self.num_entities + entities]
        reached = self.adjacency[entities]
        for step in range(hops):
            if step:
                reached = self._passable(reached) @ self.adjacency
            keys = _keys(reached)
            for seen in found:
                keys = keys[~_among(keys, seen)]
            found.append(keys)
            row, column = np.divmod(keys, self.num_entities)
            ptr = np.searchsorted(row, np.arange(len(entities) + 1))
            reached = sparse.csr_matrix((np.ones(len(keys), bool), column, ptr), reached.shape)
        every = np.concatenate(found[1:])
        order = np.argsort(every, kind="stable")
        distance = np.repeat(np.arange(1, hops + 1, dtype=np.int8), [len(k) for k in found[1:]])
        row, ids = np.divmod(every[order], self.num_entities)
        ptr = np.searchsorted(row, np.arange(len(entities) + 1))
        return Rows(ptr, ids.astype(np.int32), distance[order])

    def distances(self, sources: Ints, targets: Ints, hops: int) -> Ints:
        """Shortest-path length of (n,) pairs up to ``hops``, else -1.

        Two entities are at distance d if they are no closer and the balls of radius ceil(d/2) and
        floor(d/2) around them meet, so that neither is searched further than half of the way.
        """
        result: Ints = np.where(sources == targets, 0, -1).astype(np.int64)
        for radius in range(1, hops + 1):
            left = np.flatnonzero(result < 0)
            near, far = (radius + 1) // 2, radius // 2
            work = self._bound(sources[left], near) + self._bound(targets[left], far)
            for part in _split(left, work):
                if radius == 1:
                    meet = self.adjacency[sources[part]].multiply(self._own(targets[part]))
                else:
                    ours = self._around(sources[part], near)
                    meet = ours.multiply(self._around(targets[part], far))
                result[part[np.diff(meet.tocsr().indptr) > 0]] = radius
        return result

    def _around(self, entities: Ints, hops: int) -> sparse.csr_matrix:
        """Entities within ``hops`` that a walk may pass through."""
        reached = self._passable(self.adjacency[entities])
        for _ in range(1, hops):
            reached = self._passable(reached @ self.adjacency + reached)
        return reached

    def _own(self, entities: Ints) -> sparse.csr_matrix:
        count = len(entities)
        ptr = np.arange(count + 1)
        return sparse.csr_matrix(
            (np.ones(count, bool), entities, ptr), shape=(count, self.num_entities)
        )

    def _passable(self, rows: sparse.csr_matrix) -> sparse.csr_matrix:
        if self.max_degree is None:
            return rows
        keep = self.degree[rows.indices] <= self.max_degree
        kept = np.concatenate(([0], np.cumsum(keep)))
        return sparse.csr_matrix(
            (rows.data[keep], rows.indices[keep], kept[rows.indptr]), shape=rows.shape
        )

    def _bound(self, entities: Ints, hops: int) -> NDArray[np.float64]:
        """At most how many entries the expansion of each entity creates on its way."""
        if not hops:
            return np.ones(len(entities))
        if hops not in self._work:
            degree = self.degree.astype(np.float32)
            passes = degree <= (np.inf if self.max_degree is None else self.max_degree)
            walks, total = degree, degree.copy()
            for _ in range(1, hops):
                # Walks of one more step from an entity: those of its passable neighbours.
                walks = _neighbour_sums(self.adjacency, walks * passes)
                total += np.minimum(walks, self.adjacency.nnz)
            self._work[hops] = total
        return self._work[hops][entities].astype(np.float64)


def _neighbour_sums(
    adjacency: sparse.csr_matrix, value: NDArray[np.float32]
) -> NDArray[np.float32]:
    return sparse.csr_matrix.dot(adjacency, value).astype(np.float32)


def _keys(rows: sparse.csr_matrix) -> Ints:
    """Row * columns + column of each entry, ascending."""
    rows.sort_indices()
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    return row * rows.shape[1] + rows.indices


def _among(keys: Ints, sorted_keys: Ints) -> NDArray[np.bool_]:
    if not len(sorted_keys):
        return np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return sorted_keys[place] == keys


def _split(entities: Ints, work: NDArray[np.float64]) -> list[Ints]:
    """Cut where the summed work passes a multiple of the limit."""
    if not len(entities):
        return []
    share = (np.cumsum(work) // _WORK).astype(np.int64)
    return np.split(entities, np.flatnonzero(np.diff(share)) + 1)
