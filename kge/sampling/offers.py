"""What a negative sampler offers for one triple, to be read by people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from kge.sampling.corruptions import Known, as_known, corrupted

if TYPE_CHECKING:
    from pykeen.sampling import NegativeSampler


@dataclass(frozen=True)
class OfferedNegative:
    """One corruption of a triple that a sampler offers.

    Attributes:
        side: what it replaces, ``head`` or ``tail``.
        triple: (head, relation, tail) ids.
        entity: the entity put in.
        share: how often it came among the draws for this side.
        text: of the entity.
        cluster: of the entity; None where it has none.
        hops: between the entity and the one that stays; None beyond what was looked at.
        score: by the model.
        known: names of the sets of true triples that hold the triple.
    """

    side: Literal["head", "tail"]
    triple: tuple[int, int, int]
    entity: int
    share: float
    text: str | None
    cluster: int | None
    hops: int | None
    score: float | None
    known: tuple[str, ...]


@torch.no_grad()
def describe_negatives(
    sampler: NegativeSampler,
    triple: Sequence[int] | Tensor,
    *,
    num: int = 10,
    draws: int = 1024,
    known: Known | None = None,
    texts: Sequence[str] | None = None,
    clusters: Sequence[int] | Tensor | None = None,
    hops: Callable[[Tensor, Tensor], Tensor] | None = None,
    score: Callable[[Tensor], Tensor] | None = None,
    filtered: bool = True,
    seed: int = 0,
) -> list[OfferedNegative]:
    """What a sampler offers for one triple, most frequent first, on each side up to ``num``.

    Args:
        sampler: any PyKEEN sampler that corrupts heads and tails.
        triple: (head, relation, tail) ids.
        num: distinct entities per side.
        draws: negatives drawn to choose from.
        known: sets of true triples by name.
        texts: of the entities.
        clusters: of the entities, -1 for none.
        hops: ``hops(sources (n,), targets (n,)) -> (n,)`` path lengths, -1 beyond, such as
            ``StructureIndex.distances``.
        score: ``score(triples (n, 3)) -> (n,)`` or (n, 1), such as ``model.score_hrt``; switch
            dropout off before.
        filtered: what ``sample`` keeps; otherwise proposals before any filter.
        seed: of the draws; torch's global generator is put back afterwards.
    """
    positive = torch.as_tensor(triple, dtype=torch.int64).view(1, 3)
    batch = positive.expand(2 * max(1, math.ceil(draws / sampler.num_negs_per_pos / 2)), 3).clone()
    parts: list[Tensor] = []
    masks: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for few in batch.split(copies(sampler)):
            keep: Tensor | None = None
            if filtered:
                drawn, keep = sampler.sample(positive_batch=few)
            else:
                drawn = sampler.corrupt_batch(positive_batch=few)
            parts.append(drawn)
            masks.append(torch.ones(drawn.shape[:-1], dtype=torch.bool) if keep is None else keep)
    entity, column = corrupted(batch, torch.cat(parts))
    there = torch.cat(masks) & (entity >= 0)
    sets = {name: as_known(triples) for name, triples in (known or {}).items()}
    offered: list[OfferedNegative] = []
    for side, place in (("head", 0), ("tail", 2)):
        ids, count = torch.unique(entity[there & (column == place)], return_counts=True)
        order = count.argsort(descending=True, stable=True)[:num]
        total, ids, count = int(count.sum()), ids[order], count[order]
        if len(ids) == 0:
            continue
        triples = positive.repeat(len(ids), 1)
        triples[:, place] = ids
        lengths = None if hops is None else hops(triples[:, 2 - place], ids).tolist()
        scores = None if score is None else score(triples).view(-1).tolist()
        holds = {name: found.contains(triples).tolist() for name, found in sets.items()}
        for i, one in enumerate(ids.tolist()):
            cluster = -1 if clusters is None else int(clusters[one])
            length = -1 if lengths is None else int(lengths[i])
            offered.append(
                OfferedNegative(
                    side="head" if side == "head" else "tail",
                    triple=tuple(triples[i].tolist()),
                    entity=one,
                    share=int(count[i]) / total,
                    text=None if texts is None else texts[one],
                    cluster=None if cluster < 0 else cluster,
                    hops=None if length < 0 else length,
                    score=None if scores is None else scores[i],
                    known=tuple(name for name, found in holds.items() if found[i]),
                )
            )
    return offered


def copies(sampler: NegativeSampler) -> int:
    """How many copies of a positive a call needs for negatives of both sides.

    No more of them: what a sampler draws once for a batch, such as a pool, is to be drawn anew.
    """
    return 1 if sampler.num_negs_per_pos > 1 else 2
