"""The result of a ranking: metrics, and the protocol that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from graphcl.ranking.ranks import NO_CODE, RANK_TYPES, SIDES, Ranks, RankType, rank_metrics

_ALIASES = {
    "mr": "mean_rank",
    "mrr": "mean_reciprocal_rank",
    "amri": "adjusted_mean_rank_index",
}


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
            chosen = chosen.select(chosen.side == SIDES.index(side))
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
        ties = "ties: realistic ranks are the mean of optimistic and pessimistic ones"
        sides = f"ranked: {', '.join(self.sides) or 'not stated'}"
        return "\n".join([*lines, f"{ties}; {sides}; {self.protocol}"])

    __repr__ = __str__
