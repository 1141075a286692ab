"""Weightings that look at an anchor's positive, or at all of its negatives, before they weigh."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from graphcl.kernels.weights import TileWeight
from graphcl.weights.view_sums import Both, ViewSums


class Weighting(ABC):
    """What ``InfoNCE(weight=...)`` takes where a weight per pair is not enough.

    A :class:`~graphcl.kernels.TileWeight` knows one pair at a time. A weighting sees the sums
    themselves: it may scale weights by their mean over an anchor's negatives, or correct the sum.
    It holds nothing of size N x N: every sum is one call of the tiled kernel.
    """

    paper: ClassVar[str] = ""

    @abstractmethod
    def log_negatives(self, sums: ViewSums) -> Both:
        """Log of what the negatives of every anchor add to the denominator.

        Args:
            sums: the two views and the sums over their pairs.

        Returns:
            (N,) for anchors of view 1 and (N,) for anchors of view 2; -inf without negatives.
        """


def log_mean_scale(sums: ViewSums, log_weights: Both) -> Both:
    """Log of the factor that gives weights the mean one, from the log of their sums in one view."""
    count = sums.log_count()
    forward = _difference(count, log_weights[0])
    if log_weights[0] is log_weights[1]:
        return forward, forward
    return forward, _difference(count, log_weights[1])


def mean_one(sums: ViewSums, weight: TileWeight, *, detach: bool = True) -> Both:
    """Log-sums with weights scaled to mean one over all negatives of an anchor.

    Args:
        sums: the two views.
        weight: log-weights of pairs up to a factor per anchor.
        detach: whether the scale is a constant for the gradient.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
        mean = log_mean_scale(sums, sums.weights_alone.negatives(weight))
    views = math.log(2 if sums.intra_view else 1)
    total = sums.negatives(weight)
    return total[0] + mean[0] + views, total[1] + mean[1] + views


def _difference(count: Tensor, log_sum: Tensor) -> Tensor:
    """The logarithm of a quotient, 0 where there was nothing to sum."""
    empty = log_sum == -torch.inf
    return (count.masked_fill(empty, 0.0) - log_sum.masked_fill(empty, 0.0)).to(log_sum.dtype)
