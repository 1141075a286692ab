"""Unit tests T2, T3, T5, T6, T7 and T8 of NCN's and NCNC's specification."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphcl.links import (
    GAE,
    NCN,
    NCNC,
    Neighbourhoods,
    adamic_adar,
    common_neighbours,
    ncnc,
)

N, D = 15, 4


def setting(seed: int = 0) -> tuple[Tensor, Neighbourhoods, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    graph = Neighbourhoods(torch.randint(N, (2, 30), generator=draw), N)
    apart = (~graph.has(everything()) & (everything()[0] < everything()[1])).nonzero()[:, 0]
    pairs = everything()[:, apart[torch.randperm(len(apart), generator=draw)[:12]]]
    return torch.randn(N, D, dtype=torch.float64, generator=draw), graph, pairs


def everything() -> Tensor:
    return torch.cartesian_prod(torch.arange(N), torch.arange(N)).T


def dense(graph: Neighbourhoods) -> Tensor:
    found = torch.zeros(N, N, dtype=torch.float64)
    found[tuple(graph.edge_index)] = 1
    return found


@pytest.mark.parametrize("kind", [GAE, NCN, NCNC])
def test_t2_both_orders_of_a_pair_score_alike(kind: type[GAE]) -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model = kind(D, 6).double().eval()
    torch.testing.assert_close(model(h, graph, pairs), model(h, graph, pairs.flip(0)))


def test_ncn_equals_its_definition() -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model, a = NCN(D, 6).double().eval(), dense(graph)
    assert model.change is not None
    pooled = (a[pairs[0]] * a[pairs[1]]) @ (h + model.change(h))
    inner = model.beta * model.between(pooled) + model.ends(h[pairs[0]] * h[pairs[1]])
    torch.testing.assert_close(model(h, graph, pairs), model.out(inner)[:, 0])


@pytest.mark.parametrize("weights", ["count", "adamic_adar"])
def test_t5_ncn_holds_the_heuristics(weights: str) -> None:
    """One feature and parts that hand their input on: pooled ones count, 1 / log d weighs."""
    _, graph, pairs = setting()
    degree = graph.degree.clamp(min=2).double()
    x = torch.ones(N) if weights == "count" else 1 / degree.log()
    model = NCN(1, 1, transform=False).double().eval()
    model.between, model.ends, model.out = nn.Identity(), _Nothing(), nn.Identity()
    wanted = common_neighbours if weights == "count" else adamic_adar
    found = model(x.double()[:, None], graph, pairs)
    torch.testing.assert_close(found, wanted(graph, pairs))
    assert found.max() > 0


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_edge_dropout_thins_the_lists_in_training_alone() -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model = NCN(D, 6, edge_dropout=0.5).double()
    assert model.eval().seen(graph) is graph
    model.train()
    lists = [model.seen(graph) for _ in range(200)]
    assert all(torch.isin(one.keys, graph.keys).all() for one in lists)
    kept = sum(len(one.keys) for one in lists) / (200 * len(graph.keys))
    assert kept == pytest.approx(0.5, abs=0.02)
    found = torch.stack([model(h, graph, pairs) for _ in range(2)])
    assert not torch.equal(found[0], found[1])
    # An end may lose sight of the other alone.
    u, v = graph.edge_index
    assert any(
        torch.any(one.has(torch.stack([u, v])) != one.has(torch.stack([v, u]))) for one in lists
    )
    with pytest.raises(ValueError, match="edge_dropout"):
        NCN(D, edge_dropout=1.0)


@pytest.mark.parametrize("options", [{"out_layers": 2, "tail": True}, {"transform": False}])
def test_shapes_of_the_parts(options: dict[str, Any]) -> None:
    h, graph, pairs = setting()
    model = NCN(D, 6, **options).double()
    assert model(h, graph, pairs).shape == (12,)
    linear = [part for part in model.out if isinstance(part, nn.Linear)]
    assert len(linear) == options.get("out_layers", 1) + 1
    for part in (model.ends, model.between):
        assert isinstance(part[-1], nn.Linear if options.get("tail") else nn.ReLU)
    with pytest.raises(ValueError, match="out_layers"):
        NCN(D, out_layers=0)


def test_t3_no_completion_is_ncn() -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model = NCNC(D, 6, alpha=0.0).double().eval()
    torch.testing.assert_close(model(h, graph, pairs), NCN.forward(model, h, graph, pairs))


def test_t3_certain_completion_pools_the_union(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model, a = NCNC(D, 6).double().eval(), dense(graph)
    monkeypatch.setattr(NCNC, "calibrate", lambda self, logit: torch.ones_like(logit))
    union = (a[pairs[0]] + a[pairs[1]]).clamp(max=1)
    wanted = model.score(h, pairs, union @ model.transformed(h))
    torch.testing.assert_close(model(h, graph, pairs), wanted)


@pytest.mark.parametrize("max_logits", [3, 1000])
def test_t7_completion_uses_ncn_itself(max_logits: int) -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model = NCNC(D, 6, 0.5, prior=0.3, max_logits=max_logits).double()
    alone = NCN(D, 6).double().eval()
    alone.load_state_dict(model.state_dict())
    square = everything()
    likely = model.calibrate(alone(h, graph, square)).view(N, N)
    torch.testing.assert_close(model.probabilities(h, graph, square), likely.flatten())
    assert model.training
    model.eval()
    a, (i, j) = dense(graph), pairs
    weight = a[i] * a[j] + a[i] * (1 - a[j]) * likely[j] + a[j] * (1 - a[i]) * likely[i]
    wanted = model.score(h, pairs, weight @ model.transformed(h))
    torch.testing.assert_close(model(h, graph, pairs), wanted)


@pytest.mark.parametrize("max_candidates", [1, 9, 40])
def test_completion_in_blocks_has_the_same_values_and_gradients(
    max_candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ncnc, "_KEPT", 2)  # further blocks are made anew in the backward pass
    torch.manual_seed(0)
    _, graph, pairs = setting()
    pairs = torch.cat([pairs, pairs.flip(0)[:, :5], graph.edge_index[:, :5]], dim=1)
    whole = NCNC(D, 6, 0.3, offset=0.0).double()
    cut = NCNC(D, 6, 0.3, offset=0.0, max_candidates=max_candidates).double()
    cut.load_state_dict(whole.state_dict())
    found = []
    for model in (whole, cut):
        h = setting()[0].requires_grad_(True)
        torch.manual_seed(1)  # of the dropout
        out = model(h, graph, pairs)
        out.square().sum().backward()
        assert h.grad is not None
        assert model.training
        found.append([out, h.grad, *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_hub_does_not_blow_up_the_completion(largest: Any) -> None:
    """A star: each pair of the hub and a leaf asks for the edges of that leaf to all others."""

    leaves, at_once = 3000, 8192
    star = torch.stack([torch.zeros(leaves, dtype=torch.long), torch.arange(1, leaves + 1)])
    graph = Neighbourhoods(star, leaves + 1)
    model = NCNC(2, 2, max_logits=4096, max_candidates=at_once)
    h = torch.randn(leaves + 1, 2, requires_grad=True)
    with largest:
        model(h, graph, star[:, :40]).sum().backward()
    assert largest.entries <= 4 * at_once < 40 * leaves


def test_t6_calibration() -> None:
    logit = torch.linspace(-3, 3, 50, dtype=torch.float64)
    low, exact = NCNC(D, alpha=0.8, prior=0.2), NCNC(D, alpha=0.8, prior=1.0)
    found = low.calibrate(logit)
    assert (found.diff() > 0).all()
    assert found.min() >= 0
    assert found.max() <= 0.8
    plain = torch.sigmoid(5.0 * (logit - 3.0))
    torch.testing.assert_close(exact.calibrate(logit), 0.8 * plain)


@pytest.mark.parametrize("kind", [NCN, NCNC])
@pytest.mark.parametrize("size", [0, 1])
def test_t8_small_batches_and_no_edges_have_finite_gradients(kind: type[NCN], size: int) -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    h.requires_grad_(True)
    bare = Neighbourhoods(torch.empty(2, 0, dtype=torch.long), N)
    for one in (graph, bare):
        model = kind(D, 6).double()
        out = model(h, one, pairs[:, :size])
        assert out.shape == (size,)
        out.sum().backward()
        assert h.grad is not None
        assert h.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_gradients_reach_everything_that_is_learned() -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    h.requires_grad_(True)
    model = NCNC(D, 6, offset=0.0).double()
    model(h, graph, pairs).square().sum().backward()
    assert h.grad is not None
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_bad_input_is_named() -> None:
    h, graph, pairs = setting()
    with pytest.raises(ValueError, match=r"\(15, 5\)"):
        NCN(5)(h, graph, pairs)
    with pytest.raises(ValueError, match="positive widths"):
        GAE(0)
    with pytest.raises(ValueError, match="alpha"):
        NCNC(D, alpha=-1.0)
    with pytest.raises(ValueError, match="max_candidates"):
        NCNC(D, max_candidates=0)
    for kind in (GAE, NCN, NCNC):  # an id of -1 would be the last node
        with pytest.raises(ValueError, match="node ids -1 to 0, but there are 15 nodes"):
            kind(D).double()(h, graph, torch.tensor([[0], [-1]]))


@pytest.mark.parametrize("kind", [NCN, NCNC])
def test_half_precision_comes_near(kind: type[NCN]) -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    h, model = h.float(), kind(D, 6).eval()
    exact = model(h, graph, pairs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(h, graph, pairs)
    torch.testing.assert_close(mixed.float(), exact, rtol=0.05, atol=0.05)
    half = model.bfloat16()(h.bfloat16(), graph, pairs)
    torch.testing.assert_close(half.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", [GAE, NCN, NCNC])
def test_pairs_of_bytes_are_no_mask(kind: type[GAE]) -> None:
    torch.manual_seed(0)
    h, graph, _ = setting()
    pairs = torch.randint(2, (2, N))  # as many as nodes
    model = kind(D, 6).double().eval()
    torch.testing.assert_close(model(h, graph, pairs.byte()), model(h, graph, pairs))


def test_a_prior_of_zero_completes_nothing() -> None:
    torch.manual_seed(0)
    h, graph, pairs = setting()
    model = NCNC(D, 6, prior=0.0, offset=-20.0).double().eval()
    assert model.calibrate(torch.tensor([1e3, 0.0, -1e3])).tolist() == [0, 0, 0]
    torch.testing.assert_close(model(h, graph, pairs), NCN.forward(model, h, graph, pairs))
