"""Provable training: budgets, bounds and scores of how well a node stands out in every view."""

from graphcl.pot.adjacency import AdjacencyBounds, Interval, adjacency_bounds
from graphcl.pot.budgets import edge_budgets
from graphcl.pot.intervals import clean_products, masked_products, node_intervals
from graphcl.pot.layers import Layer, gcn_layers
from graphcl.pot.relaxation import Lines, activation_lines
from graphcl.pot.scores import SCORES, contrast_weights, node_scores

__all__ = [
    "SCORES",
    "AdjacencyBounds",
    "Interval",
    "Layer",
    "Lines",
    "activation_lines",
    "adjacency_bounds",
    "clean_products",
    "contrast_weights",
    "edge_budgets",
    "gcn_layers",
    "masked_products",
    "node_intervals",
    "node_scores",
]
