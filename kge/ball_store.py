"""Balls that were asked for, kept in flat arrays up to a given size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_ENTRY = 5  # int32 id and int8 distance


class Rows(NamedTuple):
    """Balls as CSR: members of row i are ``ids[ptr[i]:ptr[i + 1]]``."""

    ptr: Ints
    ids: NDArray[np.int32]
    distance: NDArray[np.int8]

    def part(self, first: int, last: int) -> Rows:
        """Rows ``first`` to ``last``, not included."""
        ptr = self.ptr[first : last + 1]
        entries = slice(int(ptr[0]), int(ptr[-1]))
        return Rows(ptr - ptr[0], self.ids[entries], self.distance[entries])


class BallStore:
    """A map from entity to ball without Python containers.

    Args:
        num_entities: range of entities and members.
        max_bytes: balls are kept until their entries take this much; later ones are not.
        max_members: keep a uniform sample without replacement of this size of a larger ball.
        seed: of the sample, which depends on it and on the entity alone.
    """

    def __init__(
        self, num_entities: int, max_bytes: int, max_members: int | None, seed: int
    ) -> None:
        self.num_entities = num_entities
        self.max_entries = max_bytes // _ENTRY
        self.max_members = max_members
        self.seed = seed
        self._start: Ints = np.full(num_entities, -1, np.int64)
        self._length: NDArray[np.int32] = np.zeros(num_entities, np.int32)
        self._used = 0
        self._ids: NDArray[np.int32] = np.empty(0, np.int32)
        self._distance: NDArray[np.int8] = np.empty(0, np.int8)

    @staticmethod
    def estimate_bytes(num_entities: int) -> int:
        """Bytes of an empty store."""
        return 12 * num_entities

    def memory_bytes(self) -> int:
        """Bytes held now."""
        arrays = (self._start, self._length, self._ids, self._distance)
        return sum(array.nbytes for array in arrays)

    def missing(self, entities: Ints) -> Ints:
        """Which of (n,) entities have no ball here."""
        return entities[self._start[entities] < 0]

    def add(self, entities: Ints, rows: Rows) -> tuple[Ints, Rows]:
        """Keep the balls of (n,) new entities; those for which there is no room come back."""
        rows = self._sample(entities, rows)
        count = int(np.searchsorted(rows.ptr, self.max_entries - self._used, side="right")) - 1
        kept, rest = rows.part(0, count), rows.part(count, len(entities))
        used = self._used + len(kept.ids)
        if used > len(self._ids):
            room = min(max(used, 2 * len(self._ids)), self.max_entries)
            self._ids = np.resize(self._ids, room)
            self._distance = np.resize(self._distance, room)
        self._ids[self._used : used] = kept.ids
        self._distance[self._used : used] = kept.distance
        self._start[entities[:count]] = self._used + kept.ptr[:-1]
        self._length[entities[:count]] = np.diff(kept.ptr)
        self._used = used
        return entities[count:], rest

    def rows(self, entities: Ints) -> Rows:
        """Balls of (n,) entities that are all here; an entity may be named twice."""
        taken = take(self._start[entities], self._length[entities])
        return Rows(taken.ptr, self._ids[taken.where], self._distance[taken.where])

    def state(self) -> dict[str, Any]:
        """Arrays that :meth:`restore` takes."""
        return {
            "ball_start": self._start,
            "ball_length": self._length,
            "ball_ids": self._ids[: self._used],
            "ball_distance": self._distance[: self._used],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` gave."""
        self._start, self._length = state["ball_start"], state["ball_length"]
        self._ids, self._distance = state["ball_ids"], state["ball_distance"]
        self._used = len(self._ids)

    def _sample(self, entities: Ints, rows: Rows) -> Rows:
        limit = self.max_members
        size = np.diff(rows.ptr)
        if limit is None or not (size > limit).any():
            return rows
        row = np.repeat(np.arange(len(entities)), size)
        # A hash instead of a generator: the sample of an entity is the same in every batch.
        lot = _mix(entities[row] * self.num_entities + rows.ids, self.seed)
        few = np.flatnonzero(lot < _enough(size, limit)[row])
        if (np.bincount(row[few], minlength=len(size)) < np.minimum(size, limit)).any():
            few = np.arange(len(row))
        order = few[np.lexsort((lot[few], row[few]))]
        first = np.searchsorted(row[order], np.arange(len(entities)))
        rank = np.arange(len(order)) - first[row[order]]
        keep = np.sort(order[rank < limit])
        ptr = np.concatenate(([0], np.cumsum(np.minimum(size, limit))))
        return Rows(ptr, rows.ids[keep], rows.distance[keep])


class Taken(NamedTuple):
    """Places of entries of chosen rows: those of row i are ``where[ptr[i]:ptr[i + 1]]``."""

    ptr: Ints
    where: Ints


def take(start: Ints, length: NDArray[np.integer[Any]]) -> Taken:
    """Places of the entries of rows given by where they start and how long they are."""
    ptr: Ints = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
    where = np.arange(ptr[-1]) + np.repeat(start - ptr[:-1], length)
    return Taken(ptr, where)


def _enough(size: NDArray[np.integer[Any]], limit: int) -> NDArray[np.uint64]:
    """Bound under which the ``limit`` smallest of ``size`` uniform hashes almost surely lie."""
    share = (limit + 8 * limit**0.5 + 8) / np.maximum(size, 1)
    return (np.minimum(share, 1 - 2.0**-53) * 2.0**64).astype(np.uint64)


def _mix(keys: Ints, seed: int) -> NDArray[np.uint64]:
    """A well-mixed 64-bit hash (splitmix64's finaliser)."""
    x = keys.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
