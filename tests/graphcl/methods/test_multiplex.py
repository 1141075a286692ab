"""gCooL on several relations: which pairs are contrasted, what is shared, and how it is fused."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from graphcl.methods import GCooL, MultiplexGCooL
from graphcl.methods.multiplex import relation_views
from graphcl.probes import linear_probe, make_split

STILL: dict[str, Any] = {"drop_edge": (0, 0), "mask_feature": (0, 0)}
NODES = 20


@pytest.fixture
def relations() -> tuple[Tensor, list[Tensor]]:
    """Features and three relations over the same nodes."""
    edges = [torch.randint(NODES, (2, 60)) for _ in range(3)]
    return torch.rand(NODES, 12), edges


def steps(method: MultiplexGCooL, x: Tensor, edges: list[Tensor], count: int) -> list[float]:
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    found = []
    for step in range(count):
        method.train()
        optimizer.zero_grad()
        loss = method(x, edges)
        loss.backward()
        optimizer.step()
        method.after_step(step, count)
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("share", [True, False])
def test_loss_is_the_sum_over_unordered_pairs(relations: Any, share: bool) -> None:
    x, edges = relations
    method = MultiplexGCooL(12, 3, 8, share_encoder=share, communities=4, corrupt=False, stride=10)
    for epoch in (0, 1, 5):
        method.after_step(epoch - 1, 10)
        single = method.relations[0]
        assert isinstance(single, GCooL)
        h = [
            F.normalize(single.head(m.encoder(x, e)))  # type: ignore[operator, union-attr]
            for m, e in zip(method.relations, edges, strict=True)
        ]
        want = [
            single.pair_loss(h[v], h[w], (edges[v], edges[w])) for v, w in ((0, 1), (0, 2), (1, 2))
        ]
        torch.testing.assert_close(method(x, edges), torch.stack(want).sum())


def test_features_that_are_not_finite_are_named(relations: Any) -> None:
    x, edges = relations
    x[3, 1] = torch.nan
    with pytest.raises(ValueError, match="features of 1 of 20 nodes"):
        MultiplexGCooL(12, 3, 8, communities=4)(x, edges)


def test_a_step_holds_nothing_of_size_n_by_n(largest: Any) -> None:
    nodes = 20_000
    method = MultiplexGCooL(4, 2, 4, communities=5, gamma=0.1)
    method.after_step(0, 100)
    edges = [torch.randint(nodes, (2, 40_000)) for _ in range(2)]
    with largest:
        method(torch.rand(nodes, 4), edges).backward()
    assert largest.entries < nodes * nodes / 20


def test_order_of_relations_does_not_matter_with_one_encoder(relations: Any) -> None:
    x, edges = relations
    method = MultiplexGCooL(12, 3, 8, share_encoder=True, communities=4, corrupt=False, stride=10)
    method.after_step(0, 10)
    torch.testing.assert_close(method(x, edges), method(x, edges[::-1]))
    torch.testing.assert_close(method.embed(x, edges), method.embed(x, edges[::-1]))


def test_what_is_shared(relations: Any) -> None:
    sizes = {}
    for share in (True, False):
        method = MultiplexGCooL(12, 3, 8, share_encoder=share)
        assert len({id(m.head) for m in method.relations}) == 1
        assert len({id(m.centres) for m in method.relations}) == 1
        assert len({id(m.encoder) for m in method.relations}) == (1 if share else 3)
        sizes[share] = sum(p.numel() for p in method.parameters())
    encoder = sum(p.numel() for p in GCooL(12, 8).encoder.parameters())
    assert sizes[False] - sizes[True] == 2 * encoder


def test_one_relation_within_itself_is_gcool(graph: Data) -> None:
    """Without corruption both versions are the graph itself."""
    torch.manual_seed(1)
    single = GCooL(12, 8, communities=3, stride=10, **STILL)
    torch.manual_seed(1)
    method = MultiplexGCooL(12, 1, 8, within=True, communities=3, stride=10, **STILL)
    for one in (single, method):
        one.after_step(0, 10)
    torch.testing.assert_close(
        method(graph.x, [graph.edge_index]), single(graph.x, graph.edge_index)
    )


def test_within_adds_one_pair_per_relation(relations: Any) -> None:
    x, edges = relations
    method = MultiplexGCooL(12, 3, 8, within=True, corrupt=False)
    seen: list[int] = []
    single: Any = method.relations[0]
    real = single.pair_loss
    single.pair_loss = lambda *a: (seen.append(1), real(*a))[1]
    method(x, edges)
    assert len(seen) == len(list(combinations(range(3), 2))) + 3


def test_fusion(relations: Any) -> None:
    x, edges = relations
    torch.manual_seed(2)
    mean = MultiplexGCooL(12, 3, 8)
    torch.manual_seed(2)
    concat = MultiplexGCooL(12, 3, 8, fusion="concat")
    each = [m.embed(x, e) for m, e in zip(mean.relations, edges, strict=True)]  # type: ignore
    torch.testing.assert_close(mean.embed(x, edges), torch.stack(each).mean(0))
    torch.testing.assert_close(concat.embed(x, edges), torch.cat(each, 1))
    assert not concat.embed(x, edges).requires_grad
    assert all(module.training for module in concat.modules())


@pytest.mark.parametrize(
    "options",
    [{}, {"share_encoder": True}, {"within": True}, {"communities": "louvain"}, {"corrupt": False}],
)
def test_training_lowers_the_loss(block_model: Callable[..., Data], options: Any) -> None:
    """Three samples of one block model; a short stride leaves the node term alone."""
    data = [block_model(60, inside=0.4, outside=0.05, features=12, seed=seed) for seed in range(3)]
    torch.manual_seed(0)
    method = MultiplexGCooL(12, 3, 8, **{"stride": 1, **options})
    found = steps(method, data[0].x, [one.edge_index for one in data], 60)
    assert all(value == value for value in found)
    assert sum(found[-10:]) < 0.97 * sum(found[10:20])


def test_several_relations_tell_more_than_one(block_model: Callable[..., Data]) -> None:
    """Each relation knows one of two bits of the label; only together they know both."""
    y = torch.arange(200) % 4
    generator = torch.Generator().manual_seed(0)
    edges = []
    for bit in (y % 2, y // 2):
        rate = torch.where(bit[:, None] == bit, 0.12, 0.01)
        joined = (torch.rand(200, 200, generator=generator) < rate).triu(1)
        edges.append((joined | joined.T).nonzero().T)
    x = torch.randn(200, 32, generator=generator)
    split = make_split(Data(x=x, y=y, num_nodes=200), "random10", seed=0)
    torch.manual_seed(0)
    method = MultiplexGCooL(32, 2, 16, within=True, fusion="concat", communities=2)
    steps(method, x, edges, 40)
    both = linear_probe(method.embed(x, edges), y, split).accuracy
    alone = [
        linear_probe(part, y, split).accuracy for part in method.embed(x, edges).split(16, dim=1)
    ]
    assert both > max(alone) + 0.1


def test_a_hetero_graph_of_one_node_type(relations: Any) -> None:
    x, edges = relations
    data = HeteroData()
    data["paper"].x = x
    for name, edge_index in zip(("author", "subject", "term"), edges, strict=True):
        data["paper", name, "paper"].edge_index = edge_index
    found, views = relation_views(data)
    assert found is x
    assert all(a is b for a, b in zip(views, edges, strict=True))
    data["person"].x = x
    with pytest.raises(ValueError, match="one node type, this one has paper, person"):
        relation_views(data)
    empty = HeteroData()
    empty["paper"].num_nodes = 3
    with pytest.raises(ValueError, match="'paper' has no features"):
        relation_views(empty)
    empty["paper"].x = x
    with pytest.raises(ValueError, match="no relation"):
        relation_views(empty)


def test_bad_settings_and_inputs_are_named(relations: Any) -> None:
    x, edges = relations
    for call, words in (
        (lambda: MultiplexGCooL(12, 1, 8), "relations=1 gives no pair"),
        (lambda: MultiplexGCooL(12, 0, 8, within=True), "relations=0"),
        (lambda: MultiplexGCooL(12, 2, 8, fusion="sum"), "fusion 'sum'"),  # type: ignore[arg-type]
        (lambda: MultiplexGCooL(12, 2, 8)(x, edges), "list of 2 edge indices.*got 3"),
        (lambda: MultiplexGCooL(12, 2, 8).embed(x, edges[0]), "got a tensor"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
