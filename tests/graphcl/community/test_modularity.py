"""Modularity against networkx."""

import networkx as nx
import pytest
import torch

from graphcl.community.modularity import modularity


def test_equals_networkx() -> None:
    graph = nx.karate_club_graph()
    pairs = torch.tensor(list(graph.edges)).T
    edges = torch.cat([pairs, pairs.flip(0)], 1)
    for groups in (1, 2, 5):
        label = torch.arange(34) % groups
        parts = [set((label == g).nonzero().flatten().tolist()) for g in range(groups)]
        wanted = nx.community.modularity(graph, parts, weight=None)
        assert modularity(edges, label) == pytest.approx(wanted)


def test_a_graph_without_edges() -> None:
    assert modularity(torch.empty(2, 0, dtype=torch.long), torch.zeros(3, dtype=torch.long)) == 0
