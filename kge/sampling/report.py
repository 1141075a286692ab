"""What a negative sampler draws: false negatives, diversity, speed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphcl.ranking.known import KnownTriples
from kge.sampling.corruptions import Known, as_known, corrupted
from kge.sampling.draw_counts import DrawCounts
from kge.sampling.entropy import entropy_bits
from kge.sampling.offers import copies

if TYPE_CHECKING:
    from pykeen.sampling import NegativeSampler

# Triples in one call of the sampler that is timed.
_BATCH = 1024
# In one call whose diversity is looked at: a sampler may draw something once for the whole batch.
_FEW = 16


@dataclass(frozen=True)
class SamplerReport:
    """Figures of one sampler on one set of positives.

    Attributes:
        sampler: its class.
        num_entities: of the graph.
        negatives: how many were drawn by ``sample``.
        known_rate: for each set of known triples, the share of proposals, before any filter, that
            are in it. In held-out triples these are false negatives that no filter can find.
        kept_known_rate: the same for what ``sample`` returns and does not mask.
        masked_rate: share of what ``sample`` returns that is masked.
        entropy: bits, of the entity put in, over all negatives that are kept.
        effective_entities: ``2 ** entropy``.
        row_entropy: bits, of the entity put into one side of one positive, the mean of some.
        row_effective_entities: ``2 ** row_entropy``.
        triples_per_second: kept negatives per second of ``sample``, on this machine.
        rejected_rate: share of first proposals that were drawn again, and
        uniform_rate: share of negatives that fell back to a uniform draw; None for a sampler that
            does not count (:class:`kge.sampling.draw_counts.DrawCounts`).
    """

    sampler: str
    num_entities: int
    negatives: int
    known_rate: dict[str, float]
    kept_known_rate: dict[str, float]
    masked_rate: float
    entropy: float
    effective_entities: float
    row_entropy: float
    row_effective_entities: float
    triples_per_second: float
    rejected_rate: float | None
    uniform_rate: float | None


@torch.no_grad()
def sampler_report(
    sampler: NegativeSampler,
    positives: Tensor,
    known: Known,
    *,
    num_negatives: int = 100_000,
    num_rows: int = 32,
    draws_per_row: int = 2048,
    seed: int = 0,
) -> SamplerReport:
    """Draw from any PyKEEN sampler that corrupts heads and tails, and measure what comes out.

    Torch's global generator is seeded for the draws and put back afterwards. Entropies are
    estimated by :func:`kge.sampling.entropy.entropy_bits`.

    Args:
        sampler: bound to its model, if it needs one.
        positives: (n, 3) triples to corrupt, as a rule of the training set; some are picked.
        known: sets of true triples by name, such as ``valid`` and ``test``, in the sampler's ids.
            For analysis: a sampler that used them would cheat.
        num_negatives: about how many negatives to draw.
        num_rows: how many positives ``row_entropy`` looks at, on each side.
        draws_per_row: draws for each of them.
        seed: of the picks and the draws.

    Raises:
        ValueError: no positives, or a count below 1.
    """
    if positives.dim() != 2 or positives.shape[1] != 3 or len(positives) == 0:
        raise ValueError(f"positives must have shape (n, 3), n > 0, got {tuple(positives.shape)}")
    if min(num_negatives, num_rows, draws_per_row) < 1:
        raise ValueError(
            "num_negatives, num_rows and draws_per_row must be at least 1, got "
            f"{num_negatives}, {num_rows} and {draws_per_row}"
        )
    sets = {name: as_known(triples) for name, triples in known.items()}
    proposed, kept = dict.fromkeys(sets, 0), dict.fromkeys(sets, 0)
    slots, kept_count, proposals, seconds = 0, 0, 0, 0.0
    drawn = torch.zeros(sampler.num_entities, dtype=torch.int64)
    rows = math.ceil(num_negatives / sampler.num_negs_per_pos)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sampler.sample(positive_batch=positives[:1])  # what is built on first use is not timed
        counted = _draw_counts(sampler)
        before = copy.copy(counted)
        for batch in _picked(positives, rows):
            start = time.perf_counter()
            negatives, keep = sampler.sample(positive_batch=batch)
            seconds += time.perf_counter() - start
            if keep is None:
                keep = torch.ones(negatives.shape[:-1], dtype=torch.bool)
            slots, kept_count = slots + keep.numel(), kept_count + int(keep.sum())
            _count(kept, sets, negatives[keep])
        counts = None if counted is None or before is None else counted.since(before)
        for batch in _picked(positives, rows, _FEW):
            drawn += torch.bincount(_kept(sampler, batch)[0], minlength=len(drawn))
        for batch in _picked(positives, rows):
            negatives = sampler.corrupt_batch(positive_batch=batch).flatten(0, -2)
            proposals += len(negatives)
            _count(proposed, sets, negatives)
        per_row = _row_entropies(sampler, positives, num_rows, draws_per_row)
    most = math.log2(sampler.num_entities)
    entropy = min(entropy_bits(drawn).item(), most)
    row_entropy = per_row.clamp(max=most).mean().item()
    return SamplerReport(
        sampler=type(sampler).__name__,
        num_entities=sampler.num_entities,
        negatives=slots,
        known_rate={name: count / proposals for name, count in proposed.items()},
        kept_known_rate={name: count / max(1, kept_count) for name, count in kept.items()},
        masked_rate=1 - kept_count / slots,
        entropy=entropy,
        effective_entities=2**entropy,
        row_entropy=row_entropy,
        row_effective_entities=2**row_entropy,
        triples_per_second=kept_count / max(seconds, 1e-9),
        rejected_rate=None if counts is None else counts.rejected / counts.slots,
        uniform_rate=None if counts is None else counts.uniform / counts.slots,
    )


def _draw_counts(sampler: NegativeSampler) -> DrawCounts | None:
    counts = getattr(sampler, "draw_counts", None)
    return counts if isinstance(counts, DrawCounts) else None


def _picked(positives: Tensor, count: int, size: int = _BATCH) -> Iterator[Tensor]:
    for start in range(0, count, size):
        yield positives[torch.randint(len(positives), (min(size, count - start),))]


def _kept(sampler: NegativeSampler, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Entities (n,) that were put in and kept, and the columns (n,) they were put into."""
    negatives, keep = sampler.sample(positive_batch=batch)
    entity, column = corrupted(batch, negatives)
    there = entity >= 0 if keep is None else keep & (entity >= 0)
    return entity[there], column[there]


def _count(totals: dict[str, int], sets: Mapping[str, KnownTriples], triples: Tensor) -> None:
    for name, known in sets.items():
        totals[name] += int(known.contains(triples).sum())


def _row_entropies(
    sampler: NegativeSampler, positives: Tensor, num_rows: int, draws: int
) -> Tensor:
    """Entropy of what each of some positives gets on each side that is corrupted at all."""
    rows = positives[torch.randperm(len(positives))[:num_rows]]
    repeats = max(2, math.ceil(draws / sampler.num_negs_per_pos))
    keys = []
    for number, row in enumerate(rows):
        # One positive at a time: samplers differ in how they deal the sides out over a batch.
        for batch in row.expand(repeats, 3).clone().split(copies(sampler)):
            entity, column = _kept(sampler, batch)
            group = 2 * number + column.div(2, rounding_mode="floor")
            keys.append(group * sampler.num_entities + entity)
    key, count = torch.unique(torch.cat(keys), return_counts=True)
    group = torch.unique(key.div(sampler.num_entities, rounding_mode="floor"), return_inverse=True)
    return entropy_bits(count, group[1])
