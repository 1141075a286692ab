"""MEOW's losses: negatives graded by clusterings, and prototypes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.kernels.segments import segment_mean
from graphcl.kernels.unit_rows import unit_rows
from graphcl.losses.precision import widened
from graphcl.losses.temperature import check_tau
from graphcl.weights.cluster_weight import ClusterWeight


class PrototypeLoss(nn.Module):
    r"""Contrast of nodes with the centroids of their clusters, at several granularities.

    .. math:: L = \frac1M \sum_m \text{mean}_i\; -\log
              \frac{e^{a_i \cdot \mu_{c_i} / \phi_{c_i}}}
                   {\frac{N}{K_m} \sum_k e^{a_i \cdot \mu_k / \phi_k}}

    with centroids :math:`\mu` of unit length and concentrations
    :math:`\phi_k = \tau \rho_k / \text{mean}(\rho)`, where :math:`\rho_k` is the mean distance of
    the members to their centre divided by :math:`\log(n_k + 5)`. A cluster of one node takes the
    largest :math:`\rho`, and all are clipped to their 10th and 90th percentiles, no less than a
    hundredth of their mean. (MEOW's release puts similarities where the distances belong, which
    turns the concentrations round.) Centroids are constants for the gradient. Time O(N sum K),
    memory O(N + sum K).

    Args:
        tau: mean temperature.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.
    """

    def __init__(self, tau: float = 0.5, impl: Impl = "auto") -> None:
        super().__init__()
        self.tau = check_tau(tau)
        self.impl: Impl = impl

    def forward(self, anchors: Tensor, members: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar.

        Args:
            anchors: (N, D) unit rows.
            members: (N, D) the embeddings that were clustered, unit rows.
            labels: (N, M) int64 clusters.

        Raises:
            ValueError: shapes that do not fit.
        """
        _check_views(anchors, members, labels)
        anchors, members = widened(anchors, members)
        terms = []
        for column in labels.T:
            _, own = column.unique(return_inverse=True)
            count = int(own.max()) + 1
            centre, concentration = self._clusters(members.detach(), own, count)
            scaled = centre / concentration[:, None]
            total = negative_logsumexp(anchors, scaled, impl=self.impl)
            attraction = (anchors * scaled[own]).sum(1)
            terms.append((total - attraction).mean() + math.log(len(own) / count))
        return torch.stack(terms).mean()

    def _clusters(self, members: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Unit centroids (K, D) and concentrations (K,)."""
        sizes = torch.bincount(own, minlength=count).to(members)
        centre = segment_mean(members, own, num_segments=count)
        distance = (members - centre[own]).norm(dim=1)
        spread = segment_mean(distance, own, num_segments=count) / (sizes + 5).log()
        spread = torch.where(sizes == 1, spread.max(), spread)
        low, high = torch.quantile(spread, torch.tensor([0.1, 0.9]).to(spread))
        spread = spread.clamp(low, high)
        # Clusters of equal points all over have no spread to compare.
        mean = spread.mean()
        relative = spread / mean if float(mean) > 1e-6 else torch.ones_like(spread)
        return unit_rows(centre), self.tau * relative.clamp_min(1e-2)


class MEOWLoss(nn.Module):
    r"""Weighted contrast of coarse anchors and fine candidates (Yu et al., 2023, arXiv 2212.13847).

    .. math:: L = \text{mean}_i \Big( -s_{ii} + \log \sum_j \omega_{ij} e^{s_{ij}} \Big)
              + \lambda L_{proto}, \qquad s_{ij} = a_i \cdot f_j / \tau,

    where :math:`\omega_{ij}` counts the clusterings that separate i and j: pairs that all of them
    put together are no negatives, the others are graded. The positive stands in no denominator. A
    node that no clustering separates from anything has no negatives and is left out of the mean.
    Weights are computed inside tiles: no N x N matrix exists.

    Args:
        tau: temperature.
        proto_weight: :math:`\lambda`.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.

    Relations: with all nodes in clusters of their own, :class:`~graphcl.losses.InfoNCE` of given
    rows (``normalize=False``), one direction, negatives of the other view alone and no positive in
    the denominator (``symmetric=False, intra_view=False, decoupled=True``), plus :math:`\log M`.

    Example:
        >>> y = torch.eye(3)
        >>> labels = torch.arange(3)[:, None]
        >>> round(float(MEOWLoss(tau=1.0, proto_weight=0.0)(y, y, labels)), 4)  # log(2) - 1
        -0.3069
    """

    def __init__(self, tau: float = 0.5, proto_weight: float = 1.0, impl: Impl = "auto") -> None:
        super().__init__()
        if not (proto_weight >= 0 and math.isfinite(proto_weight)):
            raise ValueError(f"proto_weight must be finite and not negative, got {proto_weight}")
        self.tau, self.proto_weight = check_tau(tau), proto_weight
        self.prototypes = PrototypeLoss(tau, impl)
        self.impl: Impl = impl

    def forward(self, anchors: Tensor, candidates: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar.

        Args:
            anchors: (N, D) coarse embeddings, unit rows.
            candidates: (N, D) fine embeddings of the same nodes, unit rows.
            labels: (N, M) int64 clusters of the fine embeddings, a column for each granularity.

        Raises:
            ValueError: shapes that do not fit.
        """
        _check_views(anchors, candidates, labels)
        with torch.autocast(anchors.device.type, enabled=False):
            anchors, candidates = widened(anchors, candidates)
            negatives = negative_logsumexp(
                anchors,
                candidates,
                tau=self.tau,
                log_weight=ClusterWeight(labels),
                impl=self.impl,
            )
            some = negatives != -torch.inf
            positive = (anchors * candidates).sum(1) / self.tau
            contrast = torch.where(some, negatives - positive, 0.0).sum() / some.sum().clamp_min(1)
            if not self.proto_weight:
                return contrast
            prototypes: Tensor = self.prototypes(anchors, candidates, labels)
            return contrast + self.proto_weight * prototypes


def _check_views(anchors: Tensor, candidates: Tensor, labels: Tensor) -> None:
    if anchors.shape != candidates.shape or anchors.dim() != 2 or not len(anchors):
        raise ValueError(
            f"both views must be (N, D), got {tuple(anchors.shape)} and {tuple(candidates.shape)}"
        )
    shaped = labels.dim() == 2 and labels.shape[0] == len(anchors) and labels.shape[1] > 0
    if not shaped or labels.is_floating_point():
        raise ValueError(
            f"labels must be integers ({len(anchors)}, M) with M > 0, got {tuple(labels.shape)} of "
            f"{labels.dtype}"
        )


def cluster_counts(nodes: int, clusters: Sequence[int]) -> tuple[int, ...]:
    """The granularities, checked.

    Raises:
        ValueError: none is given, or one is not within 1..N.
    """
    if not clusters:
        raise ValueError("clusters is empty; give numbers of clusters such as [100, 300]")
    for count in clusters:
        if not 1 <= count <= nodes:
            raise ValueError(f"{count} clusters of {nodes} nodes; give numbers within 1..{nodes}")
    return tuple(clusters)
