"""Communities of nodes: soft assignments to learned centres, and partitions found beforehand."""

from graphcl.community.assignment import soft_assignment
from graphcl.community.finding import find_communities
from graphcl.community.modularity import leiden, louvain
from graphcl.community.proximity import proximity_kernel, spectral_communities

__all__ = [
    "find_communities",
    "leiden",
    "louvain",
    "proximity_kernel",
    "soft_assignment",
    "spectral_communities",
]
