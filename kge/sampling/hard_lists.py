"""Mined negatives kept per query and renewed when they have grown old."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphcl.ranking.known import KnownTriples
from kge.sampling.mining import Mined
from kge.sides import Side

Search = Callable[[Tensor, Side, int], Mined]
"""``search(queries (B, 3), side, count)`` mines anew."""


class HardLists:
    """The hardest negatives of each training query, as of its last renewal.

    A list is made when its query first occurs in a batch, and anew once ``refresh`` batches have
    passed since. So the cost of a search over many entities is spread over those batches. Takes
    4 bytes per list place and query, of both sides.

    Args:
        known: the training triples, whose queries get lists.
        length: places of a list.
        refresh: batches after which a list is too old.
    """

    def __init__(self, known: KnownTriples, length: int, refresh: int) -> None:
        self.length = length
        self.refresh = refresh
        self.num_entities = known.num_entities
        self.num_relations = known.num_relations
        self._batch = 0
        self._keys: dict[Side, Tensor] = {}
        self._ids: dict[Side, Tensor] = {}
        self._made: dict[Side, Tensor] = {}
        sides: tuple[Side, ...] = ("tail", "head")
        for side in sides:
            keys = torch.unique(self._key(known.triples, side))
            self._keys[side] = keys
            self._ids[side] = torch.full((len(keys), length), -1, dtype=torch.int32)
            self._made[side] = torch.full((len(keys),), -refresh)

    def next_batch(self) -> None:
        """Count one batch."""
        self._batch += 1

    def draw(
        self, queries: Tensor, side: Side, count: int, search: Search, generator: torch.Generator
    ) -> Mined:
        """``count`` of the list of each of B queries, at random, without repetition, best first.

        Raises:
            ValueError: a query that is none of the training set's.
        """
        key = self._key(queries, side)
        keys = self._keys[side]
        rank = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        if not torch.equal(keys[rank], key):
            raise ValueError("mining='lists' serves triples of the training set only")
        stale = torch.unique(rank[self._batch - self._made[side][rank] >= self.refresh])
        if len(stale):
            mined = search(self._query(keys[stale], side), side, self.length)
            self._ids[side][stale] = torch.where(mined.found, mined.ids, -1).int()
            self._made[side][stale] = self._batch
        lists = self._ids[side][rank].long()
        lot = torch.rand(lists.shape, generator=generator).masked_fill_(lists < 0, 2.0)
        ids = lists.gather(1, lot.argsort(1)[:, :count].sort(1).values)
        return Mined(ids.clamp(min=0), ids >= 0)

    def _key(self, triples: Tensor, side: Side) -> Tensor:
        kept = triples[:, 0] if side == "tail" else triples[:, 2]
        return kept * self.num_relations + triples[:, 1]

    def _query(self, keys: Tensor, side: Side) -> Tensor:
        """Triples with nothing, -1, where the answer stands."""
        kept, relation = keys // self.num_relations, keys % self.num_relations
        nothing = torch.full_like(kept, -1)
        ends = (kept, nothing) if side == "tail" else (nothing, kept)
        return torch.stack((ends[0], relation, ends[1]), 1)
