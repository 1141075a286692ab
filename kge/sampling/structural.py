"""Choosing structural candidates of a query: mined ones first, then at random from the ball."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kge.sampling.slots import fill_slots, most_slots
from kge.sides import COLUMN, TAIL_FIRST, Side
from kge.structure import StructureIndex


class Picked(NamedTuple):
    """Structural candidates of B queries.

    Attributes:
        ids: (B, count) entity ids, those found first.
        found: (B, count) bool, False where a ball had no member left.
    """

    ids: Tensor
    found: Tensor


def pick_structural(
    index: StructureIndex,
    queries: Tensor,
    side: Side,
    count: int,
    mined: Tensor,
    generator: torch.Generator,
) -> Picked:
    """``count`` structural candidates of each query, none twice while its ball lasts.

    First come the mined negatives of the same query that lie in its ball, best first, then
    members of the ball, uniformly without replacement. Where the ball is too small, nothing is
    found; but an index that keeps known answers (``exclude_known=False``) fills up with those,
    with replacement, as the released code does.

    Args:
        index: of the training graph.
        queries: (B, 3) triples whose ``side`` is asked for; their own answer is never picked.
        side: ``"head"`` or ``"tail"``.
        count: how many.
        mined: (B, H) distinct hard negatives of the same queries, best first, -1 for none; H may
            be 0.
        generator: source of the draws.
    """
    number, width = mined.shape
    accepted = index.accepts(queries, side, mined.clamp(min=0)) & (mined >= 0)
    first_row, rank = accepted.nonzero(as_tuple=True)
    ptr, ids, _ = index.candidates(queries, side)
    row = torch.arange(number).repeat_interleave(ptr.diff())
    lot = torch.rand(len(ids), generator=generator, dtype=torch.float64)
    # Lots above this are never needed, so that a large ball is not sorted as a whole.
    few = lot <= _enough(ptr.diff(), count + width)[row]
    short = torch.bincount(row[few], minlength=number) < ptr.diff().clamp(max=count + width)
    few |= short[row]
    order, ids = _first_of_each(
        torch.cat((first_row, row[few])),
        torch.cat((mined[accepted], ids[few])),
        torch.cat((rank.double() / (width + 1) - 1, lot[few])),
        index.known.num_entities,
    )
    place = torch.arange(len(order)) - torch.searchsorted(order, torch.arange(number))[order]
    chosen = place < count
    picked = Picked(
        torch.zeros(number, count, dtype=torch.int64),
        torch.zeros(number, count, dtype=torch.bool),
    )
    picked.ids[order[chosen], place[chosen]] = ids[chosen]
    picked.found[order[chosen], place[chosen]] = True
    return picked if index.exclude_known else _fill(picked, index, queries, side, generator)


def structural_columns(
    index: StructureIndex | None,
    positives: Tensor,
    columns: Tensor,
    mined: dict[Side, Tensor],
    negatives: Tensor,
    generator: torch.Generator,
    *,
    num_entities: int,
) -> Picked:
    """Candidates for the M columns that come after the negatives; both of (B, N + M) columns.

    Where none is found, a negative of the same side stands in, and without one the next entity.

    Args:
        index: of the training graph; None finds nothing.
        positives: (B, 3) triples.
        columns: (B, N + M) column of the triple that each slot replaces.
        mined: per side, hard negatives as :func:`pick_structural` takes them; a side may lack.
        negatives: (B, N) entities of the ordinary slots.
        generator: source of the draws.
        num_entities: count of entities.
    """
    ordinary, ours = columns[:, : negatives.shape[1]], columns[:, negatives.shape[1] :]
    result = Picked(torch.zeros_like(ours), torch.zeros_like(ours, dtype=torch.bool))
    none = torch.empty(len(positives), 0, dtype=torch.int64)
    for side in TAIL_FIRST:
        column = COLUMN[side]
        count = most_slots(ours, side)
        if not count:
            continue
        same = ordinary == column
        stand_in = negatives.gather(1, same.int().argmax(1, keepdim=True))
        # Without one, anything but the positive itself.
        other = (positives[:, column, None] + 1) % num_entities
        stand_in = torch.where(same.any(1, keepdim=True), stand_in, other)
        result.ids.copy_(torch.where(ours == column, stand_in, result.ids))
        if index is not None:
            hard = mined.get(side, none)
            ids, found = pick_structural(index, positives, side, count, hard, generator)
            fill_slots(result.ids, ours, side, ids, found)
            fill_slots(result.found, ours, side, found, found)
    return result


def _enough(size: Tensor, count: int) -> Tensor:
    """Bound under which the ``count`` smallest of ``size`` uniform lots almost surely lie."""
    return (count + 8 * count**0.5 + 8) / size.clamp(min=1).double()


def _first_of_each(row: Tensor, ids: Tensor, lot: Tensor, num_ids: int) -> tuple[Tensor, Tensor]:
    """Entries by row and lot; of an id that a row names twice, only the smaller lot counts."""
    key = row * num_ids + ids
    order = lot.argsort()
    order = order[key[order].argsort(stable=True)]
    key = key[order]
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    once = order[first]
    once = once[lot[once].argsort()]
    once = once[row[once].argsort(stable=True)]
    return row[once], ids[once]


def _fill(
    picked: Picked,
    index: StructureIndex,
    queries: Tensor,
    side: Side,
    generator: torch.Generator,
) -> Picked:
    """Put other known answers of a query where its ball has too few members."""
    answers = index.known.answers(queries, side)
    row, ids = answers.rows(), answers.ids
    other = ids != queries[row, COLUMN[side]]
    row, ids = row[other], ids[other]
    size = torch.bincount(row, minlength=len(queries))
    missing, slot = (~picked.found & (size > 0)[:, None]).nonzero(as_tuple=True)
    share = torch.rand(len(missing), generator=generator, dtype=torch.float64)
    place = (size.cumsum(0) - size)[missing] + (share * size[missing]).long()
    picked.ids[missing, slot] = ids[place]
    picked.found[missing, slot] = True
    return picked
