"""Exact link prediction ranking of any scorer, filtered or not, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from graphcl.kernels.processes import process_count, process_index, sum_over_processes
from graphcl.kernels.ranks import NonFiniteScores, RankCounts
from graphcl.ranking.known import KnownTriples
from graphcl.ranking.progress import Progress
from graphcl.ranking.queries import query_blocks
from graphcl.ranking.ranks import SIDES, Ranks, Side
from graphcl.ranking.report import Protocol, RankReport
from graphcl.ranking.side_ranking import QueryKeyScorer, ScoreFunction, SideRanking

# Rows given to the kernel at once for scorers made of queries and keys; it tiles them itself.
_KERNEL_ROWS = 4096


class LinkPredictionEvaluator:
    """Ranks the true head or tail of triples among all others, for any scorer.

    Each distinct query is scored once, in chunks over queries and candidates, so that memory is
    O(batch_size x candidate_chunk) beyond the model and the known answers of a batch. Candidates
    are scored once each, true answers among them, so that both are results of the same
    arithmetic. Filtering leaves out every known true answer except the one that is ranked.

    A scorer with ``queries`` and ``keys`` (:class:`QueryKeyScorer`) takes a fast path through
    :func:`graphcl.kernels.rank_counts`, whose ties and ranks do not depend on rounding.

    Args:
        score_fn: ``score_fn(triples (B, 3), side, candidates (C,)) -> (B, C)`` scores of each
            triple with ``side`` ("head", "relation" or "tail") replaced by each candidate id,
            larger is better, on the device of the triples; or a :class:`QueryKeyScorer`. Switch
            dropout off before.
        num_entities: count of entities.
        known: true triples to filter by: training, validation and test; unfiltered by default.
        sides: what is ranked: ``both`` (heads and tails), ``head``, ``tail`` or ``relation``.
        hits: the k of ``hits@k``.
        batch_size: triples ranked at once.
        candidate_chunk: candidates scored at once.
        candidates: (C,) distinct ids that compete; by default all.
        num_relations: count of relations, needed to rank relations.
        sharded: share the work among the processes of ``torch.distributed``: each scores some of
            the queries, no triple twice, and the counts are summed over processes. All processes
            pass the same triples and get the same, complete ranks.
        progress: report progress and the remaining time on standard error.

    Example:
        >>> known = KnownTriples(torch.tensor([[0, 0, 1], [0, 0, 2]]))
        >>> def closest(triples, side, candidates):
        ...     fixed = triples[:, 0 if side == "tail" else 2]
        ...     return -(fixed[:, None] - candidates).abs().float()
        >>> evaluator = LinkPredictionEvaluator(closest, num_entities=4, known=known, sides="tail")
        >>> evaluator.evaluate(torch.tensor([[0, 0, 2]]))["mean_rank"]  # 0 is closer, 1 is known
        2.0
    """

    def __init__(
        self,
        score_fn: ScoreFunction | QueryKeyScorer,
        *,
        num_entities: int,
        known: KnownTriples | None = None,
        sides: Literal["both", "head", "relation", "tail"] = "both",
        hits: Sequence[int] = (1, 3, 10),
        batch_size: int = 256,
        candidate_chunk: int = 4096,
        candidates: Tensor | None = None,
        num_relations: int | None = None,
        sharded: bool = False,
        progress: bool = False,
    ) -> None:
        if sides not in (*SIDES, "both"):
            raise ValueError(f"unknown sides {sides!r}; choose from both, {', '.join(SIDES)}")
        if min(batch_size, candidate_chunk) < 1:
            raise ValueError(
                f"batch_size and candidate_chunk must be at least 1, got {batch_size} and "
                f"{candidate_chunk}"
            )
        if known is not None and not isinstance(known, KnownTriples):
            raise ValueError(
                f"known must be KnownTriples, got {type(known).__name__}: give "
                "KnownTriples(triples, num_entities=...)"
            )
        if known is not None and known.num_entities > num_entities:
            raise ValueError(
                f"known triples name {known.num_entities} entities, but num_entities is "
                f"{num_entities}"
            )
        if sides == "relation" and num_relations is None:
            raise ValueError("ranking relations needs num_relations")
        if num_relations is not None and known is not None and known.num_relations > num_relations:
            raise ValueError(
                f"known triples name {known.num_relations} relations, but num_relations is "
                f"{num_relations}"
            )
        self.score_fn, self.known = score_fn, known
        self.sides: tuple[Side, ...] = ("head", "tail") if sides == "both" else (sides,)
        self.num_entities, self.num_relations = num_entities, num_relations
        self.hits, self.progress = tuple(hits), progress
        self.sharded = sharded
        self.batch_size, self.candidate_chunk = batch_size, candidate_chunk
        self.num_ids = int(num_relations or 0) if sides == "relation" else num_entities
        if candidates is not None:
            _check_candidates(candidates, self.num_ids)
        self.candidates = candidates

    @property
    def protocol(self) -> Protocol:
        """What is ranked against what."""
        kind = "relations" if self.sides == ("relation",) else "entities"
        among = f"all {self.num_ids} {kind}"
        if self.candidates is not None:
            among = f"{len(self.candidates)} given of {self.num_ids} {kind}"
        left_out = "nothing (unfiltered)"
        if self.known is not None:
            left_out = f"other true answers among {len(self.known)} known triples (filtered)"
        return Protocol(candidates=among, filtered=left_out)

    def evaluate(self, triples: Tensor) -> RankReport:
        """Rank (n, 3) triples and summarise; see :meth:`ranks` for arguments and errors."""
        return RankReport(self.ranks(triples), self.protocol, self.hits)

    @torch.no_grad()
    def ranks(self, triples: Tensor) -> Ranks:
        """Rank of each triple, in the order given; with both sides all heads come first.

        Args:
            triples: (n, 3) int64 (head, relation, tail).

        Raises:
            NonFiniteScores: a score is NaN or infinite; the message names the triple.
            InconsistentScores: the scorer is random or depends on what else is scored.
            ValueError: ids out of range, or a true answer that is no candidate.
        """
        self._check(triples)
        kernel = hasattr(self.score_fn, "queries") and hasattr(self.score_fn, "keys")
        processes = process_count() if self.sharded else 1
        # Targets open the first chunk of candidates, so that a block may not have more of them.
        size = min(self.batch_size, self.candidate_chunk)
        if kernel:
            size = max(self.batch_size, _KERNEL_ROWS)
        size = min(size, max(1, -(-len(triples) // processes)))
        known = None if self.known is None else self.known.to(triples.device)
        shown = self.progress and (processes == 1 or process_index() == 0)
        progress = Progress(len(triples) * len(self.sides), shown)
        parts = []
        for side in self.sides:
            ranking = SideRanking(
                self.score_fn,
                side,
                known,
                self.candidates,
                num_ids=self.num_ids,
                chunk=self.candidate_chunk,
                device=triples.device,
            )
            ranking.check_targets(triples)
            counts = RankCounts.zeros(len(triples), triples.device)
            for number, block in enumerate(query_blocks(triples, side, size)):
                if number % processes != process_index() % processes:
                    progress.advance(len(block.rows))  # by another process, at the same time
                    continue
                try:
                    found = ranking.by_kernel(block) if kernel else ranking.by_function(block)
                except NonFiniteScores as error:
                    row = int(block.first[error.row])
                    raise NonFiniteScores(
                        f"ranking the {side} of triple {row}, {tuple(triples[row].tolist())}: "
                        f"{error}",
                        row,
                    ) from None
                for total, part in zip(counts, found, strict=True):
                    total[block.rows] = part.to(total.device)
                progress.advance(len(block.rows))
            if processes > 1:
                counts = RankCounts(*map(sum_over_processes, counts))
            code = torch.full_like(triples[:, 0], SIDES.index(side))
            parts.append(Ranks(*counts, side=code, relation=triples[:, 1].clone()))
        return Ranks.cat(parts)

    def _check(self, triples: Tensor) -> None:
        if triples.dim() != 2 or triples.shape[1] != 3 or triples.dtype != torch.int64:
            raise ValueError(
                f"triples must be int64 (n, 3), got {triples.dtype} of shape {tuple(triples.shape)}"
            )
        entities = triples[:, 0::2]
        wrong = ((entities < 0) | (entities >= self.num_entities)).any(1)
        if self.num_relations is not None:
            wrong |= (triples[:, 1] < 0) | (triples[:, 1] >= self.num_relations)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"triple {row}, {tuple(triples[row].tolist())}, is outside of "
                f"{self.num_entities} entities"
                + (f" and {self.num_relations} relations" if self.num_relations else "")
            )


def _check_candidates(candidates: Tensor, count: int) -> None:
    if candidates.dim() != 1 or candidates.dtype != torch.int64:
        raise ValueError(
            f"candidates must be int64 ids (C,), got {candidates.dtype} of shape "
            f"{tuple(candidates.shape)}"
        )
    wrong = candidates[(candidates < 0) | (candidates >= count)]
    if wrong.numel():
        raise ValueError(f"candidates name {int(wrong[0])}, but ids run from 0 to {count - 1}")
    ids, times = torch.unique(candidates, return_counts=True)
    if bool((times > 1).any()):
        raise ValueError(f"candidates name {int(ids[times > 1][0])} more than once")
