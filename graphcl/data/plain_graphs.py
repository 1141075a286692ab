"""Readers for the two plain file formats: sparse arrays in an npz, and a list of edges."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_undirected

DAMAGES = (
    *(ValueError, KeyError, EOFError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy and scipy raise at files that are damaged, or not what their name says."""


def read_attributed_npz(path: Path) -> Data:
    """Read a graph stored as sparse ``adj`` and ``attr`` matrices with ``labels``.

    The matrices are in compressed rows, as arrays ``adj_data``, ``adj_indices``, ``adj_indptr``,
    ``adj_shape`` and the same for ``attr``. Feature values are kept as they are, unlike in PyG's
    reader of this format, which sets every positive value to 1.

    Returns:
        A graph with dense float32 ``x``, symmetric ``edge_index`` without self loops, int64 ``y``.

    Raises:
        ValueError: If the file is damaged, lacks an array, or its shapes do not agree.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            adjacency, features = _csr(arrays, "adj"), _csr(arrays, "attr")
            labels = arrays["labels"].astype(np.int64)
    except DAMAGES as error:
        raise ValueError(f"{path} is not a graph in npz format, or damaged: {error}") from error
    n = labels.size
    if labels.ndim != 1 or adjacency.shape != (n, n) or features.shape[0] != n:
        raise ValueError(
            f"{path}: shapes do not agree: adj {adjacency.shape}, attr {features.shape}, "
            f"labels {labels.shape}"
        )
    edges = torch.from_numpy(np.stack(adjacency.nonzero())).long()
    return Data(
        x=torch.from_numpy(features.toarray()).float(),
        edge_index=to_undirected(remove_self_loops(edges)[0], num_nodes=n),
        y=torch.from_numpy(labels),
    )


def read_edge_list(path: Path, num_nodes: int) -> Data:
    """Read an undirected graph from a text file with two node ids (from 0) on each line.

    Args:
        path: The file.
        num_nodes: Number of nodes, those without an edge included.

    Returns:
        A graph with symmetric ``edge_index`` without self loops, and ``num_nodes``.

    Raises:
        ValueError: If a line does not hold two ids, or an id is not in 0..num_nodes-1.
    """
    pairs = read_pairs(path)
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < num_nodes):
        raise ValueError(
            f"{path}: edges name nodes {pairs.min()}..{pairs.max()}, but the nodes are "
            f"0..{num_nodes - 1}"
        )
    edges, _ = remove_self_loops(torch.from_numpy(pairs.T))
    return Data(edge_index=to_undirected(edges, num_nodes=num_nodes), num_nodes=num_nodes)


def read_pairs(path: Path) -> NDArray[np.int64]:
    """Read (E, 2) ids from a text file with two of them on each line.

    Raises:
        ValueError: If a line does not hold two ids.
    """
    try:
        pairs = np.loadtxt(path, dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} is not a list of edges: {error}") from error
    if pairs.shape[1] != 2:
        raise ValueError(f"{path}: each line must hold two node ids, got {pairs.shape[1]} columns")
    return pairs


def _csr(arrays: np.lib.npyio.NpzFile, name: str) -> sp.csr_matrix:
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    matrix = sp.csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]))
    # Column ids out of range would make the conversion to dense write past its buffer.
    matrix.check_format(full_check=True)
    return matrix
