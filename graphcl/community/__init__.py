"""Communities of nodes: soft assignments to learned centres, partitions, influence in the graph."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphcl.community.assignment import soft_assignment
from graphcl.community.dec import clustering_divergence, sharpened_target, student_assignment
from graphcl.community.finding import find_communities
from graphcl.community.modularity import modularity
from graphcl.community.partitions import leiden, louvain
from graphcl.community.proximity import proximity_kernel, spectral_communities

if TYPE_CHECKING:
    from graphcl.community.influence import influence_pairs, sampled_influence

__all__ = [
    "clustering_divergence",
    "find_communities",
    "influence_pairs",
    "leiden",
    "louvain",
    "modularity",
    "proximity_kernel",
    "sampled_influence",
    "sharpened_target",
    "soft_assignment",
    "spectral_communities",
    "student_assignment",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: influence needs scipy and torch_geometric.
    if name in ("influence_pairs", "sampled_influence"):
        return getattr(import_module("graphcl.community.influence"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
