"""AdaMEOW's loss: negatives weighed by a small network of the pair that factorises."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.kernels.weights import Grads, TileWeight
from graphcl.losses.meow import widened

Mode = Literal["paper", "official"]


class PairMLPWeight(TileWeight):
    r"""Weight of a pair, :math:`\omega_{ij} = \sigma(w \cdot \tanh(u_i + v_j) + b)`.

    With :math:`u_i = W y_i + c` and :math:`v_j = W y_j` this is a two-layer network of
    :math:`y_i + y_j`: the sum is taken after the first layer, so that a tile costs O(r c H) time
    and O(r c) memory, one hidden unit after the other, forward and backward.

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
        total = bias.expand(len(query[rows]), len(key[columns])).clone()
        for unit in range(query.shape[1]):
            total += weight[unit] * _unit(query, key, rows, columns, unit)
        return F.logsigmoid(total)

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
        into = -torch.expm1(self.tile(parameters, rows, columns, None)) * grad
        if out[3] is not None:
            out[3] += into.sum()
        for unit in range(query.shape[1]):
            hidden = _unit(query, key, rows, columns, unit)
            if out[2] is not None:
                out[2][unit] += (into * hidden).sum()
            if out[0] is None and out[1] is None:
                continue
            before = hidden.square_().neg_().add_(1).mul_(into).mul_(weight[unit])
            if out[0] is not None:
                out[0][rows, unit] += before.sum(1)
            if out[1] is not None:
                out[1][columns, unit] += before.sum(0)
        return None


def _unit(query: Tensor, key: Tensor, rows: slice, columns: slice, unit: int) -> Tensor:
    return (query[rows, unit, None] + key[columns, unit]).tanh_()


class AdaMEOWLoss(nn.Module):
    r"""Contrast whose negatives are weighed by a learned function of the pair (arXiv 2212.13847).

    .. math:: L = \text{mean}_i \Big( -s_{ii} + \log \sum_j \bar\omega_{ij} e^{s_{ij}} \Big), \quad
              \omega_{ij} = \sigma(w \cdot \tanh(W (y_i + y_j) + c) + b),

    the positive among the candidates and weighed like them. In ``paper`` mode
    :math:`\bar\omega_{ij} = \omega_{ij} / \text{mean}_j \omega_{ij}`. The release
    (``mode="official"``) leaves the weights as they are: its loss falls without end as all
    :math:`\omega` go to zero, and diverges when it is trained for long.

    Beware: the network is trained to make the loss small, so what it learns, normalised or not, is
    to weigh similar (hard) candidates down.

    Args:
        channels: width D of the embeddings.
        hidden: width H of the network.
        tau: temperature.
        mode: ``paper`` or ``official``.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.
    """

    def __init__(
        self,
        channels: int,
        hidden: int = 16,
        *,
        tau: float = 0.5,
        mode: Mode = "paper",
        impl: Impl = "auto",
    ) -> None:
        super().__init__()
        if not (tau > 0 and math.isfinite(tau)):
            raise ValueError(f"tau must be positive and finite, got {tau}")
        if mode not in ("paper", "official"):
            raise ValueError(f"unknown mode {mode!r}; choose paper or official")
        if min(channels, hidden) < 1:
            raise ValueError(f"channels={channels}, hidden={hidden}: must be positive")
        self.tau, self.mode = tau, mode
        self.impl: Impl = impl
        self.first = nn.Linear(channels, hidden)
        self.last = nn.Linear(hidden, 1)

    def weight(self, anchors: Tensor, candidates: Tensor) -> PairMLPWeight:
        """The weight of all pairs, as its small factors."""
        matrix, bias = self.first.weight.to(anchors), self.first.bias.to(anchors)
        return PairMLPWeight(
            anchors @ matrix.T + bias,
            candidates @ matrix.T,
            self.last.weight[0].to(anchors),
            self.last.bias.to(anchors),
        )

    def forward(self, anchors: Tensor, candidates: Tensor) -> Tensor:
        """The mean loss, a scalar.

        Args:
            anchors: (N, D) fine embeddings, unit rows.
            candidates: (N, D) coarse embeddings of the same nodes, unit rows.

        Raises:
            ValueError: shapes that do not fit.
        """
        if anchors.shape != candidates.shape or anchors.dim() != 2 or not len(anchors):
            raise ValueError(
                f"both views must be (N, D), got {tuple(anchors.shape)} and "
                f"{tuple(candidates.shape)}"
            )
        with torch.autocast(anchors.device.type, enabled=False):
            anchors, candidates = widened(anchors, candidates)
            weight = self.weight(anchors, candidates)
            return self.contrast(anchors, candidates, weight)

    def contrast(self, anchors: Tensor, candidates: Tensor, weight: TileWeight) -> Tensor:
        """The loss for given weights of the pairs."""
        total = negative_logsumexp(
            anchors, candidates, tau=self.tau, log_weight=weight, impl=self.impl
        )
        loss = total - (anchors * candidates).sum(1) / self.tau
        if self.mode == "paper":
            nothing = anchors.new_zeros(len(anchors), 1)
            mass = negative_logsumexp(
                nothing, torch.zeros_like(nothing), log_weight=weight, impl=self.impl
            )
            loss = loss - mass + math.log(len(candidates))
        return loss.mean()
