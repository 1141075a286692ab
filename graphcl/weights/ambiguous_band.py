"""Negatives about as similar to the anchor as its positive count most."""

from __future__ import annotations

import math
from typing import ClassVar

from graphcl.kernels.weights import SimilarityWeight
from graphcl.weights.view_sums import Both, ViewSums
from graphcl.weights.weighting import Weighting, mean_one


class AmbiguousBand(Weighting):
    r"""Ambiguous negatives of SimANS, Zhou et al., 2022, arXiv 2210.11773.

    SimANS samples negatives in proportion to :math:`e^{-a (s_{ij} - s_{ii} - b)^2}`: not the easy
    ones, not those more similar than the positive, which are likely false. Here every negative
    takes part with that weight, scaled to mean one over an anchor's negatives in both views, which
    is the expectation of the sampled sum. Weights are constants for the gradient.

    Args:
        sharpness: a; 0 weighs all negatives alike.
        offset: b, the distance of the band's middle from the positive's similarity.

    Example:
        >>> import torch
        >>> z = torch.eye(3)
        >>> sums = AmbiguousBand(2.0).log_negatives(ViewSums(z, z, 0.5))  # all equally ambiguous
        >>> sums[0].exp()
        tensor([4., 4., 4.])
    """

    paper: ClassVar[str] = "SimANS, Zhou et al., 2022, arXiv 2210.11773"

    def __init__(self, sharpness: float = 1.0, offset: float = 0.0) -> None:
        if not (sharpness >= 0 and math.isfinite(sharpness)):
            raise ValueError(f"sharpness must be finite and not negative, got {sharpness}")
        if not math.isfinite(offset):
            raise ValueError(f"offset must be finite, got {offset}")
        self.sharpness, self.offset = sharpness, offset

    def log_negatives(self, sums: ViewSums) -> Both:
        """See :meth:`Weighting.log_negatives`."""
        a, b = self.sharpness, self.offset
        # The positive's similarity is the same number for both of its ends.
        band = SimilarityWeight(lambda s, own: -a * (s - own - b) ** 2, sums.positive.detach())
        return mean_one(sums, band)
