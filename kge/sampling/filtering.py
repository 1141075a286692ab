"""Exact filtering of drawn corruptions: redraw what is known to be true, then draw uniformly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from graphcl.ranking.known import KnownTriples
from kge.sides import COLUMN, HEAD, TAIL

Draw = Callable[[Tensor, Tensor], Tensor]
"""``draw(row (M,), slot (M,)) -> (M,)``: new entity ids for M slots of the (B, N) negatives."""

_RECENT: OrderedDict[tuple[bytes, int, int], KnownTriples] = OrderedDict()


class Redrawn(NamedTuple):
    """Corruptions none of which is known to be true.

    Attributes:
        ids: (B, N) the entity that each slot puts in; never the one that it replaces, if there is
            more than one entity.
        valid: (B, N) bool, False where every entity gives a forbidden triple, so that ``ids`` is
            no negative there and must be masked.
        rejected: (B, N) bool, True where the first proposal was forbidden (for statistics).
    """

    ids: Tensor
    valid: Tensor
    rejected: Tensor


def redraw_known(
    ids: Tensor,
    positives: Tensor,
    columns: Tensor,
    known: KnownTriples,
    *,
    draw: Draw,
    generator: torch.Generator,
    rounds: int = 3,
    exclude_kept: bool = False,
) -> Redrawn:
    """Replace every proposed corruption that is known to be true, or is the positive itself.

    Forbidden slots are drawn again by ``draw`` for ``rounds`` rounds, all slots at once; what is
    forbidden even then is drawn uniformly from exactly the entities that are allowed. A known
    triple is thus returned only where no entity at all is allowed, and marked in ``valid``.
    Allowed proposals are never changed. Cost: O(B N log n) per round; the last resort reads the
    known answers of the few queries left.

    Args:
        ids: (B, N) proposed entity ids; not modified.
        positives: (B, 3) triples that are corrupted.
        columns: (N,) or (B, N), which column each slot replaces: ``HEAD`` (0) or ``TAIL`` (2).
        known: triples that must not be returned, on the device of ``ids``. Its
            ``num_entities`` is the range of the uniform draw.
        draw: proposes again, see :data:`Draw`; it gets the places of the slots in (B, N).
        generator: source of the uniform draws.
        rounds: how often ``draw`` is asked before the uniform fallback; 0 for never.
        exclude_kept: also forbid the entity on the other side, (h, r, h) and (t, r, t).

    Raises:
        ValueError: shapes that do not fit, or a column that is neither 0 nor 2.

    Example:
        >>> import torch
        >>> known = KnownTriples(torch.tensor([[0, 0, 1], [0, 0, 2]]), num_entities=4)
        >>> draw = lambda row, slot: torch.ones_like(row)  # insists on a known answer
        >>> redraw_known(
        ...     torch.tensor([[2, 3]]), torch.tensor([[0, 0, 1]]), torch.tensor([2, 2]), known,
        ...     draw=draw, generator=torch.Generator().manual_seed(0), exclude_kept=True,
        ... ).ids
        tensor([[3, 3]])
    """
    columns = _check(ids, positives, columns)
    ids = ids.long().clone()
    rejected = forbidden(ids, positives, columns, known, exclude_kept=exclude_kept)
    row, slot = rejected.nonzero(as_tuple=True)
    for attempt in range(rounds + 1):
        if len(row) == 0:
            break
        if attempt < rounds:
            fresh = draw(row, slot)
        else:
            fresh = _uniform(known.num_entities, len(row), generator, ids.device)
        ids[row, slot] = fresh
        bad = _forbidden(fresh, positives[row], columns[row, slot], known, exclude_kept)
        row, slot = row[bad], slot[bad]
    valid = torch.ones_like(rejected)
    if len(row):
        fresh, found = _draw_allowed(
            positives, row, columns[row, slot], known, generator, exclude_kept
        )
        ids[row, slot], valid[row, slot] = fresh, found
    return Redrawn(ids, valid, rejected)


def forbidden(
    ids: Tensor,
    positives: Tensor,
    columns: Tensor,
    known: KnownTriples,
    *,
    exclude_kept: bool = False,
) -> Tensor:
    """Which of (B, N) corruptions are known to be true or are the positive itself, bool (B, N)."""
    columns = _check(ids, positives, columns)
    return _forbidden(ids, positives[:, None].expand(*ids.shape, 3), columns, known, exclude_kept)


def corrupt(positives: Tensor, ids: Tensor, columns: Tensor) -> Tensor:
    """The negatives: (B, 3) positives with (B, N) entities put into the columns, (B, N, 3)."""
    columns = _check(ids, positives, columns)
    return _put(positives[:, None].expand(*ids.shape, 3), ids, columns)


def balanced_columns(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Sides for (B, N) negatives: tail, head, tail, ...; counts of a row differ by at most one.

    With an odd ``count`` a coin per row says which side comes first and gets one more.
    """
    slot = torch.arange(count).expand(batch, count)
    if count % 2:
        slot = slot + torch.randint(2, (batch, 1), generator=generator)
    return torch.where(slot % 2 == 0, TAIL, HEAD)


