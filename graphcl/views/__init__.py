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
from graphcl.views.features import (
    compact_features,
    identity_features,
    mask_features,
    normalized_features,
    select_rows,
    shuffle_rows,
)
from graphcl.views.sketch import sketch_rows

__all__ = [
    "centrality",
    "compact_features",
    "degree_centrality",
    "drop_edges",
    "drop_edges_within",
    "edge_drop_probabilities",
    "edge_mask",
    "eigenvector_centrality",
    "feature_mask_probabilities",
    "identity_features",
    "mask_features",
    "normalized_features",
    "pagerank_centrality",
    "select_rows",
    "shuffle_rows",
    "sketch_rows",
    "undirected_edge_ids",
]
