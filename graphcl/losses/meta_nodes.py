"""Clusters as meta-nodes: their sums and sizes, and how well they stand for their members."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from graphcl.kernels.segments import segment_sum
from graphcl.kernels.unit_rows import unit_rows


class MetaNodes(NamedTuple):
    """The clusters that have members.

    Args:
        total: (K', D) sums of member rows, by membership.
        size: (K',) sums of memberships, positive.
    """

    total: Tensor
    size: Tensor

    def rows(self, similarity: Literal["cos", "mean"]) -> Tensor:
        """(K', D) rows whose products are the similarities of clusters."""
        if similarity == "cos":
            return unit_rows(self.total)
        return self.total / self.size[:, None]


def meta_nodes(rows: Tensor, assignment: Tensor, count: int | None = None) -> MetaNodes:
    """Sum rows by cluster; clusters without members are left out.

    Args:
        rows: (N, D).
        assignment: (N,) int64 cluster of each row, or (N, K) memberships, which get gradients.
        count: K, for labels; default the largest label plus one.

    Raises:
        ValueError: shapes that do not fit, labels out of range, or memberships that are negative or
            NaN.

    Example:
        >>> meta_nodes(torch.eye(3), torch.tensor([0, 2, 2])).size
        tensor([1., 2.])
    """
    if assignment.shape[:1] != rows.shape[:1] or assignment.dim() not in (1, 2):
        raise ValueError(
            f"assignment must be ({rows.shape[0]},) or ({rows.shape[0]}, K), got "
            f"{tuple(assignment.shape)}"
        )
    if assignment.dim() == 1:
        total = segment_sum(rows, assignment, num_segments=count)
        size = torch.bincount(assignment, minlength=total.shape[0]).to(rows.dtype)
    else:
        check_memberships(assignment)
        total, size = assignment.T @ rows, assignment.sum(0)
    present = (size > 0).nonzero().flatten()
    return MetaNodes(total[present], size[present])


def check_memberships(assignment: Tensor) -> None:
    """Refuse memberships (N, K) that are negative or NaN."""
    wrong = ~(assignment >= 0)
    if bool(wrong.any()):
        raise ValueError(
            f"memberships must not be negative or NaN, got {float(assignment[wrong][0])}"
        )


def predicted_gap(unit: Tensor, label: Tensor, tau: float) -> float:
    r"""How far size-weighted means fall short of the exact log-sum, to second order in 1/tau.

    For clusters a and b of unit rows with means :math:`\mu` and covariances :math:`\Sigma`, the sum
    over their pairs exceeds :math:`n_a n_b e^{\mu_a \cdot \mu_b / \tau}` by the share
    :func:`block_excess`. The mean of logs lies below the log of the mean by half the variance of
    the logs inside a cluster. With :math:`w_{ab}` the share of b in the log-sum of a and
    :math:`m_a = \sum_b w_{ab} \mu_b`, that gives

    .. math:: \sum_a \frac{n_a}{N} \Big(\sum_b w_{ab}\, excess_{ab}
              - \frac{m_a^\top \Sigma_a m_a}{2 \tau^2}\Big).

    Args:
        unit: (N, D) unit rows.
        label: (N,) int64 clusters.
        tau: temperature.
    """
    size, mean, covariance = _moments(unit, label)
    logits = mean @ mean.T / tau + size.log()
    share = logits.softmax(1)
    pull = share @ mean
    spread = torch.einsum("ad,ade,ae->a", pull, covariance, pull) / (2 * tau * tau)
    excess = (share * _excess(mean, covariance, tau)).sum(1)
    return float((size / size.sum() * (excess - spread)).sum())


def block_excess(unit: Tensor, label: Tensor, tau: float) -> Tensor:
    r"""Relative excess (K', K') of the sum over pairs over its proxy, to second order in 1/tau.

    .. math:: \frac{1}{2\tau^2} \big(\mu_b^\top \Sigma_a \mu_b + \mu_a^\top \Sigma_b \mu_a
              + \mathrm{tr}\, \Sigma_a \Sigma_b\big),

    never negative, and of the order of :math:`(1 - \|\mu\|^2) / \tau^2`: harmless for tight
    clusters and temperatures of about one, not for the small temperatures that are usual elsewhere.

    Args:
        unit: (N, D) unit rows.
        label: (N,) int64 clusters; those without members are left out.
        tau: temperature.
    """
    _, mean, covariance = _moments(unit, label)
    return _excess(mean, covariance, tau)


def _excess(mean: Tensor, covariance: Tensor, tau: float) -> Tensor:
    crossed = torch.einsum("bd,ade,be->ab", mean, covariance, mean)
    joint = torch.einsum("ade,bed->ab", covariance, covariance)
    return (crossed + crossed.T + joint) / (2 * tau * tau)


def _moments(unit: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes (K',), means (K', D) and covariances (K', D, D); one cluster's rows at a time."""
    present = label.unique()
    members = [unit[label == one] for one in present]
    size = unit.new_tensor([len(rows) for rows in members])
    mean = torch.stack([rows.mean(0) for rows in members])
    second = torch.stack([rows.T @ rows / len(rows) for rows in members])
    return size, mean, second - mean[:, :, None] * mean[:, None, :]
