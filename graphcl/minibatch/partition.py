"""Clusters of a graph's nodes, for batches that hold many of their own edges."""

from __future__ import annotations

import torch
import torch_geometric.typing
from torch import Tensor
from torch_geometric.data import Data

from graphcl.community.partitions import louvain
from graphcl.minibatch.options import Partition

# Louvain in Python takes about a second for 20,000 edges.
_LOUVAIN_EDGES = 500_000


def partition_nodes(
    edge_index: Tensor,
    num_nodes: int,
    parts: int,
    *,
    method: Partition = "auto",
    seed: int = 0,
) -> Tensor:
    """Cut a graph into clusters with few edges between them.

    - ``metis``: PyG's ``ClusterData``, which needs pyg-lib with METIS or torch-sparse.
    - ``louvain``: :func:`graphcl.community.louvain`; as many communities as there are (not
      ``parts``).
    - ``bandwidth``: SciPy's reverse Cuthill-McKee order, which puts neighbours next to each other,
      cut evenly; for graphs of any size, with more edges cut than the others.
    - ``auto``: METIS if installed, else Louvain up to 500,000 edges, else ``bandwidth``.

    Args:
        edge_index: (2, E).
        num_nodes: N.
        parts: number of clusters.
        method: see above.
        seed: of Louvain.

    Returns:
        (N,) int64 labels.

    Raises:
        ValueError: ``parts`` out of range, or METIS that is not installed.
    """
    if not 1 <= parts <= num_nodes:
        raise ValueError(f"parts must lie between 1 and {num_nodes} nodes, got {parts}")
    if method == "auto":
        small = edge_index.shape[1] <= _LOUVAIN_EDGES
        method = "metis" if has_metis() else "louvain" if small else "bandwidth"
    if method == "metis":
        return _metis(edge_index, num_nodes, parts)
    if method == "louvain":
        return louvain(edge_index, num_nodes, seed=seed)
    return _bandwidth(edge_index, num_nodes, parts)


def has_metis() -> bool:
    """Whether PyG finds METIS."""
    return bool(torch_geometric.typing.WITH_METIS)


def _metis(edge_index: Tensor, num_nodes: int, parts: int) -> Tensor:
    if not has_metis():
        raise ValueError(
            "partition 'metis' needs pyg-lib, which is not installed; choose louvain or bandwidth"
        )
    from torch_geometric.loader import ClusterData

    graph = Data(edge_index=edge_index, num_nodes=num_nodes)
    found = ClusterData(graph, num_parts=parts, log=False).partition
    labels = torch.empty(num_nodes, dtype=torch.int64)
    labels[found.node_perm] = torch.arange(parts).repeat_interleave(found.partptr.diff())
    return labels


def _bandwidth(edge_index: Tensor, num_nodes: int, parts: int) -> Tensor:
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    row, column = edge_index.numpy()
    ones = np.ones(len(row), dtype=np.float32)
    matrix = coo_array((ones, (row, column)), shape=(num_nodes, num_nodes)).tocsr()
    order = torch.from_numpy(reverse_cuthill_mckee(matrix + matrix.T, symmetric_mode=True).copy())
    labels = torch.empty(num_nodes, dtype=torch.int64)
    labels[order.long()] = torch.arange(num_nodes) * parts // num_nodes
    return labels
