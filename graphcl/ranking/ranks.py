"""Ranks of targets, kept as counts, and the metrics that are functions of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Side = Literal["head", "relation", "tail"]
RankType = Literal["optimistic", "realistic", "pessimistic"]

SIDES: tuple[Side, ...] = ("head", "relation", "tail")
"""What of a triple is ranked; the place in this tuple is its column and its code in ``Ranks``."""
RANK_TYPES: tuple[RankType, ...] = ("realistic", "optimistic", "pessimistic")
NO_CODE = -1
"""Side or relation of a rank that has none."""


@dataclass(frozen=True)
class Ranks:
    """Ranks of n targets, as counts; all tensors int64 (n,).

    Attributes:
        greater: candidates that score above the target.
        equal: candidates, the target aside, that score the same.
        candidates: all candidates, the target aside.
        side: what was ranked, an index into ``SIDES``, or -1.
        relation: relation of the triple, or -1.
    """

    greater: Tensor
    equal: Tensor
    candidates: Tensor
    side: Tensor
    relation: Tensor

    def __len__(self) -> int:
        return len(self.greater)

    @property
    def optimistic(self) -> Tensor:
        """Rank if the target comes first among equals, float64 (n,)."""
        return 1.0 + self.greater.double()

    @property
    def pessimistic(self) -> Tensor:
        """Rank if the target comes last among equals, float64 (n,)."""
        return self.optimistic + self.equal

    @property
    def realistic(self) -> Tensor:
        """Mean of the two, the expected rank if ties are broken at random, float64 (n,)."""
        return self.optimistic + self.equal / 2

    def of(self, rank_type: RankType) -> Tensor:
        """Ranks of one type, float64 (n,)."""
        if rank_type not in RANK_TYPES:
            raise ValueError(
                f"unknown rank type {rank_type!r}; choose from {', '.join(RANK_TYPES)}"
            )
        return {
            "optimistic": self.optimistic,
            "realistic": self.realistic,
            "pessimistic": self.pessimistic,
        }[rank_type]

    def select(self, rows: Tensor) -> Ranks:
        """Some of the ranks, by index or mask."""
        return Ranks(*(column[rows] for column in self._columns()))

    def to(self, device: torch.device | str) -> Ranks:
        """The same ranks on ``device``."""
        return Ranks(*(column.to(device) for column in self._columns()))

    @staticmethod
    def cat(parts: Sequence[Ranks]) -> Ranks:
        """All ranks of several tables."""
        if not parts:
            return Ranks(*(torch.empty(0, dtype=torch.int64) for _ in range(5)))
        return Ranks(*map(torch.cat, zip(*(part._columns() for part in parts), strict=True)))

    def _columns(self) -> tuple[Tensor, ...]:
        return self.greater, self.equal, self.candidates, self.side, self.relation


def rank_metrics(
    rank: Tensor,
    candidates: Tensor,
    *,
    hits: Sequence[int] = (1, 3, 10),
    group: Tensor | None = None,
    num_groups: int = 1,
) -> dict[str, Tensor]:
    """Metrics of ranks, for each group of them.

    - ``mean_rank``: in [1, n], lower is better; at chance (n + 1) / 2 for n competitors.
    - ``mean_reciprocal_rank``: in (0, 1], higher is better.
    - ``hits@k``: share of ranks of at most k; a realistic rank of 1.5 is no hit at 1.
    - ``adjusted_mean_rank_index``: 1 - (MR - 1) / (E[MR] - 1), in [-1, 1], higher is better; 0 at
      chance whatever the number of candidates (Berrendorf et al., 2020, arXiv 2002.06914). It is 0
      as well where no target has a competitor.
    - ``count``: number of ranks.

    Args:
        rank: (n,) ranks, from 1.
        candidates: (n,) numbers of competitors, the target aside.
        hits: the k of ``hits@k``.
        group: (n,) int64 group of each rank; one group by default.
        num_groups: G.

    Returns:
        Float64 tensors (G,) by name; NaN for empty groups, apart from ``count``.
    """
    rank = rank.double()
    if group is None:
        group = torch.zeros_like(rank, dtype=torch.int64)
    count = torch.bincount(group, minlength=num_groups).double()

    def mean(values: Tensor) -> Tensor:
        total = torch.zeros(num_groups, dtype=torch.float64, device=rank.device)
        return total.index_add_(0, group, values.double()) / count

    mean_rank = mean(rank)
    beyond_chance = mean(candidates) / 2  # E[rank] - 1 of one target among n + 1 is n / 2
    index = 1.0 - (mean_rank - 1.0) / beyond_chance
    return {
        "mean_rank": mean_rank,
        "mean_reciprocal_rank": mean(rank.reciprocal()),
        **{f"hits@{k}": mean(rank <= k) for k in hits},
        "adjusted_mean_rank_index": torch.where(beyond_chance == 0, 0.0, index),
        "count": count,
    }
