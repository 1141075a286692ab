"""POT around a host: the host's views and loss are its own, the budget is kept, errors tell."""

import warnings
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphcl.losses import POTRegularizer
from graphcl.losses.pot import DrawnView
from graphcl.methods import BGRL, COSTA, DGI, GCA, GRACE, POT, GCooL, ProGCL
from graphcl.methods.grace import GRACE as Family
from graphcl.pot import edge_budgets
from graphcl.pot.adjacency import check_view

HOSTS: dict[str, Any] = {
    "grace": lambda **o: GRACE(12, 8, edge_budget="mean", **o),
    "gca": lambda **o: GCA(12, 8, edge_budget="mean", **o),
    "gcool": lambda **o: GCooL(12, 8, communities=3, edge_budget="mean", **o),
    "progcl": lambda **o: ProGCL(12, 8, epoch_start=0, scheme="degree", edge_budget="mean", **o),
    "costa": lambda **o: COSTA(12, 8, edge_budget="mean", **o),
    "deep grace": lambda **o: GRACE(12, 8, layers=3, edge_budget=0.1, activation="prelu", **o),
}


@pytest.mark.parametrize("kind", ["pairwise", "certified"])
@pytest.mark.parametrize("name", HOSTS)
def test_loss_is_the_hosts_and_the_regularisers(name: str, kind: Any, graph: Data) -> None:
    method = POT(HOSTS[name](), POTRegularizer(kind, kappa=0.3, check=True))
    host, x, edges = method.host, graph.x, graph.edge_index
    torch.manual_seed(7)
    loss = method(x, edges)
    torch.manual_seed(7)
    plain = host(x, edges)
    torch.manual_seed(7)
    drawn = [host.view(x, edges, which) for which in (0, 1)]
    views = [DrawnView(*view, host.encode(*view)) for view in drawn]
    scores = method.regularizer.scores(host.encoder, x, edges, views, host.budgets(x, edges))
    term = sum(torch.nn.functional.softplus(-one).mean() for one in scores) / 2
    torch.testing.assert_close(loss, 0.7 * plain + 0.3 * term)
    assert not host.encoder._forward_hooks
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in host.encoder.parameters())


def test_a_host_that_encodes_one_view_is_refused(graph: Data) -> None:
    method = POT(COSTA(12, 8, views="single", edge_budget="mean"))
    with pytest.raises(ValueError, match="encoded 1"):
        method(graph.x, graph.edge_index)


def test_kappa_zero_is_the_host(graph: Data) -> None:
    method = POT(GRACE(12, 8), POTRegularizer(kappa=0))
    torch.manual_seed(3)
    loss = method(graph.x, graph.edge_index)
    torch.manual_seed(3)
    assert torch.equal(loss, method.host(graph.x, graph.edge_index))
    z = method.embed(graph.x, graph.edge_index)
    assert torch.equal(z, method.host.embed(graph.x, graph.edge_index))


@pytest.mark.parametrize("budget", ["mean", 0.2])
@pytest.mark.parametrize("cls", [GRACE, GCA, GCooL])
def test_views_keep_to_the_budget(cls: Any, budget: Any, graph: Data) -> None:
    """What is drawn and what is bounded are the same set."""
    host = cls(12, 8, edge_budget=budget, drop_edge=(0.6, 0.3), mask_feature=(0.9, 0.8))
    host.column_budget = 2
    budgets = host.budgets(graph.x, graph.edge_index)
    assert host.budgets(graph.x, graph.edge_index) is budgets
    for which in (0, 1):
        rate = host.edge_rate(graph.x, graph.edge_index, which)
        delta = None if budget == "mean" else budget
        wanted = edge_budgets(graph.edge_index, rate, 31, delta=delta)
        assert torch.equal(budgets[which], wanted)
        lost = 0
        for _ in range(10):
            x, edges = host.view(graph.x, graph.edge_index, which)
            check_view(graph.edge_index, edges, budgets[which])
            assert int(((x == 0).all(0) & (graph.x != 0).any(0)).sum()) <= 2
            lost += graph.edge_index.shape[1] - edges.shape[1]
        assert lost > 0


