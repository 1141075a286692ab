"""Accumulation of ranks over batches and shards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphcl.kernels.ranks import RankCounts
from graphcl.ranking.ranks import NO_CODE, SIDES, Ranks
from graphcl.ranking.report import Protocol, RankReport


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
        counts: RankCounts | Sequence[Tensor] | Ranks,
        *,
        side: str | Tensor = "both",
        relation: Tensor | None = None,
    ) -> None:
        """Add the ranks of n targets.

        Args:
            counts: ``greater``, ``equal`` and ``candidates``, int64 (n,), the target in none; or
                ranks from elsewhere, which bring their sides and relations.
            side: ``head``, ``relation`` or ``tail``; ``both`` for ranks that belong to no side; or
                (n,) indices into ``SIDES``.
            relation: (n,) relation ids, for metrics by relation.

        Raises:
            ValueError: shapes that differ, or counts that contradict each other.
        """
        if isinstance(counts, Ranks):
            self._parts.append(counts)
            return
        greater, equal, candidates = (count.detach().long() for count in counts)
        if isinstance(side, str):
            if side not in (*SIDES, "both"):
                raise ValueError(f"unknown side {side!r}; choose from {', '.join(SIDES)}, both")
            code = NO_CODE if side == "both" else SIDES.index(side)
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
