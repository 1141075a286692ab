"""Principal components of vectors, exactly and in bounded memory."""

from __future__ import annotations

import numpy as np

_ROWS = 8192


def principal_components(vectors: np.ndarray, count: int) -> np.ndarray:
    """Scores of (E, D) vectors on their first ``count`` principal components, float64 (E, count).

    Rotating, mirroring or reordering the vectors changes nothing but the order of rows: the sign
    of a component makes its largest score positive. The covariance is summed over blocks of rows;
    beyond the result memory is O(D^2).

    Raises:
        ValueError: ``count`` is not between 1 and D.
    """
    size, width = vectors.shape
    if not 1 <= count <= width:
        raise ValueError(f"n_components must be between 1 and the width {width}, got {count}")
    blocks = [slice(start, start + _ROWS) for start in range(0, size, _ROWS)]
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((width, width))
    for block in blocks:
        part = vectors[block] - mean
        covariance += part.T @ part
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :count]
    scores = np.empty((size, count))
    for block in blocks:
        scores[block] = (vectors[block] - mean) @ axes
    largest = np.abs(scores).argmax(axis=0)
    return scores * np.where(scores[largest, np.arange(count)] < 0, -1.0, 1.0)
