"""ProGCL's weights: the probability of being a true negative, times the hardness."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import ClassVar, Literal

import torch
from torch import Tensor

from graphcl.kernels.weights import SimilarityWeight, TileWeight
from graphcl.weights.beta_mixture import BetaMixture
from graphcl.weights.other_similarity import OtherSimilarityWeight
from graphcl.weights.paired_views import paired_view_sums
from graphcl.weights.view_sums import Both, ViewSums, log_add
from graphcl.weights.weighting import Weighting, log_mean_scale

Intra = Literal["inter", "own"]


class ProGCLWeight(Weighting):
    r"""Weights of ProGCL, Xia et al., 2022, arXiv 2110.02027.

    :math:`w_{ij} = B_{ij} / \mathrm{mean}_{j \ne i} B_{ij}` with
    :math:`B_{ij} = p_{neg}(u_{ij}) u_{ij}`, :math:`u = (s + 1) / 2` and the posterior of a fitted
    :class:`BetaMixture`. Each direction has its own weights, from its own anchors. The mean over a
    row is one more sum; B is never stored. Weights are constants for the gradient.

    Args:
        mixture: fitted to the similarities between the views.
        intra: where the weight of the pair (i, j) within a view comes from: ``inter``, the
            similarity of i with j in the other view (the paper: a pair of nodes has one weight), or
            ``own``, their similarity within the view, which is about half as much work.
        frozen: (N, D) anchors and (N, D) candidates whose similarities decide for both directions
            and both views, as in the release; default the current views.

    Raises:
        ValueError: unknown ``intra``.
    """

    paper: ClassVar[str] = "ProGCL, Xia et al., 2022, arXiv 2110.02027"

    def __init__(
        self,
        mixture: BetaMixture,
        intra: Intra = "inter",
        frozen: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        if intra not in ("inter", "own"):
            raise ValueError(f"unknown intra {intra!r}; choose inter or own")
        self.mixture, self.intra, self.frozen = mixture, intra, frozen

    def log_negatives(self, sums: ViewSums) -> Both:
        """See :meth:`Weighting.log_negatives`."""
        # The backward pass asks again, when the mixture may have been fitted anew.
        mixture = deepcopy(self.mixture)
        function, extent = mixture.log_weight, mixture.extent
        weight: TileWeight = HardnessWeight(function, extent)
        first = second = weight
        if self.frozen is not None:
            weight = first = second = OtherSimilarityWeight(function, *self.frozen, extent)
        elif self.intra == "inter":
            paired = paired_view_sums(sums, mixture.weight)
            if paired is not None:
                return _scaled(paired[0], log_mean_scale(sums, paired[1]))
            first = OtherSimilarityWeight(function, sums.z1, sums.z2, extent)
            second = OtherSimilarityWeight(function, sums.z2, sums.z1, extent)
        with torch.no_grad():
            scale = log_mean_scale(sums, sums.weights_alone.inter(weight))
        inter = _scaled(sums.inter(weight), scale)
        if not sums.intra_view:
            return inter
        if self.intra == "own" and self.frozen is None:
            with torch.no_grad():
                scale = log_mean_scale(sums, sums.weights_alone.intra(weight))
        return log_add(inter, _scaled(sums.intra(first, second), scale))


class HardnessWeight(SimilarityWeight):
    """The weight B of a pair from its own similarity, not scaled, with known bounds."""

    def __init__(self, function: Callable[[Tensor], Tensor], extent: tuple[float, float]) -> None:
        super().__init__(function)
        self.extent = extent

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        return self.extent


def _scaled(total: Both, scale: Both) -> Both:
    forward = total[0] + scale[0]
    return forward, forward if total[0] is total[1] else total[1] + scale[1]
