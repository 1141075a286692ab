"""The regulariser: its formula, gradients, batches, warm-up, refreshed intervals and memory."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.encoders import GATEncoder, GCNEncoder
from graphcl.losses import POTRegularizer
from graphcl.losses.pot import DrawnView
from graphcl.pot import edge_budgets
from graphcl.views import drop_edges, drop_edges_within, mask_features
from graphcl.views.features import compact_features


class Setup:
    """An encoder, a graph and two drawn views."""

    def __init__(self, nodes: int = 12, activation: str = "prelu", depth: int = 2) -> None:
        torch.manual_seed(0)
        joined = (torch.rand(nodes, nodes) < 0.4).triu(1)
        joined[:, -1] = False  # the last node is isolated
        self.edge_index = (joined | joined.T).nonzero().T.contiguous()
        self.x = torch.randn(nodes, 5, dtype=torch.double)
        self.encoder = GCNEncoder(5, [4] * (depth - 1) + [3], activation=activation).double()
        for conv in self.encoder.convs:
            conv.bias.data.normal_(std=0.2)
        self.budgets = [edge_budgets(self.edge_index, p, nodes) for p in (0.4, 0.3)]
        self.edges = [drop_edges_within(self.edge_index, 0.5, budget) for budget in self.budgets]
        self.features = [mask_features(self.x, 0.4, at_most=1) for _ in range(2)]

    def views(self, masked: bool = False) -> list[DrawnView]:
        features = self.features if masked else [self.x, self.x]
        pairs = zip(features, self.edges, strict=True)
        return [DrawnView(x, edges, self.encoder(x, edges)) for x, edges in pairs]

    def loss(self, regularizer: POTRegularizer, host: float = 2.0, **options: Any) -> Tensor:
        views = self.views(bool(options.get("columns")))
        arguments = (self.encoder, self.x, self.edge_index, views, self.budgets)
        return regularizer(torch.tensor(host).double(), *arguments, **options)

    def scores(self, regularizer: POTRegularizer, **options: Any) -> list[Tensor]:
        arguments = (self.encoder, self.x, self.edge_index, self.views(), self.budgets)
        return regularizer.scores(*arguments, **options)


KINDS = ["pairwise", "certified", "official"]


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_weighted_sum_over_both_directions(kind: Any) -> None:
    setup = Setup()
    regularizer = POTRegularizer(kind, kappa=0.3)
    one, two = setup.scores(regularizer)
    # Cross entropy against the target 1, from its definition.
    wanted = -(one.sigmoid().log().mean() + two.sigmoid().log().mean()) / 2
    torch.testing.assert_close(setup.loss(regularizer), 0.7 * 2.0 + 0.3 * wanted)
    # Each direction has its own budget and the other view's embeddings.
    swapped = Setup()
    swapped.budgets, swapped.edges = setup.budgets[::-1], setup.edges[::-1]
    assert torch.equal(swapped.scores(regularizer)[0], two)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_t8_gradients_by_finite_differences(kind: Any, activation: str) -> None:
    setup = Setup(8, activation=activation)
    regularizer = POTRegularizer(kind, kappa=0.5, block=17)
    names = [n for n, _ in setup.encoder.named_parameters() if kind != "official" or n[0] == "c"]
    values = dict(setup.encoder.named_parameters())
    first = [values[name].detach().clone().requires_grad_() for name in names]

    def loss(*given: Tensor) -> Tensor:
        for name, value in zip(names, given, strict=True):
            owner = setup.encoder.get_submodule(name.rpartition(".")[0])
            owner._parameters.pop(name.rpartition(".")[2], None)
            setattr(owner, name.rpartition(".")[2], value)
        return setup.loss(regularizer)

    slopes = [one for one in names if one.startswith("activations")]
    assert bool(slopes) == (activation == "prelu" and kind != "official")
    setup.encoder.activations = torch.nn.ModuleList(setup.encoder.activations)
    assert torch.autograd.gradcheck(loss, tuple(first), atol=1e-6)


@pytest.mark.parametrize("kind", ["pairwise", "certified"])
def test_t8_gradients_with_masked_columns(kind: Any) -> None:
    setup = Setup()
    regularizer = POTRegularizer(kind, kappa=0.5, intervals="sound")
    loss = setup.loss(regularizer, columns=1)
    weight = setup.encoder.convs[0].lin.weight
    (found,) = torch.autograd.grad(loss, weight)
    for place in ((0, 0), (3, 4), (1, 2)):
        ends = []
        for step in (1e-6, -2e-6, 1e-6):
            with torch.no_grad():
                weight[place] += step
            ends.append(float(setup.loss(regularizer, columns=1).detach()))
        assert float(found[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_training_with_the_regulariser_alone_raises_the_scores(kind: Any) -> None:
    setup = Setup(nodes=30)
    regularizer = POTRegularizer(kind, kappa=0.999)
    optimizer = torch.optim.Adam(setup.encoder.parameters(), 1e-2)
    means = []
    for _ in range(40):
        optimizer.zero_grad()
        setup.loss(regularizer).backward()
        optimizer.step()
        means.append(float(torch.stack(setup.scores(regularizer)).detach().mean()))
    assert means[-1] > means[0] + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_t9_a_batch_holds_the_full_scores_of_its_nodes(kind: Any) -> None:
    setup = Setup()
    whole = setup.scores(POTRegularizer(kind))
    rows = torch.tensor([7, 2, 11])
    for full, part in zip(whole, setup.scores(POTRegularizer(kind), rows=rows), strict=True):
        torch.testing.assert_close(part, full[rows])
    regularizer = POTRegularizer(kind, kappa=0.5, batch=4)
    torch.manual_seed(5)
    loss = setup.loss(regularizer)
    torch.manual_seed(5)
    rows = torch.randperm(12)[:4]
    wanted = sum(F.softplus(-full[rows]).mean() for full in whole) / 2
    torch.testing.assert_close(loss, 1.0 + 0.5 * wanted)
    torch.testing.assert_close(
        setup.loss(POTRegularizer(kind, batch=12)), setup.loss(POTRegularizer(kind))
    )


def test_warm_up_leaves_the_host_loss_alone() -> None:
    setup = Setup()
    regularizer = POTRegularizer(kappa=0.5, warmup=3)
    plain = POTRegularizer(kappa=0.5)
    for epoch in range(5):
        loss = setup.loss(regularizer)
        assert float(loss) == (2.0 if epoch < 3 else float(setup.loss(plain)))
        regularizer.after_step(epoch)
    assert float(setup.loss(POTRegularizer(kappa=0))) == 2.0


def test_refreshed_intervals_are_constants_that_go_with_the_state() -> None:
    setup = Setup()
    regularizer = POTRegularizer(kappa=0.5, refresh=3, warmup=1)
    every = POTRegularizer(kappa=0.5)
    regularizer.after_step(0)
    for epoch in range(1, 8):
        fresh = (epoch - 1) % 3 == 0
        one, two = setup.loss(regularizer), setup.loss(every)
        assert torch.equal(one.detach(), two.detach()) == fresh
        if fresh:
            weight = setup.encoder.convs[0].lin.weight
            (a,), (b,) = (torch.autograd.grad(loss, weight) for loss in (one, two))
            assert not torch.allclose(a, b)  # no gradient through the intervals
        # What a checkpoint holds is enough to go on.
        twin = POTRegularizer(kappa=0.5, refresh=3, warmup=1)
        twin.load_state_dict(copy.deepcopy(regularizer.state_dict()))
        assert torch.equal(setup.loss(twin), setup.loss(regularizer))
        with torch.no_grad():
            for parameter in setup.encoder.parameters():
                parameter += 0.05
        regularizer.after_step(epoch)
    assert {*POTRegularizer().state_dict()} == {"epoch"}


def test_a_batch_takes_rows_of_refreshed_intervals() -> None:
    setup = Setup()
    rows = torch.tensor([4, 0])
    regularizer = POTRegularizer("certified", refresh=2)
    whole = setup.scores(regularizer)
    for full, part in zip(whole, setup.scores(regularizer, rows=rows), strict=True):
        torch.testing.assert_close(part, full[rows])


def test_views_outside_the_budget_are_told() -> None:
    setup = Setup()
    setup.loss(POTRegularizer(check=True))
    setup.edges[0] = drop_edges(setup.edge_index, 0.95, undirected=True)
    with pytest.raises(ValueError, match="its budget is"):
        setup.loss(POTRegularizer(check=True))
    setup.loss(POTRegularizer())


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_features_and_bfloat16_regions(kind: Any) -> None:
    setup = Setup()
    wanted = setup.scores(POTRegularizer(kind))
    dense = setup.x
    setup.x = compact_features(dense, density=1.0)
    assert setup.x.layout == torch.sparse_csr
    for one, two in zip(setup.scores(POTRegularizer(kind)), wanted, strict=True):
        torch.testing.assert_close(one, two)
    setup.x, setup.encoder = dense.float(), setup.encoder.float()
    setup.features = [setup.x, setup.x]
    single = POTRegularizer(kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = setup.loss(single)
    assert loss.dtype == torch.double  # that of the host's loss
    torch.testing.assert_close(loss.float(), setup.loss(single).float(), rtol=0.02, atol=0)


def test_half_precision_features_are_computed_in_single_precision() -> None:
    setup = Setup()
    setup.encoder.float()
    views = [DrawnView(setup.x.half(), e, torch.randn(12, 3).half()) for e in setup.edges]
    found = POTRegularizer().scores(
        setup.encoder, setup.x.half(), setup.edge_index, views, setup.budgets
    )
    assert found[0].dtype == torch.float32
    assert bool(found[0].isfinite().all())


def test_self_loops_change_nothing() -> None:
    setup = Setup()
    wanted = setup.scores(POTRegularizer())
    loops = torch.tensor([[0, 3], [0, 3]])
    setup.edge_index = torch.cat([setup.edge_index, loops], 1)
    for one, two in zip(setup.scores(POTRegularizer()), wanted, strict=True):
        torch.testing.assert_close(one, two)


def test_encoders_and_settings_that_are_refused() -> None:
    for encoder, words in (
        (GATEncoder(5, [4, 4]), "GCN encoder, got GATEncoder"),
        (torch.nn.Linear(5, 3), "GCN encoder, got Linear"),
        (GCNEncoder(5, [4, 3], norm="batch"), "batch normalisation"),
        (GCNEncoder(5, [4, 3], dropout=0.5), "dropout=0.5"),
        (GCNEncoder(5, [4, 3], activation="elu"), "activation ELU"),
    ):
        setup = Setup()
        views = setup.views()
        with pytest.raises(ValueError, match=words):
            POTRegularizer()(
                torch.tensor(1.0), encoder, setup.x, setup.edge_index, views, setup.budgets
            )
    for options, words in (
        ({"score": "best"}, "unknown POT score 'best'"),
        ({"kappa": 1.0}, r"kappa must lie in \[0, 1\), got 1.0"),
        ({"kappa": "much"}, "got 'much'"),
        ({"warmup": -1}, "warmup must be an integer >= 0, got -1"),
        ({"refresh": 0}, "refresh must be an integer >= 1"),
        ({"batch": 2.5}, "batch must be an integer >= 0, got 2.5"),
        ({"intervals": "wide"}, "unknown POT intervals 'wide'"),
        ({"score": "certified", "intervals": "clean"}, "intervals=sound"),
    ):
        with pytest.raises(ValueError, match=words):
            POTRegularizer(**options)
    setup = Setup()
    with pytest.raises(ValueError, match="two views in two budgets, got 1 and 2"):
        POTRegularizer()(
            torch.tensor(1.0),
            setup.encoder,
            setup.x,
            setup.edge_index,
            setup.views()[:1],
            setup.budgets,
        )
    repeated = torch.cat([setup.edge_index, setup.edge_index[:, :2]], 1)
    with pytest.raises(ValueError, match="more than once: remove copies"):
        POTRegularizer()(
            torch.tensor(1.0), setup.encoder, setup.x, repeated, setup.views(), setup.budgets
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_of_nothing_but_zeros_moves_nothing(kind: Any) -> None:
    """Biases begin at zero, so that an isolated node without features is embedded at the origin."""
    setup = Setup()
    setup.x[-1] = 0
    for conv in setup.encoder.convs:
        conv.bias.data.zero_()
    assert not setup.views()[0].z[-1].any()
    setup.loss(POTRegularizer(kind)).backward()
    gradients = [p.grad for p in setup.encoder.parameters() if p.grad is not None]
    assert gradients
    assert all(float(one.abs().max()) < 10 for one in gradients)


@pytest.mark.parametrize("columns", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_holds_nothing_of_size_n_by_n_nor_e_by_d(
    kind: Any, columns: int, largest: Any
) -> None:
    nodes, width = 20_000, 16

    source = torch.arange(nodes)
    edges = torch.cat([torch.stack([source, (source + k) % nodes]) for k in range(1, 6)], 1)
    edges = torch.cat([edges, edges.flip(0)], 1)
    x = torch.rand(nodes, 8)
    encoder = GCNEncoder(8, [width, width])
    budgets = [torch.full((nodes,), 3)] * 2
    kept = edges[:, (edges.sum(0) % 7) > 0]
    views = [DrawnView(x, kept, encoder(x, kept)) for _ in range(2)]
    regularizer = POTRegularizer(kind, block=2**19)
    with largest:
        host = torch.tensor(1.0)
        regularizer(host, encoder, x, edges, views, budgets, columns=columns).backward()
    # Lists of edges with two or three numbers each are the largest.
    assert largest.entries <= 3 * (edges.shape[1] + nodes)
    assert largest.entries < edges.shape[1] * width / 4
    assert largest.entries < nodes * nodes / 100


def test_certified_scores_without_gradients_are_bounds_between_refreshes() -> None:
    setup = Setup()
    regularizer, fresh = POTRegularizer("certified", refresh=5), POTRegularizer("certified")
    setup.loss(regularizer)
    regularizer.after_step(0, 10)
    with torch.no_grad():
        for parameter in setup.encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for found, wanted in zip(setup.scores(regularizer), setup.scores(fresh), strict=True):
            assert torch.equal(found, wanted)
    changed = zip(setup.scores(regularizer), setup.scores(fresh), strict=True)
    assert not any(torch.equal(found, wanted) for found, wanted in changed)


@pytest.mark.parametrize("nodes", [12, 9])
def test_kept_intervals_are_not_those_of_another_graph(nodes: int) -> None:
    setup, other = Setup(), Setup(nodes)
    other.encoder = setup.encoder
    other.x = other.x + 1
    regularizer = POTRegularizer(refresh=5)
    setup.loss(regularizer)
    regularizer.after_step(0, 10)
    found = other.scores(regularizer)
    for one, wanted in zip(found, other.scores(POTRegularizer(refresh=5)), strict=True):
        assert torch.equal(one, wanted)


@pytest.mark.parametrize("how", ["copied", "learned", "changed"])
def test_copied_and_learned_features_keep_their_intervals(how: str) -> None:
    setup = Setup()
    setup.x.requires_grad_(how == "learned")
    regularizer = POTRegularizer(refresh=5)
    setup.loss(regularizer)
    regularizer.after_step(0, 10)
    kept = regularizer.kept.clone()
    with torch.no_grad():
        if how == "copied":
            setup.x = setup.x.clone()
        else:
            setup.x += 0.1
    setup.loss(regularizer)
    assert torch.equal(regularizer.kept, kept) == (how != "changed")
