"""Which entities a batch is contrasted with: its own answers and a pool that all rows share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from graphcl.kernels import Exclude
from graphcl.ranking.known import Answers, KnownTriples
from kge.sides import COLUMN, Side

Pool = int | Literal["all"]


class Candidates(NamedTuple):
    """Distinct entities that every row of a batch is contrasted with.

    Attributes:
        ids: (C,) ascending entity ids.
        log_weight: (C,) logarithm of how many entities each stands for; empty for one each.
    """

    ids: Tensor
    log_weight: Tensor


class Batch(NamedTuple):
    """Positive triples and their candidates.

    Attributes:
        triples: (B, 3) by the side that is asked for; the same for both if they are paired.
        head: candidates for (?, r, t).
        tail: candidates for (h, r, ?).
    """

    triples: dict[Side, Tensor]
    head: Candidates
    tail: Candidates


class TripleRows(Dataset[Tensor]):
    """Rows of (n, 3) triples, read a batch at a time: (B, 3), or (2, B, 3) for (2, B) indices."""

    def __init__(self, triples: Tensor) -> None:
        self.triples = triples

    def __len__(self) -> int:
        return len(self.triples)

    def __getitem__(self, index: int) -> Tensor:
        return self.triples[index]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Called by :class:`torch.utils.data.DataLoader`, in place of one call per row."""
        return self.triples[torch.as_tensor(indices)]


def check_pool(pool: object, in_batch: bool) -> None:
    """Raise ``ValueError`` for a pool of which no candidates can be drawn."""
    if pool != "all" and (not isinstance(pool, int) or isinstance(pool, bool) or pool < 0):
        raise ValueError(f"pool must be 'all' or a count of entities, got {pool!r}")
    if pool == 0 and not in_batch:
        raise ValueError("pool=0 without in_batch leaves no candidates; set pool=1024, say")


class CandidateDraw:
    """Draws the candidates of a batch (a ``collate_fn``); one pool serves both sides.

    Randomness comes from torch's global generator.

    Args:
        triples: (n, 3) training triples, for the frequencies of answers.
        num_entities: count of entities.
        pool: entities drawn uniformly with repetition, or ``"all"``.
        in_batch: add the answers of the batch: its tails where tails are asked for.
        self_negatives: add the entities that the batch asks from: its heads where tails are asked
            for.
        unbiased: weigh each candidate by one over its probability of being one, so that sums over
            candidates estimate sums over all entities without bias (Horvitz and Thompson, 1952).

    Raises:
        ValueError: nothing to draw from, or a pool that is neither a count nor ``"all"``.
    """

    def __init__(
        self,
        triples: Tensor,
        num_entities: int,
        pool: Pool,
        *,
        in_batch: bool = True,
        self_negatives: bool = False,
        unbiased: bool = False,
    ) -> None:
        check_pool(pool, in_batch)
        self.triples = triples
        self.num_entities, self.pool, self.in_batch = num_entities, pool, in_batch
        self.self_negatives = self_negatives
        self.unbiased = unbiased and pool != "all"
        self._frequency = {
            side: torch.bincount(triples[:, column], minlength=num_entities).double() / len(triples)
            for side, column in COLUMN.items()
        }

    def __call__(self, triples: Tensor) -> Batch:
        """Candidates of (B, 3) triples, or of (2, B, 3): those asked for heads, those for tails."""
        rows = dict(zip(COLUMN, triples.expand(2, -1, 3), strict=True))
        if self.pool == "all":
            everything = Candidates(torch.arange(self.num_entities), torch.empty(0))
            return Batch(rows, everything, everything)
        drawn = torch.randint(self.num_entities, (self.pool,))
        return Batch(rows, *(self._of(rows[side], side, drawn) for side in COLUMN))

    def _of(self, triples: Tensor, side: Side, drawn: Tensor) -> Candidates:
        if self.in_batch:
            drawn = torch.cat([drawn, triples[:, COLUMN[side]]])
        if self.self_negatives:
            drawn = torch.cat([drawn, triples[:, 2 - COLUMN[side]]])
        ids = drawn.unique()
        if not self.unbiased:
            return Candidates(ids, torch.empty(0))
        return Candidates(ids, -self.log_probability(len(triples), side)[ids].float())

    def log_probability(self, batch_size: int, side: Side) -> Tensor:
        """Logarithm (E,) of each entity's chance to be a candidate of ``side`` in a batch."""
        assert self.pool != "all"
        missed = torch.full((self.num_entities,), self.pool * math.log1p(-1 / self.num_entities))
        missed = missed.double()
        if self.in_batch:
            missed += batch_size * torch.log1p(-self._frequency[side])
        return torch.log(-torch.expm1(missed))


class EpochDraw:
    """Draws the candidates of a batch as the epoch wants it (a ``collate_fn``).

    What is sent to a worker process is the draw of the current epoch alone; PyTorch starts workers
    anew for every epoch.

    Args:
        current: gives the draw of the current epoch.
    """

    def __init__(self, current: Callable[[], CandidateDraw]) -> None:
        self.current = current

    def __call__(self, triples: Tensor) -> Batch:
        """See :class:`CandidateDraw`."""
        return self.current()(triples)

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self.current(),)


def _itself(draw: CandidateDraw) -> CandidateDraw:
    return draw


def known_answers(triples: Tensor, side: Side, ids: Tensor, known: KnownTriples | None) -> Exclude:
    """The pairs (row, candidate) that are true: known answers, or without ``known`` the own one.

    Args:
        triples: (B, 3).
        side: which answers.
        ids: (C,) candidates, distinct and ascending.
        known: triples that are true, those of the batch among them.
    """
    if known is None:
        answers = Answers(torch.arange(len(triples) + 1), triples[:, COLUMN[side]])
    else:
        answers = known.answers(triples, side)
    column = torch.searchsorted(ids, answers.ids.contiguous()).clamp(max=len(ids) - 1)
    return Exclude.csr(*Answers(answers.ptr, column).where(ids[column] == answers.ids))
