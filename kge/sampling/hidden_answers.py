"""How many of the negatives that a sampler proposes are true answers that it does not know."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphcl.ranking.known import KnownTriples


class HiddenShare(NamedTuple):
    """Share of hidden true answers among proposed negatives.

    Attributes:
        overall: of all proposals.
        per_relation: (R,) of the proposals with each relation; NaN where there was none.
        proposals: how many were looked at.
    """

    overall: float
    per_relation: Tensor
    proposals: int


def hidden_share(negatives: Tensor, hidden: KnownTriples) -> HiddenShare:
    """Share of (..., 3) negatives that are among the ``hidden`` triples.

    The negatives must come from a sampler (and, if it mines, a model) that was never shown the
    hidden triples: masked training triples, or, for analysis, those of validation and test.
    """
    negatives = negatives.reshape(-1, 3)
    hits, relation = hidden.contains(negatives), negatives[:, 1]
    number = hidden.num_relations
    per_relation = torch.bincount(relation[hits], minlength=number) / torch.bincount(
        relation, minlength=number
    )
    overall = float(hits.double().mean()) if len(hits) else 0.0
    return HiddenShare(overall, per_relation, len(hits))


def mask_triples(
    triples: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Split (n, 3) triples at random into those kept and the ``share`` hidden.

    Raises:
        ValueError: a share that hides nothing or everything.
    """
    count = round(share * len(triples))
    if not 0 < count < len(triples):
        raise ValueError(
            f"hiding the share {share} of {len(triples)} triples leaves none on one side"
        )
    order = torch.randperm(len(triples), generator=generator)
    return triples[order[count:]], triples[order[:count]]
