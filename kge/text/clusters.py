"""Clusters of entities by their vectors: reduction, k-means++, neighbouring clusters, a cache."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from kge.text.cache import content_key, load_arrays, store_arrays
from kge.text.encoder import TextEncoder, ready_vectors
from kge.text.kmeans import distance_blocks, elbow, elbow_curve, kmeans
from kge.text.reduction import principal_components

Reduce = Literal["pca", "none"]

_RECENT: OrderedDict[str, Clusters] = OrderedDict()


@dataclass(frozen=True)
class Clusters:
    """A partition of E entities into K clusters.

    Attributes:
        label: (E,) int64, the cluster of each entity; -1 for one without text.
        centroids: (K, d) float32 in the reduced space.
        vectors: (E, d) float32, the entities in the reduced space; zero without text.
        tried: (G,) numbers of clusters the elbow rule tried; empty where K was given.
        inertia: (G,) what k-means reached with each.
    """

    label: np.ndarray
    centroids: np.ndarray
    vectors: np.ndarray
    tried: np.ndarray
    inertia: np.ndarray

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.centroids)

    @property
    def sizes(self) -> np.ndarray:
        """(K,) entities of each cluster."""
        return np.bincount(self.label[self.label >= 0], minlength=self.num_clusters)

    def members(self) -> tuple[np.ndarray, np.ndarray]:
        """Members of all clusters as ``ptr`` (K + 1,) and ``ids``, ascending in each cluster."""
        ids = np.argsort(self.label, kind="stable")[int((self.label < 0).sum()) :]
        return np.concatenate(([0], np.cumsum(self.sizes))), ids

    def nearest(self, n_near: int, min_size: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The ``n_near`` clusters whose centroids are nearest to each entity.

        Args:
            n_near: clusters per entity, 1 for its own only; all where there are fewer.
            min_size: go on to further clusters until they hold so many entities together.

        Returns:
            Clusters (E, W) int64 in order of distance, its own first, and distances (E, W) float32.
            Places beyond an entity's clusters, and all places of one without text, hold -1 and inf.

        Raises:
            ValueError: ``n_near`` below 1 or ``min_size`` below 0.
        """
        if n_near < 1 or min_size < 0:
            raise ValueError(
                f"n_near must be at least 1 and min_size at least 0, got {n_near} and {min_size}"
            )
        sizes = self.sizes
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for rows, distance in distance_blocks(self.vectors, self.centroids):
            own = np.arange(self.num_clusters) == self.label[rows, None]
            order = np.argsort(np.where(own, -1.0, distance), axis=1, kind="stable")
            needed = 1 + (np.cumsum(sizes[order], axis=1) < min_size).sum(axis=1)
            needed = np.clip(needed, n_near, None)
            needed[self.label[rows] < 0] = 0
            order = order[:, : needed.max()]
            beyond = np.arange(order.shape[1]) >= needed[:, None]
            distance = np.take_along_axis(distance, order, axis=1)
            parts.append((np.where(beyond, -1, order), np.where(beyond, np.inf, distance)))
        width = max(order.shape[1] for order, _ in parts)

        def widened(block: np.ndarray, filling: float) -> np.ndarray:
            missing = ((0, 0), (0, width - block.shape[1]))
            return np.pad(block, missing, constant_values=filling)

        near = np.concatenate([widened(order, -1) for order, _ in parts])
        far = np.concatenate([widened(distance, np.inf) for _, distance in parts])
        return near, far.astype(np.float32)


