"""Unit tests T6 to T8 of gCooL's specification, its wiring and its memory."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from graphcl.community import find_communities
from graphcl.kernels import Exclude, GroupWeight
from graphcl.losses import InfoNCE
from graphcl.methods import GCooL
from graphcl.methods.gcool import gcool_schedule
from graphcl.weights import SameCluster

STILL: dict[str, Any] = {"drop_edge": (0, 0), "mask_feature": (0, 0)}


def test_t6_swapping_the_views_leaves_the_loss(graph: Data) -> None:
    torch.manual_seed(0)
    method = GCooL(12, 8, communities=3, gamma=0.5, stride=10)
    method.after_step(0, 10)
    drawn = [method.view(graph.x, graph.edge_index, which) for which in (0, 1)]
    losses = []
    for order in ((0, 1), (1, 0)):
        method.view = lambda x, edges, which, order=order: drawn[order[which]]  # type: ignore
        losses.append(method(graph.x, graph.edge_index))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("detach", [True, False])
def test_t7_communities_reach_the_encoder_only_when_not_detached(detach: bool, graph: Data) -> None:
    torch.manual_seed(0)
    method = GCooL(12, 8, communities=3, detach_assign=detach)
    h = F.normalize(method.head(method.encode(graph.x, graph.edge_index)))
    loss = method.deca(method.memberships(h), graph.edge_index)
    loss.backward()
    reached = any(p.grad is not None and bool(p.grad.any()) for p in method.encoder.parameters())
    assert reached != detach
    assert method.centres.grad is not None
    assert bool(method.centres.grad.any())


def test_t8_schedule() -> None:
    assert gcool_schedule(0, 500) == (1.0, 1.0)
    assert gcool_schedule(50, 500) == pytest.approx((0.5, math.exp(-0.1)))
    assert gcool_schedule(100, 500) == pytest.approx((0.0, math.exp(-0.2)))
    assert gcool_schedule(500, 500) == pytest.approx((0.0, math.exp(-1)))


def test_loss_is_the_scheduled_sum_and_ends_in_the_node_term(graph: Data) -> None:
    method = GCooL(12, 8, communities=3, stride=10, **STILL)
    h = F.normalize(method.head(method.encode(graph.x, graph.edge_index)))
    r = method.memberships(h)
    node = method.loss(h, h)
    own = r.argmax(1)
    terms = method.deca(r, graph.edge_index), method.resc(h, h, own, own, 3)
    for epoch in (0, 1, 2, 7):
        method.epoch.fill_(epoch)
        share, part = max(0.0, 1 - epoch / 2), math.exp(-epoch / 10)
        wanted = node + share * (part * terms[0] + (1 - part) * terms[1])
        torch.testing.assert_close(method(graph.x, graph.edge_index), wanted)


def test_epoch_is_kept_in_the_state() -> None:
    method = GCooL(12, 8)
    method.after_step(4, 10)
    other = GCooL(12, 8)
    other.load_state_dict(method.state_dict())
    assert int(other.epoch) == 5


def test_widths_and_communities(graph: Data) -> None:
    method = GCooL(12, 8, inner=20, communities=3, layers=3)
    assert method.encoder.channels == (20, 20, 8)
    label = method.communities(graph.x, graph.edge_index)
    assert label.shape == (graph.num_nodes,)
    assert 0 <= int(label.min()) <= int(label.max()) < 3


def test_bad_settings() -> None:
    for options, words in (
        ({"communities": 0}, "communities"),
        ({"communities": 2.5}, "got 2.5"),
        ({"stride": 0}, "stride"),
        ({"scheme": "fame"}, "unknown centrality 'fame'"),
        ({"threshold": 1.5}, "threshold must be a rate"),
        ({"inner": 16, "encoder": torch.nn.Linear(12, 8)}, "inner=16"),
    ):
        with pytest.raises(ValueError, match=words):
            GCooL(12, 8, **options)


def test_a_step_holds_nothing_of_size_n_by_n(largest: Any) -> None:
    nodes = 20_000

    torch.manual_seed(0)
    method = GCooL(4, 4, communities=5, gamma=0.1)
    method.after_step(0, 100)
    edges = torch.randint(nodes, (2, 40_000))
    with largest:
        method(torch.rand(nodes, 4), edges).backward()
    assert largest.entries < nodes * nodes / 20


@pytest.mark.parametrize("name", ["louvain", "heat", "log_communicability"])
def test_communities_found_by_name_stand_in_for_the_learned_ones(name: str, graph: Data) -> None:
    count = None if name == "louvain" else 3
    method = GCooL(12, 8, communities=name, num_communities=count, stride=10, **STILL)
    label = find_communities(name, graph.edge_index, 31, num_communities=count)
    assert torch.equal(method.communities(graph.x, graph.edge_index), label)
    assert not any("centres" in key for key in method.state_dict())
    h = F.normalize(method.head(method.encode(graph.x, graph.edge_index)))
    resc = method.resc(h, h, label, label, int(label.max()) + 1)
    for epoch in (0, 1, 2):
        method.epoch.fill_(epoch)
        wanted = method.loss(h, h) + max(0.0, 1 - epoch / 2) * resc
        torch.testing.assert_close(method(graph.x, graph.edge_index), wanted)


def test_a_partition_is_found_once_per_graph(graph: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counting(name: str, edge_index: torch.Tensor, nodes: int, **_: Any) -> torch.Tensor:
        seen.append(nodes)
        return torch.arange(nodes) % 3

    monkeypatch.setattr("graphcl.methods.gcool.find_communities", counting)
    method = GCooL(12, 8, communities="louvain")
    for _ in range(3):
        method(graph.x, graph.edge_index)
    method(graph.x, graph.edge_index[:, :-2])
    assert seen == [31, 31]


def test_found_communities_serve_as_groups(graph: Data) -> None:
    label = find_communities("louvain", graph.edge_index, 31)
    z = torch.randn(2, 31, 4)
    excluded = InfoNCE()(z[0], z[1], exclude=Exclude.same_group(label, label))
    count = int(label.max()) + 1
    table = torch.zeros(count, count).fill_diagonal_(-torch.inf)
    weighed = InfoNCE(weight=GroupWeight(table, label, label))(z[0], z[1])
    torch.testing.assert_close(weighed, excluded)
    torch.testing.assert_close(InfoNCE(weight=SameCluster(label))(z[0], z[1]), excluded)


def test_bad_names_of_communities() -> None:
    for options, words in (
        ({"communities": "walktrap"}, "communities 'walktrap'"),
        ({"communities": "heat"}, "give num_communities"),
        ({"communities": "louvain", "num_communities": 4}, "itself"),
        ({"communities": 5, "num_communities": 4}, "leave num_communities"),
    ):
        with pytest.raises(ValueError, match=words):
            GCooL(12, 8, **options)
    with pytest.raises(ValueError, match="no memberships"):
        GCooL(12, 8, communities="louvain").memberships(torch.eye(8))


def test_the_official_mode_takes_one_direction(graph: Data) -> None:
    """T6 fails for the release: its node term changes when the views are swapped."""
    torch.manual_seed(0)
    method = GCooL(12, 8, communities=3, stride=10, mode="official")
    assert method.resc.mode == "official"
    h1, h2 = F.normalize(torch.randn(2, 30, 8, dtype=torch.float64), dim=2)
    one_way = torch.nn.functional.cross_entropy(h1 @ h2.T / method.tau, torch.arange(30))
    torch.testing.assert_close(method.loss(h1, h2), one_way)
    assert not torch.isclose(method.loss(h1, h2), method.loss(h2, h1))
    own = InfoNCE(0.7)
    assert GCooL(12, 8, mode="official", loss=own).loss is own
    with pytest.raises(ValueError, match="unknown mode"):
        GCooL(12, 8, mode="release")
