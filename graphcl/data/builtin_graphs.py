"""Graphs that need neither files nor network."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub


def digits_graph(k: int = 10) -> Data:
    """Handwritten digits of scikit-learn with their symmetric k-nearest-neighbour graph.

    Pixels are scaled to [0, 1]. Two images are joined if either is among the ``k`` nearest of the
    other (Euclidean). Of equally near images the one with the smaller index is taken: pixels are
    integers, so distances are exact, ties occur, and the graph is the same on every machine.

    Returns:
        A graph with ``x`` (1797, 64), ``edge_index`` without self loops, and ``y`` (1797,).

    Raises:
        ValueError: If ``k`` is not in 1..1796.
    """
    digits = load_digits()
    pixels = digits.data.astype(np.int64)
    n = len(pixels)
    if not 1 <= k < n:
        raise ValueError(f"k must be in 1..{n - 1}, got {k}")
    norms = (pixels**2).sum(axis=1)
    distances = norms[:, None] + norms[None, :] - 2 * pixels @ pixels.T
    np.fill_diagonal(distances, distances.max() + 1)
    # Ordering by (distance, index) in one integer makes the k smallest unique.
    order = distances * n + np.arange(n)
    nearest = np.argpartition(order, k - 1, axis=1)[:, :k]
    joined = np.zeros((n, n), dtype=bool)
    joined[np.arange(n)[:, None], nearest] = True
    joined |= joined.T
    return Data(
        x=torch.from_numpy(pixels).float() / 16,
        edge_index=torch.from_numpy(np.stack(joined.nonzero())).long(),
        y=torch.from_numpy(digits.target).long(),
    )


def karate_graph() -> Data:
    """Zachary's karate club with four communities as labels and identity features.

    PyG's mask of four training nodes is left out: it is no published split.
    """
    data = KarateClub()[0]
    del data.train_mask
    return data
