"""PamCGC: loss, preparation, clusters found, graphs and features that are out of the ordinary."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch_geometric.data import Data

from graphcl.community import (
    clustering_divergence,
    influence_pairs,
    sharpened_target,
    student_assignment,
)
from graphcl.methods import PamCGC
from graphcl.methods.preparation import Preparation
from graphcl.probes import clustering_scores

SMALL: dict[str, Any] = {"hidden": (16, 16), "width": 4, "pretrain_epochs": 5, "restarts": 3}


def build(width: int = 12, clusters: int = 3, **options: Any) -> PamCGC:
    torch.manual_seed(0)
    return PamCGC(width, clusters, **{**SMALL, **options})


def train(method: PamCGC, data: Data, steps: int = 60) -> list[float]:
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = method(data.x, data.edge_index)
        loss.backward()
        optimizer.step()
        method.after_step(step, steps)
        losses.append(float(loss.detach()))
    return losses


def test_loss_is_the_weighted_sum(graph: Data) -> None:
    method = build(alpha=0.3, beta=1.7, order=2, tau=0.8)
    z = method.encode(graph.x, graph.edge_index)
    q = student_assignment(z, method.centres)
    pairs = influence_pairs(graph.edge_index, 31, 2, keep=64)
    wanted = 0.3 * method.loss(z, *pairs, q)
    wanted = wanted + 1.7 * clustering_divergence(sharpened_target(q), q)
    torch.testing.assert_close(method(graph.x, graph.edge_index), wanted)
    for ours, theirs in zip(method.latest(), (z, q), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert method.approximation() == method.loss.approximation(z, q)


@pytest.mark.parametrize("options", [{}, {"assign": "soft"}, {"mode": "official"}], ids=str)
def test_a_step_holds_nothing_of_size_n_by_n(options: dict[str, Any], largest: Any) -> None:
    nodes = 20_000
    method = build(4, order=2, **options)
    with largest:
        method(torch.rand(nodes, 4), torch.randint(nodes, (2, 40_000))).backward()
    assert largest.entries < nodes * nodes / 20


@pytest.mark.parametrize(
    "options",
    [{}, {"walks": 3}, {"mode": "official"}, {"assign": "soft", "weight": "none"}],
    ids=str,
)
def test_every_trained_parameter_gets_a_gradient(options: Any, graph: Data) -> None:
    method = build(**options)
    method(graph.x, graph.edge_index).backward()
    for name, parameter in method.named_parameters():
        if "decoder" not in name:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
    assert method.centres.grad is not None
    assert bool(method.centres.grad.any())


def test_the_graph_improves_the_clusters_of_the_features(
    block_model: Callable[..., Data],
) -> None:
    before, after = [], []
    for seed in range(2):
        data = block_model(150, inside=0.25, outside=0.01, features=16, seed=seed)
        data.x = data.x + 2.5 * torch.nn.functional.one_hot(data.y, 16)
        method = build(16, pretrain_epochs=60, pretrain_batch=32, hidden=(32, 32), alpha=2.0)
        method.pretrain(data.x, data.edge_index, Preparation(seed))
        start = method.communities(data.x, data.edge_index)
        losses = train(method, data, 100)
        assert losses[-1] < losses[0]
        end = method.communities(data.x, data.edge_index)
        before.append(clustering_scores(data.y, start)["nmi"])
        after.append(clustering_scores(data.y, end)["nmi"])
    assert sum(after) / 2 > sum(before) / 2 + 0.15
    assert sum(after) / 2 > 0.65


def test_preparation_pretrains_and_puts_centres_by_k_means(graph: Data) -> None:
    method = build()
    before = method.autoencoder.encoder[0].weight.clone()  # type: ignore[operator]
    method.pretrain(graph.x, graph.edge_index, Preparation(4))
    assert not torch.equal(method.autoencoder.encoder[0].weight, before)
    z = method.embed(graph.x, graph.edge_index).double().numpy()
    means = KMeans(3, n_init=3, random_state=4).fit(z)
    wanted = torch.from_numpy(means.cluster_centers_).float()
    torch.testing.assert_close(method.centres.detach(), wanted)
    label = method.communities(graph.x, graph.edge_index)
    assert torch.equal(label, torch.from_numpy(means.labels_).long())


def test_edges_play_no_part_in_encoding(graph: Data) -> None:
    method = build()
    nothing = torch.empty(2, 0, dtype=torch.long)
    assert torch.equal(method.embed(graph.x, nothing), method.embed(graph.x, graph.edge_index))


def test_names_of_nodes_do_not_matter(graph: Data) -> None:
    order = torch.randperm(31)
    place = order.argsort()
    method = build(order=2, keep=None)
    wanted = method(graph.x, graph.edge_index)
    torch.testing.assert_close(method(graph.x[order], place[graph.edge_index]), wanted)


def test_positives_are_kept_for_the_same_edges_and_walks_drawn_anew(graph: Data) -> None:
    method = build()
    first = method.positives(graph.edge_index, 31)
    assert method.positives(graph.edge_index, 31) is first
    assert method.positives(graph.edge_index.clone(), 31) is first
    assert method.positives(graph.edge_index[:, :-4], 31) is not first
    assert method.positives(graph.edge_index, 40)[0].max() == 39
    walking = build(walks=2, order=2)
    draws = [walking.positives(graph.edge_index, 31)[0] for _ in range(2)]
    assert draws[0].shape != draws[1].shape or not torch.equal(*draws)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_and_half_features(graph: Data) -> None:
    x = torch.where(graph.x > 0.8, graph.x, 0.0).half().float()
    wanted = build()(x, graph.edge_index)
    torch.testing.assert_close(build()(x.to_sparse_csr(), graph.edge_index), wanted)
    torch.testing.assert_close(build()(x.half(), graph.edge_index), wanted)
    methods = [build() for _ in range(3)]
    for method, given in zip(methods, (x, x.to_sparse_csr(), x.half()), strict=True):
        method.pretrain(given, graph.edge_index)
    for method in methods[1:]:
        torch.testing.assert_close(method.centres, methods[0].centres, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast(dtype: torch.dtype, graph: Data) -> None:
    method = build()
    with torch.autocast("cpu", dtype=dtype):
        loss = method(graph.x, graph.edge_index)
    assert loss.dtype == torch.float32
    loss.backward()
    torch.testing.assert_close(loss, method(graph.x, graph.edge_index), rtol=0.1, atol=0.05)


def odd_graphs() -> dict[str, Tensor]:
    ring = torch.stack([torch.arange(31), (torch.arange(31) + 1) % 31])
    return {
        "no edges": torch.empty(2, 0, dtype=torch.long),
        "repeated": ring.repeat(1, 3),
        "self-loops": torch.cat([ring, torch.arange(31).expand(2, -1)], 1),
        "one edge": torch.tensor([[3], [4]]),
    }


@pytest.mark.parametrize("name", odd_graphs())
@pytest.mark.parametrize("options", [{}, {"mode": "official"}, {"walks": 2}], ids=str)
def test_odd_graphs(name: str, options: Any, graph: Data) -> None:
    data = Data(x=graph.x, edge_index=odd_graphs()[name])
    method = build(order=3, **options)
    method.pretrain(data.x, data.edge_index)
    assert all(abs(value) < 100 for value in train(method, data, 3))
    assert method.embed(data.x, data.edge_index).isfinite().all()


def test_a_community_that_runs_empty(graph: Data) -> None:
    method = build()
    with torch.no_grad():
        method.centres[1] = 1e6
    assert all(abs(value) < 100 for value in train(method, graph, 3))
    assert 1 not in method.communities(graph.x, graph.edge_index)


def test_nodes_that_are_all_alike(graph: Data) -> None:
    data = Data(x=torch.ones(31, 12), edge_index=graph.edge_index)
    method = build()
    with pytest.warns(UserWarning, match="distinct clusters"):
        method.pretrain(data.x, data.edge_index)
    assert all(abs(value) < 100 for value in train(method, data, 3))


def test_bad_settings_and_inputs_are_named(graph: Data) -> None:
    for options, words in (
        ({"clusters": 1}, "clusters must be an integer of at least 2, got 1"),
        ({"clusters": 2.5}, "clusters"),
        ({"alpha": -1.0}, "alpha"),
        ({"beta": float("nan")}, "beta"),
        ({"order": 0}, "order"),
        ({"walks": -1}, "walks"),
        ({"restarts": 0}, "restarts"),
        ({"pretrain_epochs": -1}, "pretrain_epochs"),
        ({"tau": 0.0}, "tau"),
        ({"mode": "offical"}, "mode 'offical'"),
        ({"hidden": ()}, None),
    ):
        if words is None:
            build(**options)
            continue
        with pytest.raises(ValueError, match=words):
            build(**options)
    with pytest.raises(ValueError, match="32 clusters were asked for, but there are 31 nodes"):
        build(clusters=32).pretrain(graph.x, graph.edge_index)
    for value in (torch.nan, torch.inf):
        x = graph.x.clone()
        x[5, 3] = value
        with pytest.raises(ValueError, match="the first is node 5"):
            build().pretrain(x, graph.edge_index)
    with pytest.raises(ValueError, match="node ids 0 to 29, num_nodes is 10"):
        build()(graph.x[:10], graph.edge_index)
    with pytest.raises(RuntimeError, match="call the method first"):
        build().latest()


def test_centres_are_put_anew_on_directions(graph: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(clusters=3, recentre=2)
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (31,), generator=generator)
    # Lengths differ by more than directions: k-means of the rows as they are would cut by length.
    length = 1 + 20 * torch.rand(31, 1, generator=generator)
    codes = torch.eye(4)[label] + 0.05 * torch.randn(31, 4, generator=generator)
    codes = length * codes
    monkeypatch.setattr(method, "encode", lambda x, edge_index: codes)
    with torch.no_grad():
        method.centres[:2] = codes[label == 0].mean(0)  # two share a cluster
        method.centres[2] = codes[label > 0].mean(0)
    before = method.centres.detach().clone()
    for step in range(2):
        method(graph.x, graph.edge_index)
        assert torch.equal(method.centres, before)
        method.after_step(step, 4)
    method.eval()
    method(graph.x, graph.edge_index)
    assert torch.equal(method.centres, before)
    method.train()
    method(graph.x, graph.edge_index)
    means = torch.stack([codes[label == k].mean(0) for k in range(3)])
    nearest = torch.cdist(method.centres.detach(), means)
    assert sorted(nearest.argmin(1).tolist()) == [0, 1, 2]
    torch.testing.assert_close(nearest.min(1).values, torch.zeros(3), atol=1e-5, rtol=0)
    # Once all have a cluster of their own, none changes places.
    after = method.centres.detach().clone()
    method(graph.x, graph.edge_index)
    torch.testing.assert_close(method.centres, after)
    assert method.centres.requires_grad
    assert int(method.state_dict()["epoch"]) == 2


def test_new_centres_in_training_are_reproducible(graph: Data) -> None:
    def trained() -> Tensor:
        method = build(recentre=5)
        method.pretrain(graph.x, graph.edge_index, Preparation(0))
        torch.manual_seed(0)
        losses = train(method, graph, 12)
        assert all(loss == loss for loss in losses)
        return method.centres.detach()

    assert torch.equal(trained(), trained())


def test_new_centres_need_a_count() -> None:
    with pytest.raises(ValueError, match="recentre must be an integer of at least 0, got -1"):
        build(recentre=-1)


def test_positives_follow_edges_that_are_changed_in_place(graph: Data) -> None:
    method, edges = build(), graph.edge_index.clone()
    before = method.positives(edges, 31)[0]
    edges.fill_(0)
    pairs, weight = method.positives(edges, 31)
    assert not torch.equal(pairs, before)
    wanted = influence_pairs(edges, 31, 1, keep=64)
    assert torch.equal(pairs, wanted[0])
    assert torch.equal(weight, wanted[1])


def test_a_centre_without_a_cluster_of_k_means_stays() -> None:
    method = build(6, 3, recentre=1, pretrain_epochs=0)
    x = torch.cat([torch.ones(5, 6), -torch.ones(5, 6)])
    edges = torch.tensor([[0], [1]])
    method.pretrain(x, edges)
    method.after_step(0, 3)
    before = method.centres.detach().clone()
    method(x, edges)
    moved = (method.centres.detach() - before).norm(dim=1)
    assert bool((moved == 0).any())
    assert float(method.centres.detach().norm(dim=1).min()) > 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"freedom": 0.0}, "freedom must be finite and positive, got 0.0"),
        ({"pretrain_lr": -1.0}, "pretrain_lr must be finite and positive, got -1.0"),
        ({"keep": 0}, "keep must be an integer of at least 1, got 0"),
    ],
)
def test_settings_are_checked_before_training(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build(**options)
