"""Clusterings of unit vectors at several granularities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

# From this number of nodes on, centres are fitted to mini-batches.
_MANY = 50_000


def cluster_labels(z: Tensor, clusters: Sequence[int], *, iterations: int = 20) -> Tensor:
    """K-means labels (N, M) of unit rows, one column for each number of clusters.

    Distances are Euclidean, which on unit vectors orders as the cosine does. The restart is drawn
    from torch's global generator, so that a run continued from a checkpoint clusters as an
    uninterrupted one.

    Args:
        z: (N, D) unit rows, detached.
        clusters: numbers of clusters, each within 1..N.
        iterations: of Lloyd's algorithm at most.
    """
    rows = z.detach().float().cpu().numpy()
    columns = []
    for count in clusters:
        seed = int(torch.randint(2**31 - 1, ()))
        options = {"n_clusters": count, "n_init": 1, "random_state": seed, "max_iter": iterations}
        kind = MiniBatchKMeans if len(rows) >= _MANY else KMeans
        with warnings.catch_warnings():
            # Equal rows cannot fill all clusters; fewer labels serve as well.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = kind(**options).fit(rows)
        columns.append(torch.from_numpy(found.labels_).long())
    return torch.stack(columns, 1).to(z.device)
