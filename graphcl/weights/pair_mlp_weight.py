"""AdaMEOW's learned weights: a small network of the pair that factorises over its two ends."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels.tiles import blocks
from graphcl.kernels.weights import Grads, TileWeight

# Rows of a tile at a time, so that what is computed of them stays in the nearest cache.
_STRIP = 64


class PairMLPWeight(TileWeight):
    r"""Weight of a pair, :math:`\omega_{ij} = \sigma(w \cdot \tanh(u_i + v_j) + b)`.

    With :math:`u_i = W y_i + c` and :math:`v_j = W y_j` this is a two-layer network of
    :math:`y_i + y_j`: the sum is taken after the first layer, so that a tile costs O(r c H) time
    and O(r c) memory, one hidden unit after the other, forward and backward. The units are
    :math:`\tanh(u + v) = 1 - 2 / (1 + e^{2u} e^{2v})`: exponentials of rows, not of pairs.

    Args:
        query_hidden: (Q, H) u, may require a gradient.
        key_hidden: (K, H) v, may require a gradient.
        out_weight: (H,) w, may require a gradient.
        out_bias: (1,) b, may require a gradient.
    """

    def __init__(
        self, query_hidden: Tensor, key_hidden: Tensor, out_weight: Tensor, out_bias: Tensor
    ) -> None:
        widths = {query_hidden.shape[-1], key_hidden.shape[-1], out_weight.numel()}
        if query_hidden.dim() != 2 or key_hidden.dim() != 2 or len(widths) != 1:
            raise ValueError(
                "PairMLPWeight needs (Q, H), (K, H) and (H,), got "
                f"{tuple(query_hidden.shape)}, {tuple(key_hidden.shape)} and "
                f"{tuple(out_weight.shape)}"
            )
        if out_bias.numel() != 1:
            raise ValueError(f"out_bias must be one number, got {tuple(out_bias.shape)}")
        self.parameters = (query_hidden, key_hidden, out_weight, out_bias)
        # Gradients of a tile are asked for right after the tile: it is kept till the next.
        self._last: tuple[slice, slice, Tensor] | None = None

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        got = (len(self.parameters[0]), len(self.parameters[1]))
        if got != (num_queries, num_keys):
            raise ValueError(
                f"PairMLPWeight has {got[0]} queries and {got[1]} keys, but there are "
                f"{num_queries} and {num_keys}"
            )

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`; tanh lies within -1 and 1."""
        reach = float(parameters[2].abs().sum()) + float(parameters[3].abs())
        return (-(reach + math.log(2)), 0.0) if math.isfinite(reach) else None

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        query, key, weight, bias = parameters
        if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
            hidden = torch.tanh(query[rows, None] + key[None, columns])
            return F.logsigmoid(hidden @ weight + bias)
        units = _HiddenUnits(query[rows], key[columns])
        shares = weight.tolist()
        total = torch.empty(units.shape, dtype=query.dtype, device=query.device)
        for strip in units.strips():
            part = total[strip].fill_(float(bias))
            for unit, share in enumerate(shares):
                part.add_(units.of(strip, unit), alpha=share)
        value = F.logsigmoid(total)
        self._last = (rows, columns, value)
        return value

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """See :meth:`TileWeight.backward_tile`; the hidden units are computed again, one by one."""
        if all(slot is None for slot in out):
            return None
        query, key, weight, _ = parameters
        # d log sigmoid(t) / dt = 1 - sigmoid(t).
        last = self._last
        if last is not None and last[:2] == (rows, columns):
            value = last[2]
        else:
            value = self.tile(parameters, rows, columns, None)
        self._last = None
        into = -torch.expm1(value) * grad
        if out[3] is not None:
            out[3] += into.sum()
        units = _HiddenUnits(query[rows], key[columns])
        for strip in units.strips():
            arriving = into[strip]
            at = slice(rows.start + strip.start, rows.start + strip.stop)
            by_row, by_column = arriving.sum(1), arriving.sum(0)
            for unit, share in enumerate(weight.tolist()):
                h = units.of(strip, unit)
                if out[2] is not None:
                    out[2][unit] += (arriving * h).sum()
                # The derivative of tanh is 1 - tanh^2.
                square = h.square_().mul_(arriving)
                if out[0] is not None:
                    out[0][at, unit] += share * (by_row - square.sum(1))
                if out[1] is not None:
                    out[1][columns, unit] += share * (by_column - square.sum(0))
        return None


class _HiddenUnits:
    """The hidden units of a tile, a strip of rows and a unit at a time, in one buffer."""

    def __init__(self, query: Tensor, key: Tensor) -> None:
        self.query, self.key = query, key
        self.shape = (len(query), len(key))
        self.buffer = query.new_empty(min(_STRIP, len(query)), len(key))
        # Within these bounds no exponential, and no product that matters, leaves the range.
        self.factors: tuple[Tensor, Tensor] | None = None
        if query.numel() and float(query.abs().max()) < 40 and float(key.abs().max()) < 40:
            self.factors = (2 * query).exp(), (2 * key).exp().T.contiguous()

    def strips(self) -> Iterator[slice]:
        """Consecutive rows that stay in cache."""
        return blocks(self.shape[0], _STRIP)

    def of(self, strip: slice, unit: int) -> Tensor:
        """tanh(u + v) of one unit; overwritten by the next call."""
        out = self.buffer[: strip.stop - strip.start]
        if self.factors is None:
            return torch.add(self.query[strip, unit, None], self.key[:, unit], out=out).tanh_()
        rows, columns = self.factors
        torch.mul(rows[strip, unit, None], columns[unit], out=out)
        return out.add_(1).reciprocal_().mul_(-2).add_(1)
