"""Scores of (query, key) pairs: exact ones for single pairs, fast ones for whole tiles.

A tile is computed in working precision by whatever is quickest (a matrix product, or a sum over
coordinates), so its last digits depend on the shape of the product and on the place in it. Each
tile therefore comes with a *slack*: scores further than that from a value are on the side of it
on which they appear to be; the few pairs within are decided by :func:`score_pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from graphcl.kernels.reference import working_dtype
from graphcl.kernels.tiles import blocks

Score = Literal["dot", "l2", "l1", "rotate"]
SCORES: tuple[Score, ...] = ("dot", "l2", "l1", "rotate")


def score_pairs(queries: Tensor, keys: Tensor, bias: Tensor | None, score: Score) -> Tensor:
    """Scores of pairs (..., D) and (..., D) in float64; the definition of every score.

    Without a bias, ``l2`` is left squared: only the order of scores is ever used, and squared
    distances tie exactly where distances do.
    """
    queries, keys = queries.double(), keys.double()
    if score == "dot":
        value = (queries * keys).sum(-1)
    elif score == "l2":
        value = -(queries - keys).square().sum(-1)
        if bias is not None:
            value = -value.neg().sqrt()
    elif score == "l1":
        value = -(queries - keys).abs().sum(-1)
    else:
        real, imaginary = (queries - keys).chunk(2, dim=-1)
        value = -(real.square() + imaginary.square()).sqrt().sum(-1)
    return value if bias is None else value + bias.double()


class Tile(NamedTuple):
    """Fast scores of one block of queries against keys ``first:last``, overwritten by the next."""

    first: int
    last: int
    scores: Tensor


class PairTiles:
    """Tiles of the (Q, K) score matrix in working precision, one buffer for all of them.

    Args:
        queries: (Q, D).
        keys: (K, D).
        bias: (K,) added to the scores, or None.
        score: one of ``SCORES``.
        shape: rows and columns of a tile.
        rounding: relative error of products beyond that of exact ones summed in working precision;
            None is what torch's setting allows.
    """

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        bias: Tensor | None,
        score: Score,
        shape: tuple[int, int],
        *,
        rounding: float | None = None,
    ) -> None:
        self.queries, self.keys, self.score = queries, keys, score
        self.dtype = working_dtype(queries, keys)
        self.columns = shape[1]
        self.product = score == "dot" or (score == "l2" and bias is None)
        query_norm = _row_norms(queries, shape[1])
        key_norm = _row_norms(keys, shape[1])
        self.bias = bias
        if self.product and score == "l2":
            # |q|^2 shifts a row as a whole: q.k - |k|^2 / 2 orders keys as the distance does.
            self.bias = key_norm.square().mul_(-0.5)
        self._row_bias = None if self.bias is None else self.bias.to(self.dtype)
        largest_bias = 0.0 if self.bias is None else float(self.bias.abs().amax())
        largest_key = float(key_norm.amax())
        if rounding is None:
            rounding = _operand_rounding() if self.dtype == torch.float32 else 0.0
        self._set_precision(query_norm, largest_key, largest_bias, rounding)
        self._buffers = [
            torch.empty(shape[0] * shape[1], dtype=self.dtype, device=keys.device)
            for _ in range(1 if self.product else 3 if score == "rotate" else 2)
        ]

    def _set_precision(
        self, query_norm: Tensor, largest_key: float, largest_bias: float, rounding: float
    ) -> None:
        """Bound the size of all scores and the error of each row's scores, from norms alone."""
        width = self.keys.shape[1]
        info = torch.finfo(self.dtype)
        if self.product:
            reach = query_norm * largest_key + largest_bias
        else:
            # A sum of |coordinates| is at most sqrt(D) times the norm.
            reach = (query_norm + largest_key) * width**0.5 + 2 * largest_bias
        limit = float(reach.amax()) if self.product else float(reach.amax()) ** 2
        self.bounded = limit < info.max / 4
        """Whether every intermediate result is known to be finite; false if an input is not."""
        # Rounding errors of a sum of D products or moduli add up to at most about D * eps / 2 of
        # the sum of absolute values; twice that covers the rounding of the compared score as well.
        self._relative = (width + 8) * info.eps
        if self.product:
            self._relative += rounding
        self._reach, self._bias_reach = reach, 2 * largest_bias
        # Squares of differences below sqrt(tiny) vanish.
        self._absolute = (width + 8) * (info.tiny if self.product else info.tiny**0.5)

    def anchor(self, rows: Tensor, keys: Tensor) -> Tensor:
        """Scores (float64) of queries ``rows`` and ``keys`` (ids) on the scale of the tiles."""
        kind: Score = "dot" if self.product else self.score
        bias = None if self.bias is None else self.bias[keys]
        return score_pairs(self.queries[rows], self.keys[keys], bias, kind)

    def slack(self, rows: Tensor, anchor: Tensor) -> Tensor:
        """How far from the anchor (float64) a score of the tile is beyond doubt."""
        size = self._reach[rows] if self.product else anchor.abs() + self._bias_reach
        return size * self._relative + self._absolute

    def of(self, start: int, stop: int) -> Iterator[Tile]:
        """Tiles of queries ``start:stop`` against all keys."""
        queries = self.queries[start:stop].to(self.dtype)
        if not self.product:
            queries = queries.t().contiguous()[:, :, None]
        for columns in blocks(self.keys.shape[0], self.columns):
            size = columns.stop - columns.start
            views = [b[: (stop - start) * size].view(stop - start, size) for b in self._buffers]
            bias = None if self._row_bias is None else self._row_bias[columns]
            keys = self.keys[columns].to(self.dtype)
            if not self.product:
                _DISTANCES[self.score](queries, keys.t().contiguous()[:, None], *views)
                views[0].neg_()
                if bias is not None:
                    views[0].add_(bias)
            elif bias is None:
                torch.mm(queries, keys.t(), out=views[0])
            else:
                torch.addmm(bias, queries, keys.t(), out=views[0])
            yield Tile(columns.start, columns.stop, views[0])


