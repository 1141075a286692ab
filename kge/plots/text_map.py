"""A map of the entities by their texts, with the clusters that LEMON draws from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kge.datasets import UnionDataset
from kge.experiment.fitting import sampler_options
from kge.experiment.settings import Settings
from kge.sampling.lemon import OFFICIAL_COMPONENTS
from kge.text.clusters import Clusters
from kge.text.entity_clusters import find_entity_clusters

_MOST_ENTITIES = 2000
_MOST_NAMES = 20
_CLUSTERING = (
    "texts",
    "entity_ids",
    "embeddings",
    "labels",
    "encoder",
    "encoder_kwargs",
    "n_clusters",
    "reduce",
    "n_components",
    "n_init",
    "seed",
)


def clusters_for_map(settings: Settings, graph: UnionDataset) -> Clusters:
    """The clusters of a LEMON run; of any other run those that LEMON would have by default.

    Raises:
        ValueError: the graph's texts cannot be clustered.
    """
    given: dict[str, Any] = {}
    if settings.negatives == "lemon":
        given = settings.options["negatives"]
    options = sampler_options("lemon", given, graph)
    if options.get("compat") and options.get("n_components") is None:
        options["n_components"] = OFFICIAL_COMPONENTS
    return find_entity_clusters(
        graph.num_entities, **{name: options[name] for name in _CLUSTERING if name in options}
    )


def text_map(clusters: Clusters, names: Sequence[str], *, title: str = "") -> Figure:
    """Draw a t-SNE of at most 2000 entities, coloured by cluster.

    The entity nearest to the centroid gives its name to each of the largest clusters.

    Raises:
        ValueError: fewer than three entities have texts.
    """
    there = np.flatnonzero(clusters.label >= 0)
    if len(there) < 3 or not clusters.vectors.shape[1]:
        raise ValueError(f"{len(there)} entities with vectors make no map")
    chosen = np.sort(np.random.default_rng(0).permutation(there)[:_MOST_ENTITIES])
    label = clusters.label[chosen]
    points = _projected(clusters.vectors[chosen])
    figure = Figure(figsize=(8, 8))
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], c=label % 20, cmap="tab20", vmin=0, vmax=19, s=8)
    largest = np.argsort(-np.bincount(label, minlength=clusters.num_clusters), kind="stable")
    for cluster in largest[:_MOST_NAMES]:
        members = np.flatnonzero(label == cluster)
        if len(members):
            away = clusters.vectors[chosen[members]] - clusters.centroids[cluster]
            middle = members[np.square(away).sum(1).argmin()]
            axes.annotate(names[chosen[middle]][:40], points[middle], fontsize="small")
    what = f"entities, {clusters.num_clusters} clusters"
    axes.set(xticks=[], yticks=[], title=f"{title}: {len(chosen)} {what}")
    return figure


def _projected(rows: np.ndarray) -> np.ndarray:
    """t-SNE with a fixed seed."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(1.0, (len(rows) - 1) / 3))
    # Rows that are all alike have no principal components: scikit-learn crashes.
    start = "pca" if min(rows.shape) > 1 and np.ptp(rows, axis=0).any() else "random"
    found: np.ndarray = TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(rows)
    return found
