"""How many keys score above a query's target: exact ranks in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from graphcl.kernels.exclusions import Exclude, check_exclusions
from graphcl.kernels.implementation import Impl, explain_impl
from graphcl.kernels.pair_scores import SCORES, PairTiles, Score, score_pairs
from graphcl.kernels.rank_fold import (
    NonFiniteScores,
    RankCounts,
    count_tile,
    require_finite,
    undecided_band,
)
from graphcl.kernels.tiles import blocks

__all__ = ["NonFiniteScores", "RankCounts", "Score", "count_tile", "rank_counts", "require_finite"]

# Tiles of 1 MB in float32 (rows x columns), where the coordinate-wise scores run fastest.
_SHAPE = {"cpu": (256, 1024), "cuda": (2048, 8192)}
# Numbers gathered at once to decide pairs one by one.
_GATHERED = 1 << 18


@torch.no_grad()
def rank_counts(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    *,
    key_bias: Tensor | None = None,
    score: Score = "dot",
    exclude: Exclude | None = None,
    query_index: Tensor | None = None,
    tile: tuple[int, int] | None = None,
    impl: Impl = "auto",
) -> RankCounts:
    """Count the keys that score above and equal to each query's target key.

    Scores, larger is better: ``dot`` is ``q . k``; ``l2`` is ``-||q - k||_2``; ``l1`` is
    ``-||q - k||_1``; ``rotate`` is minus the sum of ``|q_c - k_c|`` over complex coordinates, rows
    holding all real parts first, then all imaginary parts. ``key_bias`` is added to them.

    The counts are those of float64 arithmetic, and equal keys always tie: tiles are computed in
    working precision (float32, or float64 for float64 inputs), and the few pairs that the rounding
    error of a tile leaves undecided are scored again one by one in float64. So the result depends
    neither on the tiles nor on the number of threads. Keys and targets that all score the same (a
    collapsed model) are decided one by one throughout, which is right but slow. What remains is
    float64's own rounding: scores closer than about 1e-16 of their terms may tie or not.

    Memory beyond the inputs is a few tiles and some numbers per query and key. No gradient flows.

    Args:
        queries: (Q, D) floating point.
        keys: (K, D) of the same dtype.
        target: (N,) int64, the key that each row ranks; N = Q unless ``query_index`` is given.
        key_bias: (K,) added to the scores of each key.
        score: ``dot``, ``l2``, ``l1`` or ``rotate``.
        exclude: pairs (query, key) that take no part; that it names a target does not matter.
        query_index: (N,) int64, not decreasing: the query of each target, for queries with several
            targets. They are scored once.
        tile: rows and columns of a tile; the default suits the device.
        impl: ``auto``, ``reference`` (one query at a time, float64 throughout), ``chunked`` or
            ``triton`` (CUDA, float32 or half precision); see :func:`explain_impl`.

    Returns:
        ``greater``, ``equal`` and ``candidates``, int64 (N,), over all keys that are neither the
        target nor excluded.

    Raises:
        NonFiniteScores: a score of some query, excluded pairs included, is NaN or infinite.
        ValueError: shapes, dtypes, devices, targets or exclusions that do not fit.

    Example:
        >>> keys = torch.tensor([[1.0], [3.0], [2.0], [2.0]])
        >>> counts = rank_counts(torch.ones(1, 1), keys, torch.tensor([2]))
        >>> counts.greater.item(), counts.equal.item(), counts.candidates.item()
        (1, 1, 3)
    """
    _check(queries, keys, target, key_bias, score, query_index, tile)
    check_exclusions(exclude)
    if exclude is not None:
        exclude.check(queries.shape[0], keys.shape[0])
        exclude = exclude.to(keys.device)
    counts = RankCounts.zeros(target.numel(), keys.device)
    if target.numel() == 0:
        return counts
    chosen = explain_impl(queries, keys, exclude=exclude, impl=impl).name
    if query_index is None:
        query_index = torch.arange(target.numel(), device=target.device)
    if chosen == "reference":
        _count_by_definition(queries, keys, target, key_bias, score, exclude, query_index, counts)
    elif chosen == "triton":
        from graphcl.kernels.triton_ranks import triton_rank_counts

        found = triton_rank_counts(queries, keys, target, key_bias, score, exclude, query_index)
        if found is not None:
            return found
        # Some score is not finite: the tiles below name the first such query.
        return rank_counts(
            queries, keys, target, key_bias=key_bias, score=score, exclude=exclude,
            query_index=query_index, tile=tile, impl="chunked",
        )  # fmt: skip
    else:
        shape = tile or _SHAPE.get(keys.device.type, _SHAPE["cpu"])
        shape = min(shape[0], queries.shape[0]), min(shape[1], keys.shape[0])
        tiles = PairTiles(queries, keys, key_bias, score, shape)
        _TiledCount(tiles, target, key_bias, score, exclude, query_index, counts).run(shape[0])
    return counts


def _count_by_definition(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    key_bias: Tensor | None,
    score: Score,
    exclude: Exclude | None,
    query_index: Tensor,
    counts: RankCounts,
) -> None:
    """All scores of one target at a time, in float64."""
    for row, (query, own) in enumerate(zip(query_index.tolist(), target.tolist(), strict=True)):
        scores = score_pairs(queries[query], keys, key_bias, score)[None]
        require_finite(scores, query)
        own_score = scores[:, own].clone()
        if exclude is not None:
            exclude.rows(query, query + 1)(scores, 0, keys.shape[0])
        scores[:, own] = -torch.inf
        count_tile(scores, own_score, counts.rows(slice(row, row + 1)))


class _TiledCount:
    """One call of :func:`rank_counts`, tile by tile."""

    def __init__(
        self,
        tiles: PairTiles,
        target: Tensor,
        key_bias: Tensor | None,
        score: Score,
        exclude: Exclude | None,
        query_index: Tensor,
        counts: RankCounts,
    ) -> None:
        self.tiles, self.target, self.exclude, self.counts = tiles, target, exclude, counts
        self.key_bias, self.score, self.query_index = key_bias, score, query_index
        self.distinct = query_index.numel() == tiles.queries.shape[0] and bool(
            (query_index.diff() == 1).all()
        )
        self.own = Exclude.csr(torch.arange(target.numel() + 1, device=target.device), target)
        exact, anchor = torch.empty(2, target.numel(), dtype=torch.float64, device=target.device)
        for part in self._gatherable(target.numel()):
            exact[part] = self._exact(query_index[part], target[part])
            anchor[part] = tiles.anchor(query_index[part], target[part])
        self.exact = exact
        self.anchor = anchor.to(tiles.dtype)
        self.slack = tiles.slack(query_index, anchor).to(tiles.dtype)

    def run(self, rows: int) -> None:
        """Visit all tiles and add them up."""
        for queries in blocks(self.tiles.queries.shape[0], rows):
            edges = self.query_index.new_tensor([queries.start, queries.stop])
            begin, end = torch.searchsorted(self.query_index, edges).tolist()
            if begin == end:
                continue
            parts = [slice(begin + b.start, begin + b.stop) for b in blocks(end - begin, rows)]
            hide_own = [self.own.rows(part.start, part.stop) for part in parts]
            hide = None
            if self.exclude is not None:
                hide = self.exclude.rows(queries.start, queries.stop)
            for tile in self.tiles.of(queries.start, queries.stop):
                if not self.tiles.bounded:
                    require_finite(tile.scores, queries.start)
                if hide is not None:
                    hide(tile.scores, tile.first, tile.last)
                for part, hide_target in zip(parts, hide_own, strict=True):
                    scores = tile.scores
                    if not self.distinct:
                        scores = scores.index_select(0, self.query_index[part] - queries.start)
                    hide_target(scores, tile.first, tile.last)
                    self._count(scores, part, tile.first)

    def _count(self, scores: Tensor, part: slice, first: int) -> None:
        anchor, slack = self.anchor[part], self.slack[part]
        undecided = count_tile(scores, anchor, self.counts.rows(part), slack=slack)
        assert undecided is not None
        rows = undecided.nonzero()[:, 0]
        if rows.numel() == 0:
            return
        low, high = undecided_band(anchor[rows], slack[rows])
        scores = scores[rows]
        near = (scores >= low[:, None]) & ~(scores > high[:, None])
        i, j = near.nonzero().unbind(1)
        rows, keys = rows[i] + part.start, j + first
        for some in self._gatherable(rows.numel()):
            row = rows[some]
            exact, own = self._exact(self.query_index[row], keys[some]), self.exact[row]
            self.counts.greater.index_add_(0, row, (exact > own).long())
            self.counts.equal.index_add_(0, row, (exact == own).long())

    def _gatherable(self, count: int) -> list[slice]:
        return list(blocks(count, max(1, _GATHERED // max(1, self.tiles.keys.shape[1]))))

    def _exact(self, queries: Tensor, keys: Tensor) -> Tensor:
        bias = None if self.key_bias is None else self.key_bias[keys]
        return score_pairs(self.tiles.queries[queries], self.tiles.keys[keys], bias, self.score)


def _check(
    queries: Tensor,
    keys: Tensor,
    target: Tensor,
    key_bias: Tensor | None,
    score: str,
    query_index: Tensor | None,
    tile: tuple[int, int] | None,
) -> None:
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}; choose from {', '.join(SCORES)}")
    if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            "queries and keys must be (Q, D) and (K, D), got "
            f"{tuple(queries.shape)} and {tuple(keys.shape)}"
        )
    if queries.dtype != keys.dtype or not queries.is_floating_point():
        raise ValueError(
            "queries and keys must share one floating-point dtype, got "
            f"{queries.dtype} and {keys.dtype}"
        )
    if score == "rotate" and keys.shape[1] % 2:
        raise ValueError(f"rotate needs real and imaginary parts, but D = {keys.shape[1]} is odd")
    named = {"queries": queries, "target": target, "key_bias": key_bias, "query_index": query_index}
    for name, tensor in named.items():
        if tensor is not None and tensor.device != keys.device:
            raise ValueError(f"{name} is on {tensor.device}, keys are on {keys.device}")
    if key_bias is not None and (
        key_bias.shape != keys.shape[:1] or not key_bias.is_floating_point()
    ):
        raise ValueError(
            f"key_bias must hold one float per key, ({keys.shape[0]},), got {key_bias.dtype} of "
            f"shape {tuple(key_bias.shape)}"
        )
    rows = queries.shape[:1] if query_index is None else query_index.shape
    if target.dtype != torch.int64 or target.dim() != 1 or target.shape != rows:
        raise ValueError(
            f"target must be int64 of shape {tuple(rows)}, got {target.dtype} of shape "
            f"{tuple(target.shape)}"
        )
    _check_ids("target", target, keys.shape[0])
    if query_index is not None:
        if query_index.dtype != torch.int64 or bool((query_index.diff() < 0).any()):
            raise ValueError("query_index must be int64 and must not decrease: sort the targets")
        _check_ids("query_index", query_index, queries.shape[0])
    if tile is not None and min(tile) < 1:
        raise ValueError(f"tile needs at least one row and one column, got {tile}")


def _check_ids(name: str, ids: Tensor, count: int) -> None:
    bad = ids[(ids < 0) | (ids >= count)]
    if bad.numel():
        raise ValueError(f"{name} names {int(bad[0])}, but ids run from 0 to {count - 1}")
