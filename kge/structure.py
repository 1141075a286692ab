"""Who lies near whom: k-hop balls and distances in the undirected training graph."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphcl.ranking.known import Answers, KnownTriples
from kge.ball_store import BallStore
from kge.relation_evidence import RelationEvidence
from kge.sides import Side
from kge.walk_graph import WalkGraph


class Balls(NamedTuple):
    """Members of B balls: those of row i are ``ids[ptr[i]:ptr[i + 1]]``, ascending.

    ``distance`` holds the length of a shortest path to each member, 1 to k.
    """

    ptr: Tensor
    ids: Tensor
    distance: Tensor


class StructureIndex:
    r"""Neighbourhoods of a knowledge graph, computed for the entities that are asked for.

    HaSa (Zhang et al., 2024, arXiv:2305.10563) takes entities near the head of a query for
    likely true answers that are missing from the training set. The graph is undirected and
    simple: an edge joins two entities that any relation joins. Balls are found by sparse row
    products over the asked entities alone, never for all pairs, and kept up to ``cache_bytes``.

    Memory: 10 bytes per edge and 28 per entity, see :meth:`estimate_bytes` (ogbl-wikikg2, 2.5
    million entities and 16.1 million training triples: at most 231 MB, and about three times
    that while it is built), and the kept balls. The triples themselves, 24 bytes each and as
    much again for their keys, are held by ``known``. In graphs with hubs a 2-hop ball can be
    most of the graph: bound it by ``max_degree`` (walks) and ``max_members`` (what is kept).

    Args:
        triples: (n, 3) training triples. Inverse triples change nothing.
        num_entities: count of entities, by default one more than the largest id.
        num_relations: count of relations, likewise.
        hops: radius k of the balls.
        relation_aware: keep only candidates for which the relation speaks, see
            :class:`~kge.relation_evidence.RelationEvidence`.
        exclude_known: drop the known answers of a query from its candidates (the released code
            keeps them).
        exclude_distance_1: drop direct neighbours from the candidates.
        max_degree: walks do not pass *through* entities with more neighbours than this; they
            may begin and end there. Balls and distances follow the same rule.
        max_members: keep a uniform sample of this size of each larger ball (the same at every
            call with this ``seed``).
        cache_bytes: how much of the balls that were asked for is kept.
        seed: of the sample.
        known: :class:`KnownTriples` of the same triples, if there is one already.

    Raises:
        ValueError: ``hops``, ``max_degree`` or ``max_members`` below 1, or bad triples.

    Example:
        >>> import torch
        >>> index = StructureIndex(torch.tensor([[0, 0, 1], [1, 0, 2], [2, 0, 3]]))
        >>> index.balls(torch.tensor([0])).ids
        tensor([1, 2])
        >>> index.distances(torch.tensor([0, 0]), torch.tensor([2, 3]))
        tensor([ 2, -1])
        >>> index.candidates(torch.tensor([[0, 0, 1]]), "tail").ids  # 1 is a known answer
        tensor([2])
    """

    def __init__(
        self,
        triples: Tensor,
        *,
        num_entities: int | None = None,
        num_relations: int | None = None,
        hops: int = 2,
        relation_aware: bool = False,
        exclude_known: bool = True,
        exclude_distance_1: bool = False,
        max_degree: int | None = None,
        max_members: int | None = None,
        cache_bytes: int = 2**28,
        seed: int = 0,
        known: KnownTriples | None = None,
    ) -> None:
        bounds = {"hops": hops, "max_degree": max_degree, "max_members": max_members}
        for name, value in bounds.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if known is None:
            known = KnownTriples(triples, num_entities=num_entities, num_relations=num_relations)
        self.known = known.to("cpu")
        self.hops = hops
        self.relation_aware = relation_aware
        self.exclude_known = exclude_known
        self.exclude_distance_1 = exclude_distance_1
        self._options: dict[str, Any] = {
            **bounds,
            "relation_aware": relation_aware,
            "exclude_known": exclude_known,
            "exclude_distance_1": exclude_distance_1,
            "cache_bytes": cache_bytes,
            "seed": seed,
        }
        ends = self.known.triples[:, 0::2].numpy()
        self.graph = WalkGraph(ends, self.known.num_entities, max_degree)
        self._store = BallStore(self.known.num_entities, cache_bytes, max_members, seed)
        self._evidence: RelationEvidence | None = None

    def __repr__(self) -> str:
        return (
            f"StructureIndex({self.known.num_entities} entities, {self.graph.num_edges} edges, "
            f"hops={self.hops})"
        )

    @staticmethod
    def estimate_bytes(num_entities: int, num_triples: int) -> int:
        """Bytes of an index without any ball, at most; the triples in ``known`` not counted.

        For at most two hops, as :meth:`kge.walk_graph.WalkGraph.estimate_bytes` says.
        """
        graph = WalkGraph.estimate_bytes(num_entities, num_triples)
        return graph + BallStore.estimate_bytes(num_entities)

    def memory_bytes(self) -> int:
        """Bytes held now, kept balls included, without the triples in ``known``."""
        return self.graph.memory_bytes() + self._store.memory_bytes()

    def balls(self, entities: Tensor) -> Balls:
        """Entities at distance 1 to ``hops`` from each of (B,) entities."""
        distinct, place = np.unique(self._ids(entities), return_inverse=True)
        store, spill = self._store, []
        for part in self.graph.parts(store.missing(distinct), self.hops):
            rest, rows = store.add(part, self.graph.expand(part, self.hops))
            if len(rest):
                spill.append((rest, rows))
        if spill:
            # There was no room for some: a passing store, for this batch alone.
            kept = np.setdiff1d(distinct, store.missing(distinct))
            spill.append((kept, store.rows(kept)))
            store = BallStore(self.known.num_entities, 2**62, None, 0)
            for rest, rows in spill:
                store.add(rest, rows)
        rows = store.rows(distinct[place])
        return Balls(*(torch.from_numpy(array.astype(np.int64)) for array in rows))

    def candidates(self, queries: Tensor, side: Side) -> Balls:
        """Structural candidates of B queries: likely answers that training does not know.

        Args:
            queries: (B, 3) triples whose ``side`` is asked for; the ball is that of the entity
                on the other side. The triple's own answer never is a candidate.
            side: ``"tail"`` for (h, r, ?), ``"head"`` for (?, r, t).

        Raises:
            ValueError: an unknown side, or wrong shapes.
        """
        kept, _ = _columns(queries, side)
        ptr, ids, distance = self.balls(queries[:, kept])
        members = Answers(ptr, ids)
        keep = self._wanted(queries[members.rows()], side, ids, distance)
        return Balls(*members.where(keep), distance[keep])

    def accepts(self, queries: Tensor, side: Side, ids: Tensor) -> Tensor:
        """Which of (B, N) entities are structural candidates of their query, bool (B, N).

        Exact also where ``max_members`` lets :meth:`candidates` hand on a sample only.
        """
        kept, _ = _columns(queries, side)
        flat, asked = queries[:, None].expand(*ids.shape, 3).reshape(-1, 3), ids.reshape(-1)
        distance = self.distances(flat[:, kept], asked)
        near = (distance > 0).nonzero()[:, 0]
        accepted = torch.zeros(len(asked), dtype=torch.bool)
        accepted[near] = self._wanted(flat[near], side, asked[near], distance[near])
        return accepted.view(ids.shape)

    def distances(self, sources: Tensor, targets: Tensor, hops: int | None = None) -> Tensor:
        """Shortest-path lengths of (n,) pairs up to ``hops``, -1 beyond; 0 from itself."""
        if sources.shape != targets.shape:
            raise ValueError(
                f"need as many sources as targets, got {tuple(sources.shape)} and "
                f"{tuple(targets.shape)}"
            )
        hops = self.hops if hops is None else hops
        return torch.from_numpy(self.graph.distances(self._ids(sources), self._ids(targets), hops))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write triples, options and kept balls to one ``.npz`` file, atomically."""
        path = Path(path)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(
                    file,
                    options=np.array(json.dumps(self._options)),
                    counts=np.array([self.known.num_entities, self.known.num_relations]),
                    triples=self.known.triples.numpy(),
                    **self._store.state(),
                )
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str], triples: Tensor | None = None) -> StructureIndex:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            triples: if given, the triples that the index must be of.

        Raises:
            ValueError: the file belongs to other triples.
        """
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        num_entities, num_relations = (int(count) for count in arrays["counts"])
        known = KnownTriples(
            torch.from_numpy(arrays["triples"]),
            num_entities=num_entities,
            num_relations=num_relations,
        )
        if triples is not None and not _same(triples, known):
            raise ValueError(
                f"{os.fspath(path)} holds an index of other triples: delete it and build it anew"
            )
        index = cls(known.triples, known=known, **json.loads(str(arrays["options"])))
        index._store.restore(arrays)
        return index

    def _wanted(self, queries: Tensor, side: Side, ids: Tensor, distance: Tensor) -> Tensor:
        """Which of (n,) ball members are candidates of their (n, 3) queries."""
        _, answer = _columns(queries, side)
        keep = ids != queries[:, answer]
        if self.exclude_distance_1:
            keep &= distance > 1
        triples = queries.clone()
        triples[:, answer] = ids
        if self.exclude_known:
            close = (keep & (distance == 1)).nonzero()[:, 0]  # as all known answers are
            keep[close] = ~self.known.contains(triples[close])
        if self.relation_aware:
            if self._evidence is None:
                self._evidence = RelationEvidence(self.known)
            keep &= self._evidence.speaks_for(triples, side, distance)
        return keep

    def _ids(self, entities: Tensor) -> NDArray[np.int64]:
        if entities.dim() != 1 or entities.is_floating_point():
            raise ValueError(
                f"entities must be integer ids of shape (B,), got {entities.dtype} of shape "
                f"{tuple(entities.shape)}"
            )
        ids: NDArray[np.int64] = entities.detach().cpu().long().numpy()
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.known.num_entities:
            raise ValueError(
                f"entities {ids.min()} to {ids.max()} do not lie in the index of "
                f"{self.known.num_entities}"
            )
        return ids


def _columns(queries: Tensor, side: Side) -> tuple[int, int]:
    """Columns of the entity that a query keeps and of the one that it asks for."""
    if side not in ("head", "tail"):
        raise ValueError(f"side must be 'head' or 'tail', got {side!r}")
    if queries.dim() != 2 or queries.shape[1] != 3:
        raise ValueError(f"queries must have shape (B, 3), got {tuple(queries.shape)}")
    return (0, 2) if side == "tail" else (2, 0)


def _same(triples: Tensor, known: KnownTriples) -> bool:
    given = KnownTriples(triples, num_entities=known.num_entities)
    return torch.equal(given.triples, known.triples)
