"""Latent semantic analysis of texts: TF-IDF of n-grams and truncated singular values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Up to here the Gram matrix of the texts is decomposed exactly; beyond, SVD is randomised.
_EXACT_TEXTS = 2048
# n-grams kept of each kind; bounds the memory of the SVD to about dim * 2 * this many floats.
_MAX_FEATURES = 50_000
# A projection this short is rounding noise of a text that shares nothing with the kept directions.
_NO_DIRECTION = 1e-6


def latent_semantic_vectors(texts: list[str], dim: int, *, seed: int = 0) -> np.ndarray:
    """Unit vectors of distinct texts: TF-IDF of n-grams, projected on the leading directions.

    Words and pairs of words, and groups of 3 to 5 characters within words, at most 50 000 of each;
    in more than 1000 texts only such as occur in two. Up to 2048 texts the decomposition is exact,
    beyond it is randomised with ``seed``.

    Args:
        texts: distinct and not empty.
        dim: largest width of the result; narrower where the texts span less.
        seed: of the randomised decomposition.

    Returns:
        (E, D) float32; a text that shares nothing with the directions kept has a zero row.

    Raises:
        ValueError: no n-grams, or none that two of many texts share.
    """
    # Inside, as PyKEEN loads this package with its data sets and scikit-learn takes a second.
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    # An n-gram of one text says nothing of similarity, but few texts have few others.
    rare = 2 if len(texts) > 1000 else 1
    texts = [text.replace("_", " ") for text in texts]
    kinds: list[dict[str, Any]] = [
        {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\w+"},
        {"analyzer": "char_wb", "ngram_range": (3, 5)},
    ]
    parts = []
    for kind in kinds:
        vectorizer = TfidfVectorizer(
            **kind, sublinear_tf=True, min_df=rare, max_features=_MAX_FEATURES, dtype=np.float32
        )
        try:
            parts.append(vectorizer.fit_transform(texts))
        except ValueError as error:  # no n-gram of this kind, for example in "!" alone
            if "vocabulary" not in str(error) and "no terms remain" not in str(error).lower():
                raise
    if not parts:
        raise ValueError(
            f"no n-grams to compare {len(texts)} texts such as {texts[0]!r} by; give ready "
            "embeddings or another encoder"
        )
    return _unit_rows(_truncated_svd(hstack(parts, format="csr"), dim, seed))


def _truncated_svd(features: csr_matrix, dim: int, seed: int) -> np.ndarray:
    """U * S of the first ``dim`` singular directions; signs make the largest entry positive."""
    count = features.shape[0]
    if count <= _EXACT_TEXTS:
        gram = np.asarray((features @ features.T).todense(), dtype=np.float64)
        power, left = np.linalg.eigh(gram)
        kept = np.argsort(power)[::-1][:dim]
        kept = kept[power[kept] > power.max() * 1e-9]
        projected = left[:, kept] * np.sqrt(power[kept])
    else:
        from sklearn.decomposition import TruncatedSVD

        width = min(dim, *features.shape)
        svd = TruncatedSVD(width, algorithm="randomized", n_iter=5, random_state=seed)
        projected = svd.fit_transform(features)
    largest = np.abs(projected).argmax(axis=0)
    return projected * np.sign(projected[largest, np.arange(projected.shape[1])])


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > _NO_DIRECTION, vectors / np.maximum(length, _NO_DIRECTION), 0).astype(
        np.float32
    )
