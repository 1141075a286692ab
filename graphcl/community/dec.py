"""Clusters as the heads of a Student distribution, sharpened by its own target (DEC)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphcl.losses.precision import widened


def student_assignment(z: Tensor, centres: Tensor, *, freedom: float = 1.0) -> Tensor:
    r"""Membership of every node in every cluster (DEC, Xie et al., 2016, arXiv 1511.06335).

    .. math:: q_{ik} \propto (1 + \|z_i - c_k\|^2 / v)^{-(v + 1) / 2}

    Args:
        z: (N, D) nodes; half precision is widened.
        centres: (K, D).
        freedom: degrees of freedom v.

    Returns:
        (N, K), rows sum to one; no (N, K, D) tensor is formed.

    Raises:
        ValueError: shapes that do not fit, or v out of range.

    Example:
        >>> student_assignment(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        tensor([[0.6667, 0.3333]])
    """
    if z.dim() != 2 or centres.dim() != 2 or z.shape[1] != centres.shape[1]:
        raise ValueError(
            f"z must be (N, D) and centres (K, D), got {tuple(z.shape)} and {tuple(centres.shape)}"
        )
    if not (freedom > 0 and math.isfinite(freedom)):
        raise ValueError(f"freedom must be positive and finite, got {freedom}")
    z, centres = widened(z, centres)
    # Differences, not products: far from the origin those lose the digits that matter here.
    distance = torch.cdist(z, centres, compute_mode="donot_use_mm_for_euclid_dist")
    log_kernel = -(freedom + 1) / 2 * torch.log1p(distance.square() / freedom)
    return log_kernel.softmax(1)


def sharpened_target(assignment: Tensor) -> Tensor:
    r"""DEC's target :math:`p_{ik} \propto q_{ik}^2 / \sum_i q_{ik}`, detached, rows sum to one.

    Args:
        assignment: (N, K) memberships. A cluster without any gets no target either.
    """
    q = assignment.detach()
    tiny = torch.finfo(q.dtype).tiny
    weight = q.square() / q.sum(0).clamp(min=tiny)
    return weight / weight.sum(1, keepdim=True).clamp(min=tiny)


def clustering_divergence(target: Tensor, assignment: Tensor) -> Tensor:
    r"""Mean over nodes of the divergence :math:`\sum_k p_{ik} \log (p_{ik} / q_{ik})`, a scalar.

    Args:
        target: (N, K), rows sum to one; zeros are allowed.
        assignment: (N, K), positive where the target is; gets the gradient.

    Raises:
        ValueError: the shapes differ.
    """
    if target.shape != assignment.shape or target.dim() != 2:
        raise ValueError(
            f"target and assignment must both be (N, K), got {tuple(target.shape)} and "
            f"{tuple(assignment.shape)}"
        )
    # The derivative of 0 log 0 is 0 / 0 for autograd, and memberships may be rounded to 0.
    positive = assignment.clamp_min(torch.finfo(assignment.dtype).tiny)
    each = torch.xlogy(target, target) - torch.xlogy(target, positive)
    return each.sum(1).mean()