def batch_generator(device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one batch, seeded from torch's global one.

    A sampler that takes its randomness so has no state of its own: ``torch.manual_seed`` fixes
    it, and a PyKEEN checkpoint, which stores the global generator, resumes it bit by bit.
    """
    seed = int(torch.randint(2**62, (), dtype=torch.int64))
    return torch.Generator(device=device).manual_seed(seed)


def known_triples(triples: Tensor, num_entities: int, num_relations: int) -> KnownTriples:
    """:class:`KnownTriples` of a training set, built once though PyKEEN builds samplers twice.

    The last two sets are remembered by a hash of their content.
    """
    digest = blake2b(triples.contiguous().cpu().numpy().data, digest_size=16).digest()
    key = (digest, num_entities, num_relations)
    if key not in _RECENT:
        _RECENT[key] = KnownTriples(
            triples.cpu(), num_entities=num_entities, num_relations=num_relations
        )
        while len(_RECENT) > 2:
            _RECENT.popitem(last=False)
    _RECENT.move_to_end(key)
    return _RECENT[key]


def _put(triples: Tensor, ids: Tensor, columns: Tensor) -> Tensor:
    return triples.scatter(-1, columns.unsqueeze(-1), ids.unsqueeze(-1))


def _forbidden(
    ids: Tensor, triples: Tensor, columns: Tensor, known: KnownTriples, exclude_kept: bool
) -> Tensor:
    bad = known.contains(_put(triples, ids, columns))
    bad |= ids == triples.gather(-1, columns.unsqueeze(-1)).squeeze(-1)
    if exclude_kept:
        bad |= ids == triples.gather(-1, (TAIL - columns).unsqueeze(-1)).squeeze(-1)
    return bad


def _draw_allowed(
    positives: Tensor,
    row: Tensor,
    column: Tensor,
    known: KnownTriples,
    generator: torch.Generator,
    exclude_kept: bool,
) -> tuple[Tensor, Tensor]:
    """One uniform draw for each of M slots from the entities that are allowed there.

    With the forbidden ids of a query in ascending order a_0 < a_1 < ..., the allowed entity of
    rank u is u + #{j : a_j - j <= u}, so that the complement is never written down.
    """
    count = known.num_entities
    query, place = torch.unique(row * 3 + column, return_inverse=True)
    triples, side = positives[query // 3], query % 3
    index = torch.arange(len(query), device=row.device)
    keys = [index * count + triples.gather(1, side[:, None])[:, 0]]
    if exclude_kept:
        keys.append(index * count + triples.gather(1, TAIL - side[:, None])[:, 0])
    for name, column_ in COLUMN.items():
        asked = (side == column_).nonzero()[:, 0]
        answers = known.answers(triples[asked], name)
        keys.append(asked[answers.rows()] * count + answers.ids)
    taken = torch.unique(torch.cat(keys))
    owner = taken.div(count, rounding_mode="floor")
    ptr = torch.searchsorted(owner, torch.arange(len(query) + 1, device=row.device))
    # Gaps before each forbidden id, ascending within a query, as keys of one sorted list.
    gaps = taken - (torch.arange(len(taken), device=row.device) - ptr[owner])
    left = (count - ptr.diff())[place]
    share = torch.rand(len(row), generator=generator, dtype=torch.float64, device=row.device)
    rank = torch.minimum((share * left).long(), left - 1).clamp_(min=0)
    skipped = torch.searchsorted(gaps, place * count + rank, right=True) - ptr[place]
    found = left > 0
    replaced = positives[row].gather(1, column[:, None])[:, 0]
    return torch.where(found, rank + skipped, (replaced + 1) % count), found


def _uniform(count: int, number: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randint(count, (number,), generator=generator, device=device)


def _check(ids: Tensor, positives: Tensor, columns: Tensor) -> Tensor:
    if ids.dim() != 2 or positives.shape != (len(ids), 3):
        raise ValueError(
            f"need ids of shape (B, N) and positives of shape (B, 3), got {tuple(ids.shape)} "
            f"and {tuple(positives.shape)}"
        )
    if columns.shape not in (ids.shape, ids.shape[1:]):
        raise ValueError(
            f"columns must have shape (N,) or (B, N) for ids of shape {tuple(ids.shape)}, got "
            f"{tuple(columns.shape)}"
        )
    if not ((columns == HEAD) | (columns == TAIL)).all():
        raise ValueError("columns must be 0 (replace the head) or 2 (replace the tail)")
    return columns.expand_as(ids)
