"""k-means++ that gives the same clusters each time, and an elbow rule for their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Values given to k-means; with more rows than fit, a seeded sample places the centroids.
_FITTED_VALUES = 2**25
_FITTED_ROWS = 20_000
# Distances held at once.
_DISTANCES = 2**22
# The elbow is looked for up to so many clusters, on so many rows.
_MOST_CLUSTERS = 512
_ELBOW_ROWS = 10_000


def kmeans(
    vectors: np.ndarray, count: int, *, n_init: int = 4, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Centroids (count, d) by k-means++ and Lloyd's iterations, and their sum of squared distances.

    The best of ``n_init`` starts. The result depends on the order of the rows and on the seed, not
    on the number of threads. Beyond 2^25 values a seeded sample of the rows is used.
    """
    # Inside, as PyKEEN loads this package with its data sets and scikit-learn takes a second.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    rows = _sample(vectors, max(_FITTED_ROWS, _FITTED_VALUES // vectors.shape[1]), seed)
    model = KMeans(
        count, init="k-means++", n_init=n_init, max_iter=300, tol=1e-4, random_state=seed
    )
    # Threads add up the centroids in the order in which they finish.
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(np.asarray(rows, dtype=np.float64))
    return model.cluster_centers_, float(model.inertia_)


def elbow_curve(
    vectors: np.ndarray, distinct: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of clusters (G,), and what k-means reaches with each (G,), never increasing.

    The numbers are the powers of sqrt(2), rounded, up to sqrt(rows / 2), but to at least 8 and at
    most 512 and never more than there are ``distinct`` rows. One start each; at most 10 000 rows.
    """
    most = min(distinct, max(8, int(np.ceil(np.sqrt(len(vectors) / 2)))), _MOST_CLUSTERS)
    powers = np.rint(2 ** (np.arange(1 + 2 * int(np.log2(most))) / 2)).astype(np.int64)
    tried = np.unique([*powers, most])
    rows = _sample(vectors, _ELBOW_ROWS, seed)
    tried = tried[tried <= len(rows)]
    inertia = [kmeans(rows, int(count), n_init=1, seed=seed)[1] for count in tried]
    return tried, np.minimum.accumulate(inertia)


def elbow(tried: np.ndarray, inertia: np.ndarray) -> int | None:
    """The number of clusters at the elbow of the curve, or None where it has none.

    It is the point farthest below the chord from the first to the last point of the curve, with
    both axes scaled to [0, 1]; the smallest among equals. A curve of two points that falls has its
    elbow at the second, a curve that does not fall at the first. One that falls, but nowhere below
    its chord, as that of a few unrelated texts does, has no elbow.

    Example:
        >>> elbow(np.array([1, 2, 3, 4]), np.array([100.0, 10, 8, 6]))
        2
    """
    if inertia[-1] >= inertia[0]:
        return int(tried[0])
    if len(tried) == 2:
        return int(tried[1])
    across = (tried - tried[0]) / (tried[-1] - tried[0])
    down = (inertia - inertia[-1]) / (inertia[0] - inertia[-1])
    depth = 1 - across - down
    return int(tried[depth.argmax()]) if depth.max() > 1e-9 else None


def distance_blocks(
    vectors: np.ndarray, centroids: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows and their Euclidean distances to all centroids, (b, K) float64.

    Sums of squared differences: no cancellation, so that equally far centroids tie exactly.
    """
    from scipy.spatial.distance import cdist

    step = max(1, _DISTANCES // len(centroids))
    for start in range(0, len(vectors), step):
        rows = slice(start, min(start + step, len(vectors)))
        yield rows, cdist(vectors[rows], centroids)


def _sample(vectors: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(vectors) <= most:
        return vectors
    chosen = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    return vectors[np.sort(chosen)]
