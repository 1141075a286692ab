import warnings

import networkx as nx
import pytest
import torch
from torch import Tensor

from graphcl.views.centrality import (
    centrality,
    degree_centrality,
    eigenvector_centrality,
    pagerank_centrality,
)


def edge_index_of(graph: nx.Graph) -> Tensor:
    """Stored edges of a networkx graph: both directions if it is undirected."""
    edges = list(graph.to_directed().edges())
    return torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T


def in_order(values: dict[int, float], num_nodes: int) -> Tensor:
    return torch.tensor([values[i] for i in range(num_nodes)])


def digraph(num_nodes: int = 30, num_edges: int = 90, seed: int = 0) -> tuple[Tensor, nx.Graph]:
    """Random multigraph with parallel edges, self loops, dangling and isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(num_nodes - 4, (2, num_edges), generator=generator)
    edges = edges[:, edges[0] > 3]
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges.T.tolist())
    return edges, graph


def test_degree_by_hand() -> None:
    edges = torch.tensor([[0, 0, 1, 2, 0], [1, 2, 2, 2, 1]])
    assert degree_centrality(edges, 5).tolist() == [0, 2, 3, 0, 0]


def test_degree_of_symmetric_graph_is_networkx_degree() -> None:
    graph = nx.karate_club_graph()
    expected = in_order(dict(graph.degree()), 34)
    assert torch.equal(degree_centrality(edge_index_of(graph), 34), expected.float())


@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85])
@pytest.mark.parametrize("seed", range(3))
def test_pagerank_is_networkx_pagerank(damping: float, seed: int) -> None:
    edges, graph = digraph(seed=seed)
    assert any(degree == 0 for _, degree in graph.out_degree())
    ours = pagerank_centrality(edges, 30, damping=damping)
    theirs = in_order(nx.pagerank(graph, alpha=damping, tol=1e-12, max_iter=1000), 30)
    assert torch.allclose(ours, theirs.float(), atol=1e-7, rtol=1e-5)
    assert ours.sum() == pytest.approx(1, abs=1e-6)


def test_pagerank_solves_its_linear_system() -> None:
    edges, _ = digraph(seed=4)
    walk = torch.zeros(30, 30, dtype=torch.double)
    for u, v in edges.T.tolist():
        walk[v, u] += 1
    out = walk.sum(0)
    walk = torch.where(out > 0, walk / out.clamp_min(1), 1 / 30)
    system = torch.eye(30, dtype=torch.double) - 0.85 * walk
    expected = torch.linalg.solve(system, torch.full((30,), 0.15 / 30, dtype=torch.double))
    assert torch.allclose(pagerank_centrality(edges, 30).double(), expected, atol=1e-7)


def test_pagerank_is_not_the_degree() -> None:
    graph = nx.karate_club_graph()
    edges = edge_index_of(graph)
    lazy_walk_limit = degree_centrality(edges, 34) / edges.size(1)
    assert (pagerank_centrality(edges, 34) - lazy_walk_limit).abs().max() > 1e-3


@pytest.mark.parametrize(
    "graph",
    [
        nx.karate_club_graph(),
        nx.path_graph(6),  # bipartite: plain power iteration would oscillate
        nx.star_graph(7),
        nx.complete_graph(5),
        nx.connected_watts_strogatz_graph(25, 4, 0.4, seed=2),
    ],
    ids=["karate", "path", "star", "complete", "small-world"],
)
def test_eigenvector_is_networkx_eigenvector(graph: nx.Graph) -> None:
    plain = nx.Graph(graph.edges())
    count = plain.number_of_nodes()
    ours = eigenvector_centrality(edge_index_of(plain), count)
    theirs = in_order(nx.eigenvector_centrality_numpy(plain), count)
    assert torch.allclose(ours, theirs.float(), atol=1e-6)
    assert ours.norm() == pytest.approx(1, abs=1e-6)
    assert (ours >= 0).all()


def test_eigenvector_of_parts_lives_on_the_strongest() -> None:
    # A clique of 5 (eigenvalue 4), a triangle (2), an edge (1) and two isolated nodes.
    graph = nx.disjoint_union_all([nx.complete_graph(3), nx.complete_graph(5), nx.path_graph(2)])
    x = eigenvector_centrality(edge_index_of(graph), 12)
    assert torch.allclose(x[3:8], torch.full((5,), 5**-0.5), atol=1e-6)
    assert x[:3].max() < 1e-6
    assert x[8:].max() < 1e-6


def test_eigenvector_ties_share() -> None:
    graph = nx.disjoint_union(nx.complete_graph(3), nx.complete_graph(3))
    x = eigenvector_centrality(edge_index_of(graph), 7)
    assert torch.allclose(x[:6], torch.full((6,), 6**-0.5), atol=1e-6)


@pytest.mark.parametrize("name", ["degree", "pagerank", "eigenvector"])
def test_trailing_isolated_nodes_and_no_edges(name: str) -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    phi = centrality(name, edges, 4)
    assert phi.shape == (4,)
    assert phi.isfinite().all()
    assert phi[0] == phi[1]
    assert phi[0] > phi[2]
    assert phi[2] == phi[3]
    nothing = torch.empty(2, 0, dtype=torch.long)
    flat = centrality(name, nothing, 3)
    assert flat.isfinite().all()
    assert (flat == flat[0]).all()
    assert centrality(name, nothing, 0).shape == (0,)


@pytest.mark.parametrize("name", ["degree", "pagerank", "eigenvector"])
def test_relabelling_nodes_relabels_centrality(name: str) -> None:
    edges = edge_index_of(nx.karate_club_graph())
    new = torch.randperm(34, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(centrality(name, new[edges], 34)[new], centrality(name, edges, 34))


def test_aliases_and_options() -> None:
    edges = edge_index_of(nx.karate_club_graph())
    assert torch.equal(centrality("pr", edges, 34), pagerank_centrality(edges, 34))
    assert torch.equal(centrality("evc", edges, 34), eigenvector_centrality(edges, 34))
    half = centrality("pagerank", edges, 34, damping=0.5)
    assert torch.equal(half, pagerank_centrality(edges, 34, damping=0.5))


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'katz'.*degree.*pagerank.*eigenvector"):
        centrality("katz", torch.empty(2, 0, dtype=torch.long), 1)


@pytest.mark.parametrize("name", ["pagerank", "eigenvector"])
def test_too_few_iterations_warn(name: str) -> None:
    edges = edge_index_of(nx.karate_club_graph())
    with pytest.warns(RuntimeWarning, match="iteration 2"):
        centrality(name, edges, 34, iterations=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        centrality(name, edges, 34)


def test_bad_input() -> None:
    edges = torch.tensor([[0, 1], [1, 4]])
    for name in ("degree", "pagerank", "eigenvector"):
        with pytest.raises(ValueError, match="num_nodes is 3"):
            centrality(name, edges, 3)
    with pytest.raises(ValueError, match=r"damping=1\.0"):
        pagerank_centrality(edges, 5, damping=1.0)
    with pytest.raises(ValueError, match="iterations=0"):
        eigenvector_centrality(edges, 5, iterations=0)