def cluster_vectors(
    vectors: np.ndarray,
    *,
    n_clusters: int | Literal["elbow"] = "elbow",
    reduce: Reduce = "pca",
    n_components: int | None = None,
    n_init: int = 4,
    seed: int = 0,
) -> Clusters:
    """Reduce vectors and partition them by k-means++.

    The order of the vectors does not matter: rows are put into an order of their own before k-means
    starts. With ``reduce="pca"`` neither do rotation and scale. Zero vectors mean "no text" (see
    :class:`TextEncoder`) and are in no cluster.

    Args:
        vectors: (E, D).
        n_clusters: K, or ``elbow``: see :func:`kge.text.kmeans.elbow_curve` and ``elbow``; where
            there is none, the root of half the rows. With fewer distinct vectors than K each
            distinct vector is a cluster, with a warning.
        reduce: ``pca`` or ``none``.
        n_components: width after PCA, by default ``min(32, D)``.
        n_init: starts of k-means, the best of which counts.
        seed: of k-means++.

    Raises:
        ValueError: bad vectors (:func:`ready_vectors`) or all zero, K larger than E or less than 1,
            a bad ``reduce``, ``n_components`` or ``n_init``.

    Example:
        >>> found = cluster_vectors(np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]])).label
        >>> bool(found[0] == found[1] != found[2] == found[3])
        True
    """
    vectors = ready_vectors(vectors)
    with_text = vectors.any(axis=1)
    if not with_text.any():
        raise ValueError("all vectors are zero: no entity has a place to be clustered by")
    if n_clusters != "elbow" and not 1 <= int(n_clusters) <= len(vectors):
        raise ValueError(
            f"n_clusters must be 'elbow' or between 1 and the {len(vectors)} entities, got "
            f"{n_clusters}"
        )
    if n_init < 1:
        raise ValueError(f"n_init must be at least 1, got {n_init}")
    _, first, same = np.unique(vectors[with_text], axis=0, return_index=True, return_inverse=True)
    # Matrix products may round equal rows differently.
    places = _reduced(vectors[with_text], reduce, n_components)[first][same]
    rows, distinct = places[np.lexsort(places.T[::-1])], len(first)
    tried, inertia = np.zeros(0, dtype=np.int64), np.zeros(0)
    if n_clusters == "elbow":
        tried, inertia = elbow_curve(rows, distinct, seed=seed)
        n_clusters = elbow(tried, inertia) or max(1, round((len(rows) / 2) ** 0.5))
    elif n_clusters > distinct:
        warnings.warn(
            f"{n_clusters} clusters were asked for, but {len(vectors)} entities have only "
            f"{distinct} distinct texts: so many clusters are made",
            stacklevel=2,
        )
        n_clusters = distinct
    centroids = kmeans(rows, int(n_clusters), n_init=n_init, seed=seed)[0].astype(np.float32)
    reduced = np.zeros((len(vectors), places.shape[1]), dtype=np.float32)
    reduced[with_text] = places
    # By the distances that order the neighbours too, so that the nearest is the own cluster.
    label = np.concatenate([far.argmin(axis=1) for _, far in distance_blocks(reduced, centroids)])
    kept, label[with_text] = np.unique(label[with_text], return_inverse=True)
    label[~with_text] = -1
    return Clusters(label, centroids[kept], reduced, tried, inertia)


def clusters_of_labels(labels: Any, vectors: np.ndarray | None = None) -> Clusters:
    """Clusters that are given, one integer per entity, -1 for none.

    With ``vectors`` the centroids are the means of the clusters. Without, only the own cluster of
    an entity, ``nearest(1)``, has a meaning.

    Raises:
        ValueError: labels that are not integers (E,), below -1 or all -1; another count of vectors.
    """
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    label = np.array(labels)
    if label.ndim != 1 or label.dtype.kind not in "iu" or label.size == 0:
        raise ValueError(
            f"labels must be integers of shape (E,), got {label.dtype} of shape {label.shape}"
        )
    label = label.astype(np.int64)
    if label.min() < -1 or label.max() < 0:
        raise ValueError("labels must be clusters from 0, or -1 for none, and not all -1")
    inside = label >= 0
    names, label[inside] = np.unique(label[inside], return_inverse=True)
    if vectors is None:
        vectors = label[:, None]
    vectors = ready_vectors(vectors)
    if len(vectors) != len(label):
        raise ValueError(f"there are {len(label)} labels, but {len(vectors)} vectors")
    centroids = np.zeros((len(names), vectors.shape[1]))
    np.add.at(centroids, label[inside], vectors[inside])
    centroids /= np.bincount(label[inside])[:, None]
    return Clusters(label, centroids.astype(np.float32), vectors, np.zeros(0, int), np.zeros(0))


def text_clusters(texts: Sequence[str], encoder: TextEncoder, **settings: Any) -> Clusters:
    """Clusters of entity texts, found once: later calls and processes read them from the cache.

    The cache lies under ``GRAPHCL_CACHE`` (default ``~/.cache/graphcl-kge``); a result is named by
    a hash of texts, encoder and settings. The last four are also kept in memory.

    Args:
        texts: one per entity; not read, and may be empty, with an encoder of a ready array.
        encoder: gives the vectors; asked only for what is not in the cache.
        **settings: those of :func:`cluster_vectors`.
    """
    described = {"layout": 1, "encoder": encoder.settings(), "clusters": settings}
    key = content_key(described, texts=texts)
    if key not in _RECENT:
        stored = load_arrays("clusters", key)
        names = [field.name for field in fields(Clusters)]
        if stored is None or set(stored) != set(names):
            vectors = encoder.array if encoder.array is not None else encoder.encode(texts)
            clusters = cluster_vectors(vectors, **settings)
            stored = {name: getattr(clusters, name) for name in names}
            store_arrays("clusters", key, stored)
        _RECENT[key] = Clusters(**stored)
        while len(_RECENT) > 4:
            _RECENT.popitem(last=False)
    _RECENT.move_to_end(key)
    return _RECENT[key]


def _reduced(vectors: np.ndarray, reduce: Reduce, n_components: int | None) -> np.ndarray:
    if reduce == "none":
        return vectors.astype(np.float64)
    if reduce != "pca":
        raise ValueError(f"unknown reduce {reduce!r}; choose 'pca' or 'none'")
    count = min(32, vectors.shape[1]) if n_components is None else n_components
    return principal_components(vectors, count)