def test_without_a_budget_the_views_are_as_before(graph: Data) -> None:
    """The papers' coins, in the order in which they always fell."""
    from graphcl.views import drop_edges, mask_features

    host = GRACE(12, 8)
    torch.manual_seed(1)
    x, edges = host.view(graph.x, graph.edge_index, 1)
    torch.manual_seed(1)
    assert torch.equal(edges, drop_edges(graph.edge_index, 0.4))
    assert torch.equal(x, mask_features(graph.x, 0.4))


@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("name", HOSTS)
def test_certified_compactness_is_below_the_sampled_one(
    name: str, columns: int | None, graph: Data
) -> None:
    method = POT(HOSTS[name](column_budget=columns))
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for step in range(6):
        optimizer.zero_grad()
        method(graph.x, graph.edge_index).backward()
        optimizer.step()
        method.after_step(step, 6)
    assert int(method.regularizer.epoch) == 6
    method.train()
    few = method.compactness(graph.x, graph.edge_index, samples=1)
    torch.manual_seed(0)
    found = method.compactness(graph.x, graph.edge_index, samples=25)
    assert method.training
    assert found.sampled.shape == found.certified.shape == (31,)
    assert bool((found.certified <= found.sampled + 1e-5).all())
    assert bool((few.certified <= few.sampled + 1e-5).all())
    assert float(found.sampled.mean() - found.certified.mean()) > 0
    with pytest.raises(ValueError, match="samples must be at least 1"):
        method.compactness(graph.x, graph.edge_index, samples=0)


def test_masked_features_are_the_views_own_under_a_column_budget(graph: Data) -> None:
    method = POT(
        GRACE(12, 8, edge_budget="mean", column_budget=1, mask_feature=(0.5, 0.5)),
        POTRegularizer(intervals="sound", kappa=0.5),
    )
    torch.manual_seed(2)
    seen = []
    scores = method.regularizer.scores
    method.regularizer.scores = lambda *a, **o: seen.append((a[3], o["columns"])) or scores(*a, **o)
    method(graph.x, graph.edge_index).backward()
    ((views, columns),) = seen
    assert columns == 1
    assert all(not torch.equal(view.x, graph.x) for view in views)


def test_hosts_that_are_refused() -> None:
    for host, words in (
        (BGRL(12, (8, 4)), "GRACE family.*got BGRL"),
        (DGI(12, 8), "GRACE family.*got DGI"),
        (GRACE(12, 8, encoder="gat"), "needs a GCN encoder, got GATEncoder"),
        (GRACE(12, 8, encoder="sage"), "needs a GCN encoder, got SAGEEncoder"),
        (GRACE(12, 8, activation="elu"), "no lines for the activation ELU"),
    ):
        with pytest.raises(ValueError, match=words):
            POT(host)

    class Thrice(Family):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                z = self.encode(x, edge_index)
            return z.sum()

    with pytest.raises(ValueError, match="Thrice encoded 3"):
        POT(Thrice(12, 8))(torch.rand(3, 12), torch.tensor([[0, 1], [1, 0]]))


def test_budgets_that_are_refused() -> None:
    for options, words in (
        ({"edge_budget": "max"}, "edge_budget must be None, 'mean' or .* got 'max'"),
        ({"edge_budget": 1.0}, "got 1.0"),
        ({"edge_budget": True}, "got True"),
        ({"column_budget": -1}, "column_budget must be None or an integer >= 0, got -1"),
        ({"column_budget": 0.5}, "got 0.5"),
    ):
        with pytest.raises(ValueError, match=words):
            GRACE(12, 8, **options)


def test_views_without_a_budget_are_told() -> None:
    with pytest.warns(UserWarning, match="this GRACE keep to no budget.*set edge_budget='mean'"):
        POT(GRACE(12, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        POT(GRACE(12, 8, edge_budget="mean"))
        POT(GRACE(12, 8), POTRegularizer("official"))  # as released


def test_a_directed_graph_is_refused(graph: Data) -> None:
    method = POT(GRACE(12, 8, edge_budget="mean"))
    with pytest.raises(ValueError, match="without its reverse"):
        method(graph.x, graph.edge_index[:, 1:])
