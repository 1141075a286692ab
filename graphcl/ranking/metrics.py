"""Metrics of ranks, per side and per relation, for three ways to treat ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphcl.kernels.ranks import RankCounts

Side = Literal["head", "relation", "tail"]
RankType = Literal["optimistic", "realistic", "pessimistic"]

SIDES: tuple[Side, ...] = ("head", "relation", "tail")
"""What of a triple is ranked; the place in this tuple is its column and its code in ``Ranks``."""
RANK_TYPES: tuple[RankType, ...] = ("realistic", "optimistic", "pessimistic")
NO_CODE = -1
"""Side or relation of a rank that has none."""

_ALIASES = {
    "mr": "mean_rank",
    "mrr": "mean_reciprocal_rank",
    "amri": "adjusted_mean_rank_index",
}


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


@dataclass(frozen=True)
class Protocol:
    """What was ranked against what; numbers of different protocols cannot be compared.

    Attributes:
        candidates: which ids competed, in words.
        filtered: which true answers were left out, in words.
    """

    candidates: str = "not stated"
    filtered: str = "not stated"

    def __str__(self) -> str:
        return f"candidates: {self.candidates}; left out: {self.filtered}"


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


class RankReport:
    """Metrics of a set of ranks, with the protocol that they belong to.

    ``report["mrr"]``, ``report["tail.hits@10"]`` and ``report["both.pessimistic.mean_rank"]`` look
    up a metric (names as in :func:`rank_metrics`, or ``mr``, ``mrr``, ``amri``), by default over
    all sides and for realistic ranks. Printing shows a table and the protocol.

    Attributes:
        ranks: the ranks themselves.
        protocol: what was ranked against what.
        hits: the k of ``hits@k``.
    """

    def __init__(self, ranks: Ranks, protocol: Protocol, hits: Sequence[int]) -> None:
        if len(ranks) == 0:
            raise ValueError("there are no ranks to report: evaluate at least one triple")
        self.ranks, self.protocol, self.hits = ranks, protocol, tuple(hits)
        present = [side for code, side in enumerate(SIDES) if bool((ranks.side == code).any())]
        self.sides: tuple[str, ...] = tuple(present)
        self._values: dict[str, dict[str, float]] = {}
        for side in ("both", *present):
            chosen = ranks
            if side != "both":
                chosen = ranks.select(ranks.side == SIDES.index(side))
            for rank_type in RANK_TYPES:
                metrics = rank_metrics(chosen.of(rank_type), chosen.candidates, hits=self.hits)
                self._values[f"{side}.{rank_type}"] = {k: float(v) for k, v in metrics.items()}

    def __getitem__(self, name: str) -> float:
        *where, metric = name.split(".")
        side, rank_type = "both", "realistic"
        for part in where:
            if part in RANK_TYPES:
                rank_type = part
            else:
                side = part
        values = self._values.get(f"{side}.{rank_type}")
        metric = _ALIASES.get(metric, metric)
        if values is None or metric not in values:
            known = next(iter(self._values.values()))
            raise KeyError(
                f"no metric {name!r}: use [side.][rank type.]metric with sides "
                f"{', '.join(('both', *self.sides))}, rank types {', '.join(RANK_TYPES)} and "
                f"metrics {', '.join((*known, *_ALIASES))}"
            )
        return values[metric]

    def to_dict(self) -> dict[str, float]:
        """All metrics, keyed ``side.rank_type.metric``."""
        return {
            f"{where}.{metric}": value
            for where, values in self._values.items()
            for metric, value in values.items()
        }

    def by_relation(
        self, rank_type: RankType = "realistic", side: str = "both"
    ) -> dict[int, dict[str, float]]:
        """Metrics of the triples of each relation that occurs."""
        chosen = self.ranks.select(self.ranks.relation != NO_CODE)
        if side != "both":
            if side not in self.sides:
                raise ValueError(f"no ranks of side {side!r}; there are {', '.join(self.sides)}")
            chosen = chosen.select(chosen.side == SIDES.index(side))  # type: ignore[arg-type]
        relations, group = torch.unique(chosen.relation, return_inverse=True)
        metrics = rank_metrics(
            chosen.of(rank_type),
            chosen.candidates,
            hits=self.hits,
            group=group,
            num_groups=len(relations),
        )
        columns = {name: values.tolist() for name, values in metrics.items()}
        return {
            relation: {name: values[row] for name, values in columns.items()}
            for row, relation in enumerate(relations.tolist())
        }

    def __str__(self) -> str:
        names = list(next(iter(self._values.values())))
        short = {full: alias for alias, full in _ALIASES.items()}
        lines = ["".join(["ranks".ljust(20), *(short.get(n, n).rjust(12) for n in names)])]
        for where, values in self._values.items():
            cells = (f"{values[n]:.0f}" if n == "count" else f"{values[n]:.4f}" for n in names)
            lines.append("".join([where.ljust(20), *(cell.rjust(12) for cell in cells)]))
        return "\n".join([*lines, str(self.protocol)])

    __repr__ = __str__


class RankMetrics:
    """Accumulates ranks, batch by batch and shard by shard, and computes their metrics.

    Args:
        hits: the k of ``hits@k``.
        protocol: what is ranked against what; carried into the report.

    Example:
        >>> import torch
        >>> metrics = RankMetrics(hits=(1,))
        >>> counts = [torch.tensor([0, 3]), torch.tensor([0, 0]), torch.tensor([9, 9])]
        >>> metrics.update(counts, side="tail")
        >>> metrics.compute()["mrr"], metrics.compute()["tail.hits@1"]
        (0.625, 0.5)
    """

    def __init__(self, *, hits: Sequence[int] = (1, 3, 10), protocol: Protocol | None = None):
        if any(k < 1 for k in hits):
            raise ValueError(f"hits@k needs k of at least 1, got {tuple(hits)}")
        self.hits, self.protocol = tuple(hits), protocol or Protocol()
        self._parts: list[Ranks] = []

    def update(
        self,
        counts: RankCounts | Sequence[Tensor],
        *,
        side: str | Tensor = "both",
        relation: Tensor | None = None,
    ) -> None:
        """Add the ranks of n targets.

        Args:
            counts: ``greater``, ``equal`` and ``candidates``, int64 (n,), the target in none.
            side: ``head``, ``relation`` or ``tail``; ``both`` for ranks that belong to no side; or
                (n,) indices into ``SIDES``.
            relation: (n,) relation ids, for metrics by relation.

        Raises:
            ValueError: shapes that differ, or counts that contradict each other.
        """
        greater, equal, candidates = (count.detach().long() for count in counts)
        if isinstance(side, str):
            if side not in (*SIDES, "both"):
                raise ValueError(f"unknown side {side!r}; choose from {', '.join(SIDES)}, both")
            code = NO_CODE if side == "both" else SIDES.index(side)  # type: ignore[arg-type]
            side = torch.full_like(greater, code)
        if relation is None:
            relation = torch.full_like(greater, NO_CODE)
        columns = (greater, equal, candidates, side.long(), relation.long())
        if greater.dim() != 1 or any(column.shape != greater.shape for column in columns):
            raise ValueError(
                "greater, equal, candidates, side and relation must all be (n,), got "
                f"{[tuple(column.shape) for column in columns]}"
            )
        wrong = (greater < 0) | (equal < 0) | (greater + equal > candidates)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"counts of row {row} contradict each other: {int(greater[row])} greater and "
                f"{int(equal[row])} equal among {int(candidates[row])} candidates"
            )
        self._parts.append(Ranks(*columns))

    def merge(self, other: RankMetrics) -> RankMetrics:
        """Add the ranks of another shard; returns self.

        Raises:
            ValueError: the other was computed under another protocol.
        """
        if other.protocol != self.protocol:
            raise ValueError(
                "ranks of different protocols cannot be merged: "
                f"[{self.protocol}] and [{other.protocol}]"
            )
        self._parts.extend(other._parts)
        return self

    @property
    def ranks(self) -> Ranks:
        """All ranks added so far."""
        return Ranks.cat(self._parts)

    def compute(self) -> RankReport:
        """Metrics of all ranks added so far.

        Raises:
            ValueError: none were added.
        """
        return RankReport(self.ranks, self.protocol, self.hits)
