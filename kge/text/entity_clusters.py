"""Clusters of all entities of a graph, from whatever is known of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kge.text.clusters import Clusters, clusters_of_labels, text_clusters
from kge.text.encoder import TextEncoder
from kge.text.entity_texts import read_entity_texts

if TYPE_CHECKING:
    from torch import Tensor


def find_entity_clusters(
    num_entities: int,
    *,
    texts: Sequence[str] | str | Path | None = None,
    entity_ids: Sequence[str] | None = None,
    embeddings: np.ndarray | Tensor | str | Path | None = None,
    labels: Sequence[int] | np.ndarray | Tensor | None = None,
    encoder: str | Path | TextEncoder = "tfidf",
    encoder_kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Clusters:
    """Clusters of E entities from texts, embeddings or labels; computed ones come from a cache.

    Args:
        num_entities: E, which every source must have.
        texts: one per entity in the order of PyKEEN's ids, or the path of a table, see
            :func:`kge.text.entity_texts.read_entity_texts`.
        entity_ids: names of the entities in the order of their ids, to pick them from the table.
        embeddings: instead of texts, vectors (E, D) or the path of a ``.npy`` file.
        labels: instead of clustering, the cluster of each entity; vectors only give the centroids.
        encoder: of texts, or the model of one, see :class:`kge.TextEncoder`.
        encoder_kwargs: its other arguments, of a model; ``cache`` is on unless given here.
        **settings: of the clustering, see :func:`kge.text.clusters.cluster_vectors`.

    Raises:
        ValueError: no source, texts and embeddings at once, or another count of rows than E.
    """
    if texts is not None and embeddings is not None:
        raise ValueError("give texts or embeddings, not both")
    if entity_ids is not None and not isinstance(texts, str | Path):
        raise ValueError("entity_ids pick rows from a table: give its path as texts")
    if isinstance(texts, str | Path):
        texts = read_entity_texts(texts, entity_ids)
    source: TextEncoder | None = None
    if embeddings is not None:
        source = TextEncoder(embeddings)
    elif texts is not None:
        if isinstance(encoder, TextEncoder):
            source = encoder
        else:
            source = TextEncoder(encoder, **{"cache": True, **(encoder_kwargs or {})})
    elif labels is None:
        raise ValueError(
            "no texts: give negative_sampler_kwargs=dict(texts=...) with a list of texts or the "
            "path of a table id TAB name TAB description; or give embeddings, or labels"
        )
    vectors = None if source is None else source.array
    sources: tuple[tuple[str, Any], ...] = (
        ("texts", texts),
        ("vectors", vectors),
        ("labels", labels),
    )
    for kind, rows in sources:
        if rows is not None and len(rows) != num_entities:
            raise ValueError(
                f"there are {num_entities} entities, but {len(rows)} {kind}; give one per entity, "
                "in the order of PyKEEN's ids: pick them from a table by entity_ids, or make the "
                "triples factory over the entities of all splits"
            )
    if labels is not None:
        if source is not None and texts is not None:
            vectors = source.encode(texts)
        clusters = clusters_of_labels(labels, vectors)
    else:
        assert source is not None
        if settings.get("n_clusters", "elbow") != "elbow":
            settings["n_clusters"] = int(settings["n_clusters"])
        clusters = text_clusters(() if texts is None else list(texts), source, **settings)
    missing = int((clusters.label < 0).sum())
    if missing:
        warnings.warn(
            f"{missing} of {num_entities} entities have no text to be clustered by", stacklevel=3
        )
    return clusters
