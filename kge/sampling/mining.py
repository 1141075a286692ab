"""Hard negatives by the current model: the best-scored entities that are not known answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from graphcl.ranking.known import KnownTriples
from kge.diverged import DivergedModel
from kge.sampling.candidate_scores import candidate_scorer
from kge.sides import COLUMN, Side

if TYPE_CHECKING:  # PyKEEN may be half loaded when this module is registered with it
    from pykeen.models import Model
    from pykeen.typing import InductiveMode

_POOL = 2**12
"""Entities scored at once."""


class Mined(NamedTuple):
    """The best entities of B queries, best first.

    Attributes:
        ids: (B, count) entity ids.
        found: (B, count) bool, False where no candidate was left.
    """

    ids: Tensor
    found: Tensor


def mine(
    model: Model,
    queries: Tensor,
    side: Side,
    candidates: Tensor,
    count: int,
    known: KnownTriples,
    *,
    mode: InductiveMode | None = None,
    own_ids: bool = True,
) -> Mined:
    """Top ``count`` candidates of each query, known answers and the query's own left out.

    Neither axis is scored as a whole: the best so far are carried from block to block.

    Args:
        model: scores triples; call within
            :func:`~kge.sampling.candidate_scores.undisturbed`.
        queries: (B, 3) triples whose ``side`` is replaced; -1 may stand there for nothing.
        side: ``"head"`` or ``"tail"``.
        candidates: (P,) distinct ids, shared by all queries, or (B, P), one pool for each, in
            which repetitions count once.
        count: how many to find.
        known: triples that are no negatives; on the device of ``queries``, as the result is.
        mode: PyKEEN's inductive mode.
        own_ids: of relations in ``queries`` and ``known``, see
            :func:`~kge.sampling.candidate_scores.candidate_scorer`.

    Raises:
        DivergedModel: the model gave NaN, which would pass for the best score.
    """
    shared = candidates.dim() == 1
    width = candidates.shape[-1]
    best = torch.full((len(queries), count), -torch.inf)
    ids = torch.zeros(len(queries), count, dtype=torch.int64)
    columns = min(width, _POOL)
    scorer = candidate_scorer(model, shared=shared, mode=mode, own_ids=own_ids)
    rows = max(1, scorer.block // max(1, columns))
    place, again = None, None
    if shared:
        place = torch.full((known.num_entities,), -1)
        place[candidates] = torch.arange(width)
    else:
        again = _repeated(candidates)
    for first in range(0, len(queries), rows):
        block = slice(first, first + rows)
        part = queries[block]
        taken = _taken(part, side, place, known)
        for left in range(0, width, columns):
            pool = candidates[..., left : left + columns]
            pool = pool if shared else pool[block]
            scores = scorer.scores(part, side, pool)
            _require_numbers(scores, model, first)
            if shared:
                row, column = taken
                here = (column >= left) & (column < left + columns)
                scores[row[here], column[here] - left] = -torch.inf
            elif again is not None:
                scores[_unfit(part, side, pool, known)] = -torch.inf
                scores[again[block, left : left + columns]] = -torch.inf
            scores = torch.cat((best[block], scores), 1)
            every = torch.cat((ids[block], pool.expand(len(part), -1)), 1)
            best[block], order = scores.topk(count, 1)
            ids[block] = every.gather(1, order)
    return Mined(ids, best > -torch.inf)


def _taken(
    queries: Tensor, side: Side, place: Tensor | None, known: KnownTriples
) -> tuple[Tensor, Tensor]:
    """Row and place in the shared pool of each entity that is no negative of a query."""
    if place is None:
        return queries[:0, 0], queries[:0, 0]
    answers = known.answers(queries, side)
    row = torch.cat((answers.rows(), torch.arange(len(queries))))
    ids = torch.cat((answers.ids, queries[:, COLUMN[side]]))
    column = place[ids.clamp(min=0)].where(ids >= 0, -1)
    return row[column >= 0], column[column >= 0]


def _unfit(queries: Tensor, side: Side, pool: Tensor, known: KnownTriples) -> Tensor:
    """Places of a (B, P) pool that hold a known answer or the query's own."""
    answer = 2 if side == "tail" else 0
    triples = queries[:, None].repeat(1, pool.shape[1], 1)
    own = triples[..., answer].clone()
    triples[..., answer] = pool
    return known.contains(triples) | (pool == own)


def _repeated(pool: Tensor) -> Tensor:
    """Places of a (B, P) pool whose id stands further left in the row already."""
    order = pool.argsort(dim=1, stable=True)
    ascending = pool.gather(1, order)
    again = torch.zeros_like(pool, dtype=torch.bool)
    again[:, 1:] = ascending[:, 1:] == ascending[:, :-1]
    return torch.zeros_like(again).scatter(1, order, again)


def _require_numbers(scores: Tensor, model: Model, first: int) -> None:
    bad = scores.isnan().any(1)
    if bad.any():
        row = first + int(bad.nonzero()[0])
        raise DivergedModel(
            f"{type(model).__name__} gave NaN for a candidate of query {row} of a batch: its "
            "training has diverged",
            row,
        )
