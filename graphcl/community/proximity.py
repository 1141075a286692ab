"""Spectral clustering of proximity kernels of a graph, and of their logarithms."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from graphcl.community.partitions import ordered_labels
from graphcl.views.edges import check_edge_index

Kernel = Literal["communicability", "heat", "regularized_laplacian"]
KERNELS: tuple[Kernel, ...] = ("communicability", "heat", "regularized_laplacian")
_FLOOR = 1e-15
"""Least entry a logarithm is taken of, as a share of the largest."""


def proximity_kernel(
    edge_index: Tensor,
    num_nodes: int,
    kernel: Kernel = "communicability",
    *,
    t: float = 1.0,
    log: bool = False,
    max_nodes: int = 5000,
) -> Tensor:
    r"""Proximity of every pair of nodes, (N, N) in float64.

    Ivashkin and Chebotarev, 2016, arXiv 1605.01046. With the adjacency A and the Laplacian L of the
    undirected simple graph:

    - ``communicability``: :math:`e^{t (A - \lambda I)}` with the largest eigenvalue
      :math:`\lambda` of A, so that it never overflows: a factor, hence the same clusters;
    - ``heat``: :math:`e^{-t L}`;
    - ``regularized_laplacian``: :math:`(I + t L)^{-1}`.

    ``log`` takes the logarithm of every entry, which the paper finds to be better in most cases.
    Entries that are zero, between components or lost to rounding (below 1e-15 of the largest),
    count as 1e-15 of the largest. Communicability grows by orders of magnitude with a component:
    there it is the largest of the component, and entries between components count as 1e-15 of the
    least within one. This is a dense decomposition in O(N^3), for small graphs.

    Args:
        edge_index: (2, E); directions and copies of an edge are one edge, self loops are left out.
        num_nodes: N.
        kernel: one of the three.
        t: scale, positive.
        log: take logarithms.
        max_nodes: largest N that is accepted.

    Raises:
        ValueError: unknown kernel, t out of range, bad edges, or more than ``max_nodes`` nodes.

    Example:
        >>> pair = torch.tensor([[0, 1], [1, 0]])
        >>> proximity_kernel(pair, 2, "regularized_laplacian")
        tensor([[0.6667, 0.3333],
                [0.3333, 0.6667]], dtype=torch.float64)
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; choose from {', '.join(KERNELS)}")
    if not (t > 0 and math.isfinite(t)):
        raise ValueError(f"t must be positive and finite, got {t}")
    if not 1 <= num_nodes <= max_nodes:
        raise ValueError(
            f"a proximity kernel is a dense {num_nodes} x {num_nodes} matrix, and at most "
            f"max_nodes={max_nodes} nodes are accepted; use louvain or leiden, or raise max_nodes "
            f"({num_nodes**2 * 8 / 2**30:.1f} GiB a matrix)"
        )
    check_edge_index(edge_index, num_nodes)
    edges = edge_index.cpu().long()
    adjacency = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = 1
    adjacency = torch.maximum(adjacency, adjacency.T).fill_diagonal_(0)
    if kernel == "communicability":
        return _log_communicability(adjacency, t) if log else _communicability(adjacency, t)[0]
    values, vectors = torch.linalg.eigh(torch.diag(adjacency.sum(1)) - adjacency)
    spectrum = (-t * values).exp() if kernel == "heat" else 1 / (1 + t * values)
    proximity = (vectors * spectrum) @ vectors.T
    return _floored_log(proximity) if log else proximity


def _communicability(adjacency: Tensor, t: float) -> tuple[Tensor, float]:
    """The kernel, and the exponent that its entries are scaled down by."""
    values, vectors = torch.linalg.eigh(adjacency)
    return (vectors * (t * (values - values[-1])).exp()) @ vectors.T, t * float(values[-1])


def _log_communicability(adjacency: Tensor, t: float) -> Tensor:
    component = torch.from_numpy(connected_components(adjacency.numpy())[1])
    blocks, top = [], 0.0
    for number in range(int(component.max()) + 1):
        nodes = (component == number).nonzero()[:, 0]
        block, scale = _communicability(adjacency[nodes][:, nodes], t)
        blocks.append((nodes, _floored_log(block) + scale))
        top = max(top, scale)
    least = min(float(block.min()) for _, block in blocks)
    found = torch.full_like(adjacency, least + math.log(_FLOOR))
    for nodes, block in blocks:
        found[nodes[:, None], nodes] = block
    return found - top


def _floored_log(proximity: Tensor) -> Tensor:
    return proximity.clamp_min(_FLOOR * float(proximity.max())).log()


def spectral_communities(
    edge_index: Tensor,
    num_nodes: int,
    num_communities: int,
    *,
    kernel: Kernel = "communicability",
    t: float = 1.0,
    log: bool = False,
    seed: int = 0,
    max_nodes: int = 5000,
) -> Tensor:
    """Communities by spectral clustering of a proximity kernel or its logarithm.

    k-means on the leading eigenvectors of the doubly centred kernel, each scaled by the root of its
    eigenvalue (kernel principal components).

    Args:
        edge_index: (2, E).
        num_nodes: N.
        num_communities: K, from 1 to N.
        kernel: see :func:`proximity_kernel`, as ``t``, ``log``, ``max_nodes`` and errors.
        t: scale.
        log: use the logarithm of the kernel.
        seed: of k-means.
        max_nodes: largest N that is accepted.

    Returns:
        (N,) int64 labels from 0, the largest community first.
    """
    if not 1 <= num_communities <= num_nodes:
        raise ValueError(f"num_communities must be within 1..{num_nodes}, got {num_communities}")
    proximity = proximity_kernel(edge_index, num_nodes, kernel, t=t, log=log, max_nodes=max_nodes)
    from sklearn.cluster import KMeans

    centred = proximity - proximity.mean(0) - proximity.mean(1)[:, None] + proximity.mean()
    values, vectors = torch.linalg.eigh(centred)
    rows = vectors[:, -num_communities:] * values[-num_communities:].clamp_min(0).sqrt()
    means = KMeans(num_communities, n_init=10, random_state=seed).fit(rows.numpy())
    return ordered_labels(torch.from_numpy(means.labels_.astype(np.int64)))
