"""Log-sums over the negatives of every node in two views, in both directions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp, two_sided_logsumexp
from graphcl.kernels.reference import working_dtype
from graphcl.kernels.weights import TileWeight

Both = tuple[Tensor, Tensor]
"""One value per anchor of view 1 (N,) and per anchor of view 2 (N,)."""

# With this temperature s / tau vanishes beside any log-weight, and (s / tau) * tau is exactly s.
_WEIGHTS_ALONE = 2.0**60


@dataclass(frozen=True)
class ViewSums:
    """The sums of which two-view losses are made; each is one call of the tiled kernel.

    Args:
        z1: (N, D) nodes in view 1, unit rows for cosine similarities.
        z2: (N, D) the same nodes in view 2.
        tau: temperature.
        intra_view: whether nodes of the anchor's own view are negatives too.
        symmetric: whether anchors of view 2 are wanted; otherwise both results are view 1's.
        exclude: further pairs (anchor, candidate) that are no negatives in either view.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.

    Example:
        >>> z = torch.eye(3)
        >>> ViewSums(z, z, 1.0).negatives()[0].exp()  # four orthogonal negatives
        tensor([4., 4., 4.])
    """

    z1: Tensor
    z2: Tensor
    tau: float
    intra_view: bool = True
    symmetric: bool = True
    exclude: Exclude | None = None
    impl: Impl = "auto"

    @property
    def positive(self) -> Tensor:
        """Similarity (N,) of every node with itself in the other view, not divided by tau."""
        return (self.z1 * self.z2).sum(1)

    @property
    def weights_alone(self) -> ViewSums:
        """The same sums with similarities left out: what remains are sums of weights."""
        return replace(self, tau=_WEIGHTS_ALONE)

    def inter(self, weight: TileWeight | None = None, *, with_positive: bool = False) -> Both:
        """Log of ``sum_j w_ij exp(s_ij / tau)`` over the other view.

        Args:
            weight: of (anchor i, candidate j), for anchors of either view.
            with_positive: leave the positive pair among the candidates.
        """
        hidden = self.exclude if with_positive else with_diagonal(self.exclude)
        alike = (weight is None or weight.symmetric) and (hidden is None or hidden.symmetric)
        if self.symmetric and alike:
            return two_sided_logsumexp(
                self.z1,
                self.z2,
                tau=self.tau,
                log_weight=weight,
                exclude=hidden,
                impl=self.impl,
            )
        rows = partial(
            negative_logsumexp,
            tau=self.tau,
            log_weight=weight,
            exclude=hidden,
            impl=self.impl,
        )
        forward = rows(self.z1, self.z2)
        return forward, rows(self.z2, self.z1) if self.symmetric else forward

    def intra(self, weight: TileWeight | None = None, weight2: TileWeight | None = None) -> Both:
        """Log of ``sum_j w_ij exp(r_ij / tau)`` over the anchor's own view.

        Args:
            weight: of (anchor i, candidate j), for anchors of view 1.
            weight2: for anchors of view 2; default ``weight``.
        """
        rows = partial(
            negative_logsumexp,
            tau=self.tau,
            exclude=with_diagonal(self.exclude),
            impl=self.impl,
        )
        forward = rows(self.z1, self.z1, log_weight=weight)
        if not self.symmetric:
            return forward, forward
        return forward, rows(self.z2, self.z2, log_weight=weight2 or weight)

    def negatives(self, weight: TileWeight | None = None) -> Both:
        """Log-sums over all negatives: the other view's, and the own view's if wanted."""
        inter = self.inter(weight)
        return log_add(inter, self.intra(weight)) if self.intra_view else inter

    @torch.no_grad()
    def log_count(self) -> Tensor:
        """Log of the number of negatives (N,) in one view; -inf for a node without any."""
        if self.exclude is None:
            count = math.log(self.z1.shape[0] - 1)
            return self.z1.new_full(self.z1.shape[:1], count, dtype=working_dtype(self.z1, self.z2))
        return replace(self.weights_alone, symmetric=False).inter()[0]


def log_add(first: Both, second: Both) -> Both:
    """Log of the sum of two sums given by their logarithms; without either, -inf."""
    forward = _logaddexp(first[0], second[0])
    if first[0] is first[1] and second[0] is second[1]:
        return forward, forward
    return forward, _logaddexp(first[1], second[1])


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    # torch's gradient is NaN where both are -inf.
    neither = (a == -torch.inf) & (b == -torch.inf)
    return torch.where(neither, -torch.inf, torch.logaddexp(a.masked_fill(neither, 0.0), b))


def with_diagonal(exclude: Exclude | None) -> Exclude:
    """An exclusion and the positive pairs."""
    own = Exclude.diagonal()
    return own if exclude is None else own | exclude
