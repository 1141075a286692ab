"""Hard negatives count more: an exponential tilt by similarity."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from graphcl.kernels.weights import SimilarityWeight
from graphcl.weights.view_sums import Both, ViewSums
from graphcl.weights.weighting import Weighting, log_mean_scale, mean_one


class HardTilt(Weighting):
    r"""Hard-negative weights of Robinson et al., 2021, arXiv 2010.04592.

    :math:`w_{ij} \propto e^{\beta s_{ij} / \tau}`, scaled to mean one over an anchor's negatives
    in both views: the importance weights of sampling negatives in proportion to that tilt. The
    paper's correction for false negatives on top is ``Debiased(tau_plus, HardTilt(beta))``.

    Args:
        beta: strength; 0 weighs all negatives alike.
        detach: weights are constants for the gradient; as released, gradients flow through them.

    Example:
        >>> import torch
        >>> z = torch.eye(3)
        >>> sums = HardTilt(2.0).log_negatives(ViewSums(z, z, 0.5))  # all equally hard
        >>> sums[0].exp()
        tensor([4., 4., 4.])
    """

    paper: ClassVar[str] = "Robinson et al., 2021, arXiv 2010.04592"

    def __init__(self, beta: float = 1.0, *, detach: bool = False) -> None:
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"beta must be finite and not negative, got {beta}")
        self.beta, self.detach = beta, detach

    def log_negatives(self, sums: ViewSums) -> Both:
        """See :meth:`Weighting.log_negatives`."""
        if self.beta == 0:
            return sums.negatives()
        slope = self.beta / sums.tau
        if self.detach:
            return mean_one(sums, SimilarityWeight(lambda s: slope * s))
        # With gradients the tilt is but another temperature.
        views = math.log(2 if sums.intra_view else 1)
        total = replace(sums, tau=sums.tau / (1 + self.beta)).negatives()
        mean = log_mean_scale(sums, replace(sums, tau=1 / slope).negatives())
        return total[0] + mean[0] + views, total[1] + mean[1] + views
