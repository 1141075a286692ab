"""Meta-paths of heterogeneous graphs: composition, PathSim and truncated neighbour graphs."""

from graphcl.metapaths.composition import MetaPath, compose
from graphcl.metapaths.neighbours import NeighbourGraph
from graphcl.metapaths.pathsim import TIES, path_sim, top_neighbours

__all__ = ["TIES", "MetaPath", "NeighbourGraph", "compose", "path_sim", "top_neighbours"]
