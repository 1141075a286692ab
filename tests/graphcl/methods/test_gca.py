import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.methods import GCA, GRACE
from graphcl.views import edge_drop_probabilities, feature_mask_probabilities, pagerank_centrality

SCHEMES = ["degree", "pagerank", "eigenvector"]


def ring(nodes: int = 12) -> Data:
    """All nodes alike, each with a feature of its own."""
    here = torch.arange(nodes)
    following = (here + 1) % nodes
    edges = torch.stack([torch.cat([here, following]), torch.cat([following, here])])
    return Data(x=torch.eye(nodes), edge_index=edges)


def star(leaves: int = 6) -> Data:
    hub, leaf = torch.zeros(leaves, dtype=torch.long), torch.arange(1, leaves + 1)
    edges = torch.stack([torch.cat([hub, leaf]), torch.cat([leaf, hub])])
    return Data(x=torch.eye(leaves + 1), edge_index=edges)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_uniform_centrality_gives_the_probabilities_of_grace(scheme: str) -> None:
    data = ring()
    rates = {"drop_edge": (0.3, 0.5), "mask_feature": (0.2, 0.6)}
    method = GCA(12, 8, scheme=scheme, **rates)
    for (edge, feature), drop, mask in zip(
        method.probabilities(data.x, data.edge_index), *rates.values(), strict=True
    ):
        assert edge.shape == (24,)
        assert feature.shape == (12,)
        torch.testing.assert_close(edge, torch.full_like(edge, drop))
        torch.testing.assert_close(feature, torch.full_like(feature, mask))
    twin = GRACE(12, 8, **rates)
    twin.load_state_dict(method.state_dict())
    values = []
    for either in (method, twin):
        torch.manual_seed(3)
        values.append(float(either(data.x, data.edge_index).detach()))
    assert values[0] == values[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_edges_into_the_hub_and_its_features_are_spared(scheme: str) -> None:
    data = star()
    method = GCA(7, 8, scheme=scheme, drop_edge=(0.3, 0.6), mask_feature=(0.2, 0.2))
    for edge, feature in method.probabilities(data.x, data.edge_index):
        into_hub = data.edge_index[1] == 0
        assert not edge[into_hub].any()
        assert (edge[~into_hub] > 0.5).all()
        assert feature[0] == 0
        assert (feature[1:] > 0).all()
    assert edge.max() == pytest.approx(0.7)  # 0.6 twice, cut at the threshold
    low = GCA(7, 8, scheme=scheme, drop_edge=(0.3, 0.6), threshold=0.25)
    assert all(e.max() <= 0.25 for e, _ in low.probabilities(data.x, data.edge_index))


def test_probabilities_are_those_of_the_named_centrality() -> None:
    data = star()
    importance = pagerank_centrality(data.edge_index, 7)
    method = GCA(7, 8, scheme="pagerank", drop_edge=(0.1, 0.2), mask_feature=(0.3, 0.4))
    first, second = method.probabilities(data.x, data.edge_index)
    torch.testing.assert_close(first[0], edge_drop_probabilities(data.edge_index, importance, 0.1))
    torch.testing.assert_close(second[1], feature_mask_probabilities(data.x, importance, 0.4))


def test_views_follow_the_probabilities() -> None:
    data = star()
    method = GCA(7, 8, drop_edge=(0.4, 0.4), mask_feature=(0.3, 0.3))
    edge, feature = method.probabilities(data.x, data.edge_index)[1]
    dropped, masked = torch.zeros(12), torch.zeros(7)
    draws = 400
    for _ in range(draws):
        x, edges = method.view(data.x, data.edge_index, 1)
        kept = {(int(u), int(v)) for u, v in edges.T}
        dropped += torch.tensor([(int(u), int(v)) not in kept for u, v in data.edge_index.T])
        masked += (x.sum(0) == 0).float()
    torch.testing.assert_close(dropped / draws, edge, rtol=0, atol=0.1)
    torch.testing.assert_close(masked / draws, feature, rtol=0, atol=0.1)


def test_probabilities_are_computed_once_per_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    import graphcl.methods.gca as module

    seen: list[int] = []
    real = module.centrality

    def counting(name: str, edge_index: Tensor, num_nodes: int) -> Tensor:
        seen.append(num_nodes)
        return real(name, edge_index, num_nodes)

    monkeypatch.setattr(module, "centrality", counting)
    first, second = ring(), star()
    method = GCA(12, 8)
    for _ in range(3):
        method(first.x, first.edge_index)
    assert seen == [12]
    method.probabilities(torch.rand(7, 12), second.edge_index)
    assert seen == [12, 7]
    # Other edges of a graph of the same size are another graph.
    cut = first.edge_index[:, :-4]
    assert len(method.probabilities(first.x, cut)[0][0]) == 20
    assert len(method.probabilities(first.x, first.edge_index)[0][0]) == 24
    assert seen == [12, 7, 12, 12]
    # Features that are learned change no centrality.
    method.probabilities(first.x + 1, first.edge_index.clone())
    assert seen == [12, 7, 12, 12]


def test_cache_is_no_part_of_the_weights() -> None:
    data = ring()
    method = GCA(12, 8)
    before = set(method.state_dict())
    method(data.x, data.edge_index)
    assert set(method.state_dict()) == before


def test_unknown_scheme() -> None:
    data = ring()
    with pytest.raises(ValueError, match="unknown centrality 'closeness'"):
        GCA(12, 8, scheme="closeness")(data.x, data.edge_index)
