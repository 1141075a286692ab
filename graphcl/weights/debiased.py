"""Negatives that may be of the anchor's class: a correction of their sum."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from graphcl.kernels.weights import TileWeight
from graphcl.weights.view_sums import Both, ViewSums
from graphcl.weights.weighting import Weighting


class Debiased(Weighting):
    r"""Debiased contrastive loss, Chuang et al., 2020, arXiv 2007.00224.

    If a share :math:`\tau^+` of the M negatives of an anchor is of its own class, the sum over true
    negatives is estimated by

    .. math:: \max\Big\{ \frac{\sum_j w_{ij} e^{s_{ij}/\tau} - M \tau^+ e^{s_{ii}/\tau}}
                               {1 - \tau^+},\; M e^{-1/\tau} \Big\},

    the second being the least that M cosine similarities can give. Computed from logarithms, so
    that no exponential overflows; where the floor is taken there is no gradient.

    Args:
        tau_plus: share of false negatives, in [0, 1).
        weight: weights of the negatives in the sum, a tile weight or another weighting such as
            :class:`HardTilt` (Robinson et al., 2021); default all alike.

    Example:
        >>> z = torch.eye(3)
        >>> sums = Debiased(0.0).log_negatives(ViewSums(z, z, 1.0))
        >>> sums[0].exp()
        tensor([4., 4., 4.])
    """

    paper: ClassVar[str] = "Chuang et al., 2020, arXiv 2007.00224"

    def __init__(self, tau_plus: float = 0.1, weight: TileWeight | Weighting | None = None) -> None:
        if not 0 <= tau_plus < 1:
            raise ValueError(f"tau_plus must lie in [0, 1), got {tau_plus}")
        self.tau_plus, self.weight = tau_plus, weight

    def log_negatives(self, sums: ViewSums) -> Both:
        """See :meth:`Weighting.log_negatives`."""
        if isinstance(self.weight, Weighting):
            total = self.weight.log_negatives(sums)
        else:
            total = sums.negatives(self.weight)
        if self.tau_plus == 0:
            return total
        count = sums.log_count() + math.log(2 if sums.intra_view else 1)
        positive = sums.positive / sums.tau
        forward = self._corrected(total[0], count, positive, sums.tau)
        if total[0] is total[1]:
            return forward, forward
        return forward, self._corrected(total[1], count, positive, sums.tau)

    def _corrected(self, total: Tensor, count: Tensor, positive: Tensor, tau: float) -> Tensor:
        """Log of the corrected sum from the log of the sum and of the number of its terms."""
        count = count.to(total.dtype)
        taken = count + math.log(self.tau_plus) + positive
        floor = count - 1 / tau
        left = taken < total
        share = torch.where(left, taken - total, -1.0)
        value = total + (-torch.expm1(share)).log() - math.log(1 - self.tau_plus)
        return torch.where(left & (value > floor), value, floor)