def _l1(queries: Tensor, keys: Tensor, total: Tensor, part: Tensor) -> None:
    """Sum of |q - k| over (D, R, 1) and (D, 1, C), coordinate by coordinate, into ``total``."""
    total.zero_()
    for q, k in zip(queries.unbind(), keys.unbind(), strict=True):
        torch.sub(q, k, out=part)
        total.add_(part.abs_())


def _l2(queries: Tensor, keys: Tensor, total: Tensor, part: Tensor) -> None:
    """Euclidean distances, without the cancellation of the matrix product."""
    total.zero_()
    for q, k in zip(queries.unbind(), keys.unbind(), strict=True):
        torch.sub(q, k, out=part)
        total.addcmul_(part, part)
    total.sqrt_()


def _rotate(queries: Tensor, keys: Tensor, total: Tensor, real: Tensor, imaginary: Tensor) -> None:
    """Sum of moduli of complex differences; real parts come first, then imaginary parts."""
    total.zero_()
    half = len(queries) // 2
    q, k = queries.unbind(), keys.unbind()
    for c in range(half):
        torch.sub(q[c], k[c], out=real)
        torch.sub(q[half + c], k[half + c], out=imaginary)
        total.add_(real.mul_(real).addcmul_(imaginary, imaginary).sqrt_())


_DISTANCES: dict[str, Callable[..., None]] = {"l1": _l1, "l2": _l2, "rotate": _rotate}


def _row_norms(rows: Tensor, size: int) -> Tensor:
    """Euclidean norms in float64, in blocks, so that no copy of all rows is made."""
    norms = torch.empty(rows.shape[0], dtype=torch.float64, device=rows.device)
    for part in blocks(rows.shape[0], size):
        norms[part] = rows[part].double().square().sum(-1).sqrt()
    return norms


def _operand_rounding() -> float:
    """Error of float32 products whose operands torch has been allowed to round first."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # raised once the precision was set per backend
        precision = "unknown"
    # TF32 keeps 11 significant bits of each operand, bfloat16 keeps 8.
    return {"highest": 0.0, "high": 2.0**-9}.get(precision, 2.0**-6)
