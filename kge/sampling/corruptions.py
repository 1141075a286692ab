"""Reading the negatives that any sampler returns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graphcl.ranking.known import KnownTriples

Known = Mapping[str, KnownTriples | Tensor]
"""Sets of true triples by name, such as ``train``, ``valid`` and ``test``."""


def corrupted(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Of (B, N, 3) corruptions of (B, 3) the entity put in and its column (0 or 2), both (B, N).

    Both are -1 where neither head nor tail differs.
    """
    changed = negatives != positives[:, None]
    column = torch.where(changed[..., 2], 2, torch.where(changed[..., 0], 0, -1))
    entity = negatives.gather(-1, column.clamp(min=0)[..., None])[..., 0]
    return torch.where(column < 0, -1, entity), column


def as_known(triples: KnownTriples | Tensor) -> KnownTriples:
    """A set of triples from a tensor (n, 3), or the set given."""
    return triples if isinstance(triples, KnownTriples) else KnownTriples(triples)
