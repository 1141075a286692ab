"""AdaMEOW's loss: negatives weighed by a small network of the pair that factorises."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.kernels.weights import TileWeight
from graphcl.losses.precision import widened
from graphcl.losses.temperature import check_tau
from graphcl.weights.pair_mlp_weight import PairMLPWeight

Mode = Literal["paper", "official"]


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
        check_tau(tau)
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
