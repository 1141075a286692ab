"""Ranking one side of triples: by a score function, chunk by chunk, or by queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.ranks import RankCounts, count_tile, rank_counts, require_finite
from graphcl.kernels.tiles import blocks
from graphcl.ranking.known import Answers, KnownTriples
from graphcl.ranking.queries import QueryBlock
from graphcl.ranking.ranks import SIDES, Side

ScoreFunction = Callable[[Tensor, Side, Tensor], Tensor]
"""``score_fn(triples (B, 3), side, candidates (C,)) -> (B, C)``, larger is better."""


class InconsistentScores(ValueError):
    """A scorer gave two different scores to one triple, so that its ranks mean nothing."""


class QueryKeyScorer(Protocol):
    """A scorer that compares a query vector with one key vector per entity (or relation).

    It may also have ``score``, the kind of comparison (``dot`` by default, see
    :func:`graphcl.kernels.rank_counts`), and ``key_bias(side) -> (K,)``.
    """

    def queries(self, triples: Tensor, side: Side) -> Tensor:
        """(B, D) for (B, 3) triples whose ``side`` is asked for."""

    def keys(self, side: Side) -> Tensor:
        """(K, D), in the order of the ids."""


class SideRanking:
    """One side of one call: places of the candidates, and the two ways to count."""

    def __init__(
        self,
        score_fn: ScoreFunction | QueryKeyScorer,
        side: Side,
        known: KnownTriples | None,
        candidates: Tensor | None,
        *,
        num_ids: int,
        chunk: int,
        device: torch.device,
    ) -> None:
        self.score_fn, self.side, self.known, self.chunk = score_fn, side, known, chunk
        self.candidates = self.place = torch.arange(num_ids, device=device)
        self.restricted = candidates is not None
        if candidates is not None:
            self.candidates = candidates.to(device)
            self.place = torch.full((num_ids,), -1, device=device)
            self.place[self.candidates] = torch.arange(len(self.candidates), device=device)
        self._keys: tuple[Tensor, Tensor | None] | None = None
        self._checked = False

    def check_targets(self, triples: Tensor) -> None:
        """Raise ``ValueError`` for a true answer that is no candidate."""
        target = triples[:, SIDES.index(self.side)]
        missing = (self.place[target] < 0).nonzero()
        if missing.numel():
            row = int(missing[0, 0])
            raise ValueError(
                f"the {self.side} {int(target[row])} of triple {row} is not among the candidates, "
                "so it has no rank: add it, or leave the triple out"
            )

    def by_kernel(self, block: QueryBlock) -> RankCounts:
        """Count by products of queries and keys."""
        scorer = cast(QueryKeyScorer, self.score_fn)
        keys, bias = self._keys = self._keys or self._candidate_keys(scorer)
        exclude = None
        if self.known is not None:
            exclude = Exclude.csr(*self._known_places(block.queries))
        return rank_counts(
            scorer.queries(block.queries, self.side),
            keys,
            self.place[block.target].to(keys.device),
            key_bias=bias,
            score=getattr(scorer, "score", "dot"),
            exclude=exclude,
            query_index=block.index.to(keys.device),
        )

    def _candidate_keys(self, scorer: QueryKeyScorer) -> tuple[Tensor, Tensor | None]:
        keys = scorer.keys(self.side)
        bias = scorer.key_bias(self.side) if hasattr(scorer, "key_bias") else None
        if self.restricted:
            chosen = self.candidates.to(keys.device)
            keys, bias = keys[chosen], None if bias is None else bias[chosen]
        elif len(keys) != len(self.candidates):
            raise ValueError(
                f"the scorer has {len(keys)} keys for the {self.side}, but there are "
                f"{len(self.candidates)} ids"
            )
        return keys, bias

    def by_function(self, block: QueryBlock) -> RankCounts:
        """Count what the score function returns, chunk by chunk.

        The targets of the block are put first among the candidates: the first chunk then holds
        the scores of all of them, and each candidate is still scored exactly once.
        """
        target = self.place[block.target]
        front, column = torch.unique(target, return_inverse=True)
        rest = torch.ones(len(self.candidates), dtype=torch.bool, device=target.device)
        rest[front] = False
        order = torch.cat((front, rest.nonzero()[:, 0]))
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)

        row = torch.arange(len(target) + 1, device=target.device)
        exclude = Exclude.csr(row, column)
        if self.known is not None:
            ptr, others = self._known_places(block.queries[block.index])
            exclude = exclude | Exclude.csr(ptr, places[others])
        hide = exclude.rows(0, len(target))

        counts = RankCounts.zeros(len(target), target.device)
        own: Tensor | None = None
        for part in blocks(len(order), self.chunk):
            scores = self._scores(block.queries, self.candidates[order[part]])
            require_finite(scores)
            if own is None:
                own = scores[block.index, column]
                self._check_consistency(block, self.candidates[front], scores)
            scores = scores.index_select(0, block.index)  # a copy: the scorer keeps its own
            hide(scores, part.start, part.stop)
            count_tile(scores, own, counts)
        return counts

    def _scores(self, queries: Tensor, candidates: Tensor) -> Tensor:
        scores = cast(ScoreFunction, self.score_fn)(queries, self.side, candidates)
        if scores.shape != (len(queries), len(candidates)) or scores.device != queries.device:
            raise ValueError(
                f"score_fn must return ({len(queries)}, {len(candidates)}) scores on "
                f"{queries.device}, got {tuple(scores.shape)} on {scores.device}"
            )
        return scores if scores.is_floating_point() else scores.double()

    def _check_consistency(self, block: QueryBlock, front: Tensor, scores: Tensor) -> None:
        """Score the targets of the first block on their own: they must not change."""
        if self._checked:
            return
        self._checked = True
        again = self._scores(block.queries, front)
        before = scores[:, : len(front)]
        tolerance = torch.finfo(scores.dtype).eps ** 0.5 * float(scores.abs().amax())
        differs = ~((again - before).abs() <= tolerance)
        if bool(differs.any()):
            query, place = differs.nonzero()[0].tolist()
            raise InconsistentScores(
                f"score_fn gave {before[query, place].item()} and {again[query, place].item()} for "
                f"{self.side} {int(front[place])} of {tuple(block.queries[query].tolist())}: it is "
                "random (is dropout on?) or depends on the other candidates (is batch "
                "normalisation in training mode?)"
            )

    def _known_places(self, queries: Tensor) -> Answers:
        """Known answers of (B, 3) queries, as places among the candidates."""
        assert self.known is not None
        found = self.known.answers(queries, self.side)
        places = self.place[found.ids]
        return Answers(found.ptr, places).where(places >= 0)
