"""Clustering of frozen embeddings by k-means, and scores against labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from graphcl.probes.embeddings import check_embeddings, normalize_embeddings
from graphcl.probes.labels import check_labels


@dataclass(frozen=True, eq=False)
class ClusterResult:
    """A clustering of all nodes, and how its run was selected.

    Attributes:
        prediction: Cluster of each node, (N,), int64 on the CPU.
        num_clusters: Number of clusters asked for.
        inertia: Sum of squared distances to the assigned centres.
        selection: ``"inertia"``, or ``"oracle"`` where labels chose the run.
        accuracy: See :func:`clustering_scores`; None without labels, as the other scores.
        nmi: Normalised mutual information.
        ari: Adjusted Rand index.
        macro_f1: Macro-averaged F1.
    """

    prediction: Tensor
    num_clusters: int
    inertia: float
    selection: str
    accuracy: float | None = None
    nmi: float | None = None
    ari: float | None = None
    macro_f1: float | None = None


def cluster_nodes(
    embeddings: Tensor,
    labels: Tensor | None = None,
    *,
    num_clusters: int | None = None,
    seed: int = 0,
    restarts: int = 10,
    normalize: bool = False,
    oracle: bool = False,
) -> ClusterResult:
    """Cluster all nodes by k-means; keep the restart with the lowest inertia.

    Labels score the kept run and do not choose it, unless ``oracle=True``, which reproduces
    papers that report the best run against the labels; the result then says so.

    Args:
        embeddings: Frozen embeddings, (N, D).
        labels: Class of each node, (N,), or None. Nodes with -1 are clustered, not scored.
        num_clusters: Number of clusters, by default the number of classes.
        seed: Seed of the restarts.
        restarts: Number of independent k-means++ runs.
        normalize: Whether to scale rows to unit length first.
        oracle: Whether to keep the run with the best accuracy against the labels.

    Raises:
        ValueError: If embeddings are not finite, shapes differ, ``num_clusters`` is missing or
            not within 1..N, or ``oracle`` is asked for without labels.

    Example:
        >>> z = torch.eye(3).repeat(4, 1)
        >>> cluster_nodes(z, torch.arange(12) % 3).accuracy
        1.0
    """
    z = check_embeddings(embeddings)
    if labels is not None:
        labels = check_labels(labels, len(z)).cpu()
        if not bool((labels >= 0).any()):
            raise ValueError(f"none of the {len(z)} nodes has a label (y >= 0)")
    elif oracle:
        raise ValueError("oracle=True keeps the run that fits the labels best: give labels")
    if num_clusters is None:
        if labels is None:
            raise ValueError("give num_clusters, or labels to take their number from")
        num_clusters = len(torch.unique(labels[labels >= 0]))
    if not 1 <= num_clusters <= len(z):
        raise ValueError(f"num_clusters must be within 1..{len(z)}, got {num_clusters}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")

    rows = normalize_embeddings(z, "l2" if normalize else "none", torch.arange(0)).cpu().numpy()
    runs = []
    for run_seed in np.random.default_rng(seed).integers(2**31 - 1, size=restarts):
        means = KMeans(num_clusters, n_init=1, random_state=int(run_seed)).fit(rows)
        runs.append((float(means.inertia_), torch.from_numpy(means.labels_.astype(np.int64))))
    inertia, prediction = min(runs, key=lambda run: run[0])
    if labels is None:
        return ClusterResult(prediction, num_clusters, inertia, "inertia")
    if oracle:
        scored = [(clustering_scores(labels, run[1])["accuracy"], -run[0]) for run in runs]
        inertia, prediction = runs[scored.index(max(scored))]
    scores = clustering_scores(labels, prediction)
    selection = "oracle" if oracle else "inertia"
    return ClusterResult(prediction, num_clusters, inertia, selection, **scores)


def clustering_scores(
    labels: ArrayLike | Tensor, prediction: ArrayLike | Tensor
) -> dict[str, float]:
    """Score a clustering against classes; neither input is changed.

    - ``accuracy``: best share of nodes under a one-to-one map of clusters to classes (Hungarian
      method on the classes x clusters table, whose sides may differ).
    - ``macro_f1``: mean over classes of F1 under that map. Nodes of a cluster without a class are
      wrong for every class, a class without a cluster scores 0. Where several maps reach the best
      accuracy, the one with the best F1 counts, so that cluster numbers do not matter.
    - ``nmi``: mutual information over the arithmetic mean of the entropies.
    - ``ari``: adjusted Rand index.

    Nodes with a negative label are left out.

    Args:
        labels: Class of each node, (N,), integers.
        prediction: Cluster of each node, (N,), integers; any numbers, any number of clusters.

    Raises:
        ValueError: If shapes differ, values are not integers, or no node is labelled.

    Example:
        >>> clustering_scores([0, 0, 1, 1], [7, 7, 3, 3])["accuracy"]
        1.0
    """
    y, c = _integers(labels, "labels"), _integers(prediction, "prediction")
    if y.shape != c.shape:
        raise ValueError(f"labels have shape {y.shape}, prediction has shape {c.shape}")
    y, c = y[y >= 0], c[y >= 0]
    if not len(y):
        raise ValueError("no node has a label (y >= 0), there is nothing to score")
    classes, y = np.unique(y, return_inverse=True)
    clusters, c = np.unique(c, return_inverse=True)
    table = np.zeros((len(classes), len(clusters)), dtype=np.int64)
    np.add.at(table, (y, c), 1)
    f1 = 2 * table / (table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True))
    # The summed F1 stays below the weight of one node, so it only decides between equal accuracies.
    matched = linear_sum_assignment(table * (len(classes) + 1.0) + f1, maximize=True)
    return {
        "accuracy": float(table[matched].sum() / len(y)),
        "nmi": float(normalized_mutual_info_score(y, c, average_method="arithmetic")),
        "ari": float(adjusted_rand_score(y, c)),
        "macro_f1": float(f1[matched].sum() / len(classes)),
    }


def _integers(values: ArrayLike | Tensor, name: str) -> NDArray[np.int64]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} must be a vector of integers, got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)
