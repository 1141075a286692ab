"""Training on parts of a graph: seeds as anchors, in sampled or clustered subgraphs."""

from graphcl.minibatch.loader import BatchLoader, batch_source, make_loader
from graphcl.minibatch.options import Batching
from graphcl.minibatch.partition import partition_nodes
from graphcl.minibatch.seeds import SeedOrder
from graphcl.minibatch.sources import BatchSource, ClusterSource, NeighbourSource, WholeGraph

__all__ = [
    "BatchLoader",
    "BatchSource",
    "Batching",
    "ClusterSource",
    "NeighbourSource",
    "SeedOrder",
    "WholeGraph",
    "batch_source",
    "make_loader",
    "partition_nodes",
]
