"""Nodes of one cluster are no negatives of each other."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.weights.view_sums import Both, ViewSums
from graphcl.weights.weighting import Weighting


class SameCluster(Weighting):
    """Elimination of false negatives by clusters, Chen et al., 2022, arXiv 2106.03719.

    Pairs with the same label are left out of the negatives in both views; the positive stays. The
    same as ``InfoNCE()(z1, z2, exclude=Exclude.same_group(label, label))``, for labels that are
    known beforehand, such as those of :mod:`graphcl.community`.

    Args:
        label: (N,) int64 clusters; a negative label belongs to none.

    Example:
        >>> import torch
        >>> z = torch.eye(3)
        >>> SameCluster(torch.tensor([0, 0, 1])).log_negatives(ViewSums(z, z, 1.0))[0].exp()
        tensor([2., 2., 4.])
    """

    paper: ClassVar[str] = "Chen et al., 2022, arXiv 2106.03719"

    def __init__(self, label: Tensor) -> None:
        self.exclusion = Exclude.same_group(label, label)

    def log_negatives(self, sums: ViewSums) -> Both:
        """See :meth:`Weighting.log_negatives`."""
        own = self.exclusion
        hidden = own if sums.exclude is None else own | sums.exclude
        return replace(sums, exclude=hidden).negatives()
