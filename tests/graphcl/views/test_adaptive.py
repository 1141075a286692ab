import math

import networkx as nx
import pytest
import torch
from torch import Tensor

from graphcl.views.adaptive import edge_drop_probabilities, feature_mask_probabilities
from graphcl.views.centrality import centrality
from graphcl.views.edges import drop_edges
from graphcl.views.features import mask_features


def karate() -> Tensor:
    return torch.tensor(list(nx.karate_club_graph().to_directed().edges())).T


def formula(w: list[float], p: float, threshold: float) -> list[float]:
    """The paper's map, number by number."""
    top, mean = max(w), sum(w) / len(w)
    return [min(p * (top - each) / (top - mean), threshold) for each in w]


@pytest.mark.parametrize("name", ["degree", "pagerank", "eigenvector"])
@pytest.mark.parametrize(("p", "threshold"), [(0.1, 0.7), (0.5, 0.7), (0.9, 0.4)])
def test_edges_follow_the_formula(name: str, p: float, threshold: float) -> None:
    edges = karate()
    phi = centrality(name, edges, 34)
    expected = formula([math.log(phi[v]) for v in edges[1].tolist()], p, threshold)
    ours = edge_drop_probabilities(edges, phi, p, threshold=threshold)
    assert torch.allclose(ours, torch.tensor(expected), atol=1e-6)
    assert (ours <= threshold).all()
    assert (ours >= 0).all()
    assert edges[1][ours == 0].unique().tolist() == [int(phi.argmax())]


@pytest.mark.parametrize("name", ["degree", "pagerank", "eigenvector"])
def test_mean_rate_is_p_without_clipping(name: str) -> None:
    edges = karate()
    p = 0.1
    ours = edge_drop_probabilities(edges, centrality(name, edges, 34), p, threshold=1.0)
    assert ours.max() < 1
    assert ours.double().mean() / p == pytest.approx(1, abs=1e-6)


def test_edges_by_hand() -> None:
    # Targets of centrality e^2, e^1, e^0: w = 2, 1, 0, mean 1, s = 0, 1, 2.
    edges = torch.tensor([[1, 2, 0], [0, 1, 2]])
    phi = torch.tensor([math.e**2, math.e, 1.0])
    ours = edge_drop_probabilities(edges, phi, 0.4)
    assert torch.allclose(ours, torch.tensor([0.0, 0.4, 0.7]))


def test_only_ratios_of_centrality_matter() -> None:
    edges = karate()
    phi = centrality("pagerank", edges, 34).double()
    ours = edge_drop_probabilities(edges, phi, 0.3)
    for scale in (1e-9, 1e6):
        assert torch.allclose(edge_drop_probabilities(edges, phi * scale, 0.3), ours)


@pytest.mark.parametrize("phi", [torch.ones(34), torch.zeros(34), torch.full((34,), 0.1)])
def test_uniform_centrality_gives_uniform_rate(phi: Tensor) -> None:
    edges = karate()
    ones = torch.ones(edges.size(1))
    assert torch.equal(edge_drop_probabilities(edges, phi, 0.3), 0.3 * ones)
    assert torch.equal(edge_drop_probabilities(edges, phi, 0.9), 0.7 * ones)


def test_rounding_noise_counts_as_uniform() -> None:
    noise = 1e-8 * torch.rand(34, dtype=torch.double)
    ours = edge_drop_probabilities(karate(), 1 + noise, 0.3)
    assert torch.equal(ours, torch.full_like(ours, 0.3))


def test_zero_centrality_is_floored() -> None:
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    ours = edge_drop_probabilities(edges, torch.tensor([1.0, 0.5, 0.0]), 0.2)
    assert ours.isfinite().all()
    # Target 1 is node of w = log .5, target 2 of w = log 1e-8, target 0 of w = 0.
    expected = formula([math.log(0.5), math.log(1e-8), 0.0], 0.2, 0.7)
    assert torch.allclose(ours, torch.tensor(expected), atol=1e-6)


def test_edges_feed_drop_edges() -> None:
    edges = karate()
    p = edge_drop_probabilities(edges, centrality("degree", edges, 34), 0.4)
    generator = torch.Generator().manual_seed(0)
    draws = [drop_edges(edges, p, generator=generator).size(1) for _ in range(300)]
    expected = float((1 - p).sum())
    std = float((p * (1 - p)).sum() / 300) ** 0.5
    assert abs(sum(draws) / 300 - expected) < 4 * std


