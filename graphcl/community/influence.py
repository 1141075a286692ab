"""Influence of nodes on each other over a few steps: weighted positives, always sparse."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from graphcl.views.edges import check_edge_index
from graphcl.views.pair_keys import random_key

_MOST_PAIRS = 1 << 26
_ROW_ENTRIES = 1 << 22
"""Entries of the product that one piece of rows may fill, at worst."""


def influence_pairs(
    edge_index: Tensor,
    num_nodes: int,
    order: int,
    *,
    cumulative: bool = True,
    keep: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Sparse powers of the random walk with self-loops (SCGC and PamCGC, arXiv 2209.14067).

    With T the row-normalised :math:`\max(A, A^\top) + I`, influence is :math:`\sum_{k=1}^r T^k`
    (rows sum to r) or, without ``cumulative``, :math:`T^r`. Rows are worked on piece by piece; the
    full product, dense for r = 4 on most graphs, is never formed when ``keep`` is given.

    Args:
        edge_index: (2, E) edges. One direction is enough; repeated edges count once, self-loops
            are those of I.
        num_nodes: N.
        order: r.
        cumulative: sum over all steps.
        keep: keep so many of the largest entries of each row; among equal ones chance decides, the
            same every time, and not the order of nodes, which may follow their classes. What is
            dropped is not made up for: in the loss a scale of a row is a constant.

    Returns:
        Pairs (2, P), sorted, and their influence (P,) in float32.

    Raises:
        ValueError: edges or settings out of range, or, without ``keep``, more than 67 million
            pairs.

    Example:
        >>> pairs, weight = influence_pairs(torch.tensor([[0], [1]]), 2, 2)
        >>> weight
        tensor([1., 1., 1., 1.])
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep must be at least 1, or None for all, got {keep}")
    ptr, index = _neighbours(edge_index, num_nodes, order)
    degree = np.diff(ptr)
    entries = np.repeat(1.0 / degree, degree)
    walk = sp.csr_matrix((entries, index, ptr), shape=(num_nodes, num_nodes))
    step = max(1, _ROW_ENTRIES // max(num_nodes, 1))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    held = 0
    for start in range(0, num_nodes, step):
        power = walk[start : start + step]
        total = power
        for _ in range(order - 1):
            power = power @ walk
            total = total + power if cumulative else power
        part = _largest(total, keep, start)
        held += len(part[0])
        if held > _MOST_PAIRS:
            raise ValueError(
                f"influence of order {order} has more than {_MOST_PAIRS} pairs on this graph; keep "
                "the largest of each row (keep=64), or sample walks"
            )
        parts.append(part)
    row, column, value = (np.concatenate(group) for group in zip(*parts, strict=True))
    pairs = torch.from_numpy(np.stack([row, column]).astype(np.int64))
    return pairs.to(edge_index.device), torch.from_numpy(value).float().to(edge_index.device)


def sampled_influence(
    edge_index: Tensor,
    num_nodes: int,
    order: int,
    walks: int,
    *,
    cumulative: bool = True,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """An unbiased draw of :func:`influence_pairs` from random walks, in O(N walks order) memory.

    Each node sends out ``walks`` walks of ``order`` steps and notes where they pass (or, without
    ``cumulative``, end); the share of the visits is the influence, and rows still sum to it. The
    logarithm in the loss makes the loss itself slightly biased.

    Args:
        edge_index: as in :func:`influence_pairs`, as the other arguments and errors.
        num_nodes: N.
        order: steps of a walk.
        walks: number of walks from each node.
        cumulative: note all steps, or the last alone.
        generator: source of randomness; torch's global one if None.
    """
    if walks < 1:
        raise ValueError(f"walks must be at least 1, got {walks}")
    ptr, index = (torch.from_numpy(a) for a in _neighbours(edge_index, num_nodes, order))
    start = torch.arange(num_nodes).repeat_interleave(walks)
    here, visits = start, []
    for _ in range(order):
        draw = torch.rand(len(here), generator=generator, dtype=torch.float64)
        degree = ptr[here + 1] - ptr[here]
        here = index[ptr[here] + (draw * degree).long().clamp(max=degree - 1)]
        visits.append(here)
    visits = visits if cumulative else visits[-1:]
    pairs = torch.stack([start.repeat(len(visits)), torch.cat(visits)])
    counts = torch.ones(pairs.shape[1])
    pairs, counts = coalesce(pairs, counts, num_nodes=num_nodes)
    return pairs.to(edge_index.device), (counts / walks).to(edge_index.device)


def _neighbours(edge_index: Tensor, num_nodes: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR offsets and neighbours of the undirected graph, every node a neighbour of itself."""
    check_edge_index(edge_index)
    if num_nodes < 1 or order < 1:
        raise ValueError(
            f"num_nodes and order must be at least 1, got num_nodes={num_nodes}, order={order}"
        )
    check_edge_index(edge_index, num_nodes)
    edges = to_undirected(remove_self_loops(edge_index.cpu().long())[0], num_nodes=num_nodes)
    loops = torch.arange(num_nodes).expand(2, -1)
    row, column = coalesce(torch.cat([edges, loops], 1), num_nodes=num_nodes).numpy()
    ptr = np.zeros(num_nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=num_nodes), out=ptr[1:])
    return ptr, column.copy()


def _largest(
    matrix: sp.csr_matrix, keep: int | None, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of the ``keep`` largest entries of each row from ``first`` on."""
    matrix.sort_indices()
    row = np.repeat(np.arange(first, first + matrix.shape[0]), np.diff(matrix.indptr))
    column, value = matrix.indices, matrix.data
    if keep is not None:
        key = random_key(matrix.shape[1], 0)(row, column)
        # In single precision equal sums are equal whatever order they were added in.
        order = np.lexsort((key, -value.astype(np.float32), row))
        place = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
        kept = np.sort(order[place < keep])
        row, column, value = row[kept], column[kept], value[kept]
    return row, column, value
