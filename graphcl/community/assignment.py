"""Soft assignment of nodes to communities by distance to learned centres."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphcl.kernels.unit_rows import unit_rows
from graphcl.losses.temperature import check_tau

Similarity = Literal["cos", "rbf"]


def soft_assignment(
    h: Tensor, centres: Tensor, *, tau: float = 0.5, similarity: Similarity = "cos"
) -> Tensor:
    r"""Membership of every node in every community (gCooL, Li et al., 2022, arXiv 2110.14863).

    ``cos`` is the softmax over centres of :math:`h_i \cdot c_k / \tau`, ``rbf`` of
    :math:`-\|h_i - c_k\|^2 / \tau^2`, with centres divided by their norm.

    Args:
        h: (N, D) unit rows.
        centres: (K, D).
        tau: temperature (``cos``) or width of the kernel (``rbf``).
        similarity: ``cos`` or ``rbf``.

    Returns:
        (N, K), rows sum to one.

    Raises:
        ValueError: shapes that do not fit, tau out of range or an unknown similarity.

    Example:
        >>> soft_assignment(torch.eye(2), torch.eye(2), tau=0.01).round()
        tensor([[1., 0.],
                [0., 1.]])
    """
    if h.dim() != 2 or centres.dim() != 2 or h.shape[1] != centres.shape[1]:
        raise ValueError(
            f"h must be (N, D) and centres (K, D), got {tuple(h.shape)} and {tuple(centres.shape)}"
        )
    check_tau(tau)
    if similarity not in ("cos", "rbf"):
        raise ValueError(f"unknown similarity {similarity!r}; choose cos or rbf")
    products = h @ unit_rows(centres).T
    # For unit centres the squared distance is |h|^2 + 1 - 2 h.c, and a softmax ignores |h|^2 + 1.
    scale = tau if similarity == "cos" else tau * tau / 2
    return torch.softmax(products / scale, dim=1)
