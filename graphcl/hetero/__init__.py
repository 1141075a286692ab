"""Parts of methods on heterogeneous graphs: inputs, context and schema encoders, clusterings."""

from graphcl.hetero.attention import SemanticAttention
from graphcl.hetero.clustering import cluster_labels
from graphcl.hetero.contexts import Contexts
from graphcl.hetero.encoder import MetaPathEncoder
from graphcl.hetero.features import Rows, TypeTransform
from graphcl.hetero.inputs import HeteroInputs
from graphcl.hetero.positives import positive_pairs
from graphcl.hetero.schema import NeighbourLists, SchemaEncoder

__all__ = [
    "Contexts",
    "HeteroInputs",
    "MetaPathEncoder",
    "NeighbourLists",
    "Rows",
    "SchemaEncoder",
    "SemanticAttention",
    "TypeTransform",
    "cluster_labels",
    "positive_pairs",
]