def features(seed: int = 0, nodes: int = 34, columns: int = 23) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, columns, generator=generator)
    x *= torch.rand(nodes, columns, generator=generator) < 0.2
    x[0] = 1.0  # every column is used
    return x


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_features_follow_the_formula(p: float) -> None:
    x, phi = features(), centrality("degree", karate(), 34)
    w = [
        math.log(sum(abs(float(x[i, f])) * float(phi[i]) for i in range(34)))
        for f in range(x.size(1))
    ]
    ours = feature_mask_probabilities(x, phi, p)
    assert torch.allclose(ours, torch.tensor(formula(w, p, 0.7)), atol=1e-6)
    assert (ours <= 0.7).all()
    if p == 0.1:
        assert ours.double().mean() / p == pytest.approx(1, abs=1e-6)


def test_more_nodes_than_one_block() -> None:
    x = features(nodes=2500)
    phi = torch.rand(2500, generator=torch.Generator().manual_seed(3)) + 0.1
    w = (x.double().abs().T @ phi.double()).log().tolist()
    ours = feature_mask_probabilities(x, phi, 0.2)
    assert torch.allclose(ours, torch.tensor(formula(w, 0.2, 0.7)), atol=1e-6)


def test_unused_columns_get_the_largest_rate_and_change_nothing_else() -> None:
    x, phi = features(), centrality("degree", karate(), 34)
    ours = feature_mask_probabilities(x, phi, 0.1)
    empty = torch.zeros(34, 1)
    padded = feature_mask_probabilities(torch.cat([empty, x, empty], dim=1), phi, 0.1)
    assert padded.isfinite().all()
    assert torch.allclose(padded[1:-1], ours)
    assert padded[0] == padded[-1] == ours.max()


def test_column_used_by_nodes_of_zero_centrality_only() -> None:
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    ours = feature_mask_probabilities(x, torch.tensor([0.0, 1.0, 2.0]), 0.2, threshold=1.0)
    assert ours.isfinite().all()
    assert int(ours.argmax()) == 2


@pytest.mark.parametrize("x", [torch.ones(34, 5), torch.zeros(34, 5), -torch.eye(34)])
def test_equal_columns_get_a_uniform_rate(x: Tensor) -> None:
    ours = feature_mask_probabilities(x, torch.ones(34), 0.25)
    assert torch.equal(ours, torch.full((x.size(1),), 0.25))
    assert mask_features(x, ours).shape == x.shape


def test_equal_used_columns_beside_an_unused_one() -> None:
    x = torch.ones(3, 3)
    x[:, 1] = 0
    ours = feature_mask_probabilities(x, torch.tensor([1.0, 2.0, 3.0]), 0.25)
    assert ours.tolist() == [0.25] * 3


def test_integer_features() -> None:
    x, phi = (features() != 0).long(), centrality("degree", karate(), 34)
    ours = feature_mask_probabilities(x, phi, 0.2)
    assert torch.equal(ours, feature_mask_probabilities(x.float(), phi, 0.2))


def test_nothing_to_drop() -> None:
    nothing = torch.empty(2, 0, dtype=torch.long)
    assert edge_drop_probabilities(nothing, torch.ones(3), 0.3).shape == (0,)
    assert edge_drop_probabilities(nothing, torch.ones(0), 0.3).shape == (0,)
    assert feature_mask_probabilities(torch.empty(3, 0), torch.ones(3), 0.3).shape == (0,)


def test_bad_input() -> None:
    edges, phi, x = karate(), torch.ones(34), torch.ones(34, 2)
    for keywords in ({"p": 1.5}, {"p": float("nan")}, {"p": 0.5, "threshold": -0.1}):
        with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
            edge_drop_probabilities(edges, phi, **keywords)
        with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
            feature_mask_probabilities(x, phi, **keywords)
    for wrong in (-1.0, float("nan"), float("inf")):
        phi = torch.ones(34)
        phi[7] = wrong
        with pytest.raises(ValueError, match="node 7"):
            edge_drop_probabilities(edges, phi, 0.5)
    with pytest.raises(ValueError, match="num_nodes is 33"):
        edge_drop_probabilities(edges, torch.ones(33), 0.5)
    with pytest.raises(ValueError, match="give \\(N,\\)"):
        edge_drop_probabilities(edges, torch.ones(34, 1), 0.5)
    with pytest.raises(ValueError, match="34 nodes"):
        feature_mask_probabilities(torch.ones(5, 2), torch.ones(34), 0.5)
    x[3, 1] = float("nan")
    with pytest.raises(ValueError, match="1 columns"):
        feature_mask_probabilities(x, torch.ones(34), 0.5)
