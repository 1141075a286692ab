"""Graph views: edge dropping, feature masking, node centralities and GCA's adaptive rates."""

from graphcl.views.adaptive import edge_drop_probabilities, feature_mask_probabilities
from graphcl.views.budgeted import drop_edges_within
from graphcl.views.centrality import (
    centrality,
    degree_centrality,
    eigenvector_centrality,
    pagerank_centrality,
)
from graphcl.views.edges import drop_edges, edge_mask, undirected_edge_ids
from graphcl.views.features import mask_features
from graphcl.views.sketch import sketch_rows

__all__ = [
    "centrality",
    "degree_centrality",
    "drop_edges",
    "drop_edges_within",
    "edge_drop_probabilities",
    "edge_mask",
    "eigenvector_centrality",
    "feature_mask_probabilities",
    "mask_features",
    "pagerank_centrality",
    "sketch_rows",
    "undirected_edge_ids",
]
