"""Candidates too similar to be negatives are left out."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from graphcl.kernels.weights import SimilarityWeight


class SimilarityFilter(SimilarityWeight):
    """False-negative elimination by a threshold, Huynh et al., 2022, arXiv 2011.11765.

    A candidate whose similarity with the anchor is above ``threshold`` counts as a false negative
    and takes no part (above by more than 1e-6 of it: rounding separates equal rows by less). A tile
    weight: usable in :func:`~graphcl.kernels.negative_logsumexp` too.

    Args:
        threshold: largest similarity of a negative, not divided by tau; at 1 or more no cosine is
            left out.

    Example:
        >>> from graphcl.kernels import negative_logsumexp
        >>> z = torch.eye(3)  # each row's own similarity is 1
        >>> negative_logsumexp(z, z, log_weight=SimilarityFilter(0.9)).exp()
        tensor([2., 2., 2.])
    """

    paper: ClassVar[str] = "Huynh et al., 2022, arXiv 2011.11765"

    def __init__(self, threshold: float) -> None:
        if math.isnan(threshold):
            raise ValueError(f"threshold must be a number, got {threshold}")
        self.threshold = threshold
        self._limit = threshold * (1 + math.copysign(1e-6, threshold))
        super().__init__(self._log_weight)

    def _log_weight(self, similarity: Tensor) -> Tensor:
        none = torch.zeros((), dtype=similarity.dtype, device=similarity.device)
        return torch.where(similarity > self._limit, -torch.inf, none)

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        return 0.0, 0.0
