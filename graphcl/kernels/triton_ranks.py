"""Rank counts by a Triton kernel: every program owns a block of targets and visits all keys.

The kernel scores in float32 and settles all pairs beyond the rounding error; the few others are
written down and decided in float64 by :func:`~graphcl.kernels.pair_scores.score_pairs`, so that
the counts are those of the other implementations.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.pair_scores import PairTiles, Score, score_pairs
from graphcl.kernels.rank_fold import RankCounts, undecided_band
from graphcl.kernels.tiles import blocks
from graphcl.kernels.triton_launch import RANKING, first_that_fits
from graphcl.kernels.triton_rank_fold import count_rows
from graphcl.kernels.triton_support import interpreting, plan_exclusion

# Undecided pairs written down at once, and numbers gathered at once to decide them.
_UNDECIDED = 1 << 22
_GATHERED = 1 << 24


class _Ranking:
    """One call, ready to launch on some of its targets."""

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        target: Tensor,
        bias: Tensor | None,
        score: Score,
        exclude: Exclude | None,
        place: Tensor,
    ) -> None:
        # Exact products of float32 are slower than rounded ones, but leave far fewer pairs to be
        # decided. Tensor cores truncate where ordinary ones round.
        half = keys.dtype != torch.float32
        rounding = (keys.shape[1] + 8) * torch.finfo(torch.float32).eps if half else 0.0
        shape = 1, min(8192, keys.shape[0])
        tiles = PairTiles(queries, keys, bias, score, shape, rounding=rounding)
        self.tiles, self.score, self.bias, self.place, self.target = (
            tiles, score, bias, place.contiguous(), target.contiguous(),
        )  # fmt: skip
        self.tile_bias = None if tiles.bias is None else tiles.bias.float().contiguous()
        anchor = torch.zeros(target.numel(), dtype=torch.float64, device=keys.device)
        for part in self.gatherable(target.numel()):
            anchor[part] = tiles.anchor(place[part], target[part])
        slack = tiles.slack(place, anchor)
        self.low, self.high = undecided_band(anchor.float(), slack.float())
        if tiles.product:
            self.rows = queries.contiguous(), keys.contiguous()
        else:
            self.rows = queries.float().t().contiguous(), keys.float().t().contiguous()
        plan = plan_exclusion(exclude)
        self.offset = plan.offset
        groups = plan.groups or (None, None)
        self.groups = tuple(None if g is None else g.contiguous() for g in groups)
        self.list: tuple[Tensor | None, Tensor | None] = (None, None)
        if plan.lists:
            self.list = plan.pairs(queries.shape[0], keys.shape[0], by_key=False)

    def gatherable(self, count: int) -> list[slice]:
        return list(blocks(count, max(1, _GATHERED // max(1, self.tiles.keys.shape[1]))))

    def launch(
        self, part: slice, results: tuple[Tensor | None, ...], start: Tensor | None = None,
        found: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Count the targets ``part``, or with ``found`` write their undecided keys."""
        queries, keys = self.rows
        count = part.stop - part.start
        width = self.tiles.keys.shape[1]

        kernel: Any = count_rows

        def run(high: int, wide: int, warps: int, stages: int) -> None:
            kernel[(triton.cdiv(count, high),)](
                queries, keys, self.tile_bias, self.place[part], self.target[part],
                self.low[part], self.high[part], count, self.tiles.keys.shape[0], width,
                queries.stride(0), keys.stride(0), self.offset or 0, *self.groups, *self.list,
                *results, start, found,
                SCORE="dot" if self.tiles.product else self.score,
                DIAGONAL=self.offset is not None, CHECK=not self.tiles.bounded,
                WRITE=found is not None, PRECISION="ieee", NATIVE=not interpreting(),
                BM=high, BN=wide, BD=64 if keys.dtype.itemsize == 2 else 16,
                num_warps=warps, num_stages=stages,
            )  # fmt: skip

        first_that_fits(run, RANKING, keys.device, ("ranks", self.score, keys.dtype, found is None))

    def exact(self, rows: Tensor, keys: Tensor) -> Tensor:
        """Scores in float64 of targets' queries and keys."""
        bias = None if self.bias is None else self.bias[keys]
        return score_pairs(
            self.tiles.queries[self.place[rows]], self.tiles.keys[keys], bias, self.score
        )

    def decide(self, part: slice, within: Tensor, counts: RankCounts) -> None:
        """Compare the undecided pairs of some targets in float64 and add them to the counts."""
        end = within.cumsum(0)
        found = torch.zeros(int(end[-1]), dtype=torch.int64, device=within.device)
        self.launch(part, (None,) * 4, torch.cat([end.new_zeros(1), end]), found)
        rows = torch.arange(part.start, part.stop, device=within.device).repeat_interleave(within)
        above, level = torch.zeros(2, found.numel() + 1, dtype=torch.int64, device=within.device)
        for some in self.gatherable(found.numel()):
            row = rows[some]
            scores, own = self.exact(row, found[some]), self.exact(row, self.target[row])
            above[1:][some], level[1:][some] = scores > own, scores == own
        # Rows are consecutive, so differences of running sums add up without atomics.
        for total, flags in ((counts.greater, above), (counts.equal, level)):
            running = flags.cumsum(0)
            total[part] += running[end] - running[end - within]


def triton_rank_counts(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    key_bias: Tensor | None,
    score: Score,
    exclude: Exclude | None,
    query_index: Tensor,
) -> RankCounts | None:
    """See :func:`~graphcl.kernels.ranks.rank_counts`; None where a score is not finite.

    Raises:
        Unsupported: an exclusion without a Triton form.
    """
    ranking = _Ranking(queries, keys, target, key_bias, score, exclude, query_index)
    counts = RankCounts.zeros(target.numel(), keys.device)
    within, bad = torch.zeros(2, target.numel(), dtype=torch.int64, device=keys.device)
    ranking.launch(slice(0, target.numel()), (counts.greater, within, counts.candidates, bad))
    if not ranking.tiles.bounded and bool(bad.any()):
        return None
    for part in _batches(within):
        ranking.decide(part, within[part], counts)
    return counts


def _batches(within: Tensor) -> list[slice]:
    """Consecutive targets with about ``_UNDECIDED`` undecided pairs in all, at least one each."""
    end = within.cumsum(0).cpu()
    parts, start, total = [], 0, end.numel()
    if total == 0 or int(end[-1]) == 0:
        return []
    while start < total:
        before = int(end[start - 1]) if start else 0
        stop = int(torch.searchsorted(end, before + _UNDECIDED, right=True))
        stop = max(start + 1, min(stop, total))
        if int(end[stop - 1]) > before:
            parts.append(slice(start, stop))
        start = stop
    return parts
