"""ReSC: contrast of nodes with the centroids of the other view's communities."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.kernels.weights import GroupWeight, KeyWeight
from graphcl.losses.precision import widened
from graphcl.losses.temperature import check_tau

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


class ReSC(nn.Module):
    r"""Reweighted self-supervised cross-contrast of gCooL (Li et al., 2022, arXiv 2110.14863).

    A node i of one view is drawn to the centroid of its community in the other view and pushed from
    the other centroids,

    .. math:: \ell_i = -\log\frac{e_{i,own}}{e_{i,own} + \sum_{k \ne own} \omega_{own,k} e_{ik}},
              \quad \omega_{kl} = e^{-\gamma \|C_k - C_l\|^2},

    averaged over nodes and both directions, with :math:`e = \exp(h \cdot C / \tau)` (``cos``) or
    :math:`\exp(-\|h - C\|^2 / \tau^2)` (``rbf``). Centroids are constants for the gradient. Empty
    communities take no part. The released settings never reach :math:`\gamma`; here it is live with
    both similarities, 0 turns it off.
    Time and memory O(N K + N D): no (N, K, D) tensor is formed.

    Args:
        tau: temperature (``cos``) or width of the kernel (``rbf``).
        gamma: how fast the weight of a centroid falls with its distance from the own one.
        similarity: ``cos`` or ``rbf``.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.
        mode: ``official`` for the release's departures: empty communities are negatives at the
            origin, and with ``cos`` no weight is taken.

    Example:
        >>> h = torch.eye(3)
        >>> own = torch.arange(3)
        >>> round(float(ReSC(tau=1e6)(h, h, own, own, 3)), 4)  # log(3)
        1.0986
    """

    def __init__(
        self,
        tau: float = 0.5,
        gamma: float = 0.0,
        similarity: Literal["cos", "rbf"] = "cos",
        impl: Impl = "auto",
        mode: Literal["paper", "official"] = "paper",
    ) -> None:
        super().__init__()
        check_tau(tau)
        if not (gamma >= 0 and math.isfinite(gamma)):
            raise ValueError(f"gamma must be finite and not negative, got {gamma}")
        if similarity not in ("cos", "rbf"):
            raise ValueError(f"unknown similarity {similarity!r}; choose cos or rbf")
        if mode not in ("paper", "official"):
            raise ValueError(f"unknown mode {mode!r}; choose paper or official")
        self.tau, self.gamma, self.similarity, self.mode = tau, gamma, similarity, mode
        self.impl: Impl = impl

    def forward(
        self, h1: Tensor, h2: Tensor, community1: Tensor, community2: Tensor, count: int
    ) -> Tensor:
        """The mean loss, a scalar.

        Args:
            h1: (N, D) nodes in view 1, unit rows. Half precision is widened.
            h2: (N, D) the same nodes in view 2.
            community1: (N,) int64 labels below ``count`` in view 1.
            community2: (N,) likewise in view 2.
            count: K.

        Raises:
            ValueError: shapes that do not fit, or labels out of range.
        """
        if h1.shape != h2.shape or h1.dim() != 2 or not len(h1):
            raise ValueError(
                f"views must both be (N, D), got {tuple(h1.shape)} and {tuple(h2.shape)}"
            )
        for name, label in (("community1", community1), ("community2", community2)):
            if label.shape != h1.shape[:1] or label.dtype not in _INTEGERS:
                raise ValueError(
                    f"{name} must hold {h1.shape[0]} integers, got {tuple(label.shape)} "
                    f"of {label.dtype}"
                )
            if label.numel() and not 0 <= int(label.min()) <= int(label.max()) < count:
                raise ValueError(
                    f"{name} runs from {int(label.min())} to {int(label.max())}, but there are "
                    f"{count} communities"
                )
        with torch.autocast(h1.device.type, enabled=False):
            h1, h2 = widened(h1, h2)
            first = self._one(h1, h2, community2, count)
            return (first + self._one(h2, h1, community1, count)) / 2

    def _one(self, anchors: Tensor, others: Tensor, own: Tensor, count: int) -> Tensor:
        """Mean over anchors, with communities and centroids of the other view."""
        own = own.long()
        with torch.no_grad():
            size = torch.bincount(own, minlength=count)
            total = others.new_zeros(count, others.shape[1]).index_add(0, own, others)
            centroid = total / size.clamp(min=1)[:, None]
            # Of -|h - C|^2 the term |h|^2 is the same for all centroids and cancels.
            scale = self.tau if self.similarity == "cos" else self.tau * self.tau / 2
            bias = torch.zeros_like(centroid[:, 0])
            if self.similarity == "rbf":
                bias = -centroid.square().sum(1) / (self.tau * self.tau)
            official = self.mode == "official"
            gamma = 0.0 if official and self.similarity == "cos" else self.gamma
            table = -gamma * torch.cdist(centroid, centroid).square()
            table.fill_diagonal_(0.0)
            alone = bias if official else bias.masked_fill(size == 0, -torch.inf)
        everyone = torch.arange(count, device=own.device)
        weight = GroupWeight(table, own, everyone) + KeyWeight(alone)
        whole = negative_logsumexp(anchors, centroid, tau=scale, log_weight=weight, impl=self.impl)
        positive = (anchors * centroid[own]).sum(1) / scale + bias[own]
        return (whole - positive).mean()

    def extra_repr(self) -> str:
        """Settings shown by ``print``."""
        return f"tau={self.tau}, gamma={self.gamma}, similarity={self.similarity}, mode={self.mode}"
