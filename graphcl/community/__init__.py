"""Communities of nodes: soft assignments to learned centres, targets, influence in the graph."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphcl.community.assignment import soft_assignment
from graphcl.community.dec import clustering_divergence, sharpened_target, student_assignment

if TYPE_CHECKING:
    from graphcl.community.influence import influence_pairs, sampled_influence

__all__ = [
    "clustering_divergence",
    "influence_pairs",
    "sampled_influence",
    "sharpened_target",
    "soft_assignment",
    "student_assignment",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: influence needs scipy and torch_geometric.
    if name in __all__:
        return getattr(import_module("graphcl.community.influence"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
