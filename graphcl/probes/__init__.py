"""Judging frozen embeddings: named splits, linear probes, clustering, link prediction.

Names are loaded on first use, so that importing this package does not import scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphcl.probes.clustering import ClusterResult, cluster_nodes, clustering_scores
    from graphcl.probes.labels import node_labels
    from graphcl.probes.linear import ProbeResult, linear_probe, linear_probe_seeds
    from graphcl.probes.links import (
        LinkResult,
        LinkSplit,
        hits_at,
        hold_out_links,
        link_probe,
        official_links,
    )
    from graphcl.probes.pairs import sample_non_edges
    from graphcl.probes.splits import PROTOCOLS, Split, make_split

__all__ = [
    "PROTOCOLS",
    "ClusterResult",
    "LinkResult",
    "LinkSplit",
    "ProbeResult",
    "Split",
    "cluster_nodes",
    "clustering_scores",
    "hits_at",
    "hold_out_links",
    "linear_probe",
    "linear_probe_seeds",
    "link_probe",
    "make_split",
    "node_labels",
    "official_links",
    "sample_non_edges",
]

_HOMES = {
    "PROTOCOLS": "splits",
    "ClusterResult": "clustering",
    "LinkResult": "links",
    "LinkSplit": "links",
    "ProbeResult": "linear",
    "Split": "splits",
    "cluster_nodes": "clustering",
    "clustering_scores": "clustering",
    "hits_at": "links",
    "hold_out_links": "links",
    "linear_probe": "linear",
    "linear_probe_seeds": "linear",
    "link_probe": "links",
    "make_split": "splits",
    "node_labels": "labels",
    "official_links": "links",
    "sample_non_edges": "pairs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
