"""InfoNCE against nested loops, against the dense GRACE loss and SimCLR's NT-Xent."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
)
from graphcl.losses import InfoNCE

N, D = 7, 3
IMPLS = ["chunked", "reference"]
Pairs = Callable[[int, int, float], float]


def views(n: int = N, d: int = D, *, grad: bool = False, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z1, z2 = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return z1.requires_grad_(grad), z2.clone().requires_grad_(grad)


def by_loops(
    z1: Tensor,
    z2: Tensor,
    *,
    tau: float = 0.5,
    intra_view: bool = True,
    symmetric: bool = True,
    decoupled: bool = False,
    weight: Pairs = lambda i, j, s: 1.0,
    excluded: Callable[[int, int], bool] = lambda i, j: False,
    normalize: bool = True,
) -> float:
    """The formula of the docstring, one pair at a time."""

    def row(values: list[float]) -> list[float]:
        length = math.sqrt(sum(v * v for v in values)) if normalize else 1.0
        return [v / length for v in values]

    def dot(u: list[float], v: list[float]) -> float:
        return sum(a * b for a, b in zip(u, v, strict=True))

    first, second = [row(r) for r in z1.tolist()], [row(r) for r in z2.tolist()]
    directions = [(first, second), (second, first)] if symmetric else [(first, second)]
    total = 0.0
    for own, other in directions:
        for i, anchor in enumerate(own):
            positive = dot(anchor, other[i])
            below = 0.0 if decoupled else math.exp(positive / tau)
            for j in range(len(own)):
                if j == i or excluded(i, j):
                    continue
                s = dot(anchor, other[j])
                below += weight(i, j, s) * math.exp(s / tau)
                if intra_view:
                    r = dot(anchor, own[j])
                    below += weight(i, j, r) * math.exp(r / tau)
            total += -positive / tau + math.log(below)
    return total / (len(own) * len(directions))


def dense_grace(z1: Tensor, z2: Tensor, tau: float) -> Tensor:
    """GRACE's loss as in its paper: matrices of exponentials, no log-sum-exp."""

    def one(a: Tensor, b: Tensor) -> Tensor:
        within, between = (a @ a.T / tau).exp(), (a @ b.T / tau).exp()
        below = within.sum(1) + between.sum(1) - within.diag()
        return -(between.diag() / below).log()

    a, b = z1 / z1.norm(dim=1, keepdim=True), z2 / z2.norm(dim=1, keepdim=True)
    return (one(a, b) + one(b, a)).mean() / 2


def make_weight(name: str) -> tuple[TileWeight | None, Pairs]:
    """A weight on N nodes, and what it gives for one pair."""
    g = torch.Generator().manual_seed(5)
    log_key = torch.randn(N, generator=g, dtype=torch.float64)
    table = torch.randn(3, 2, generator=g, dtype=torch.float64)
    query_group, key_group = (
        torch.tensor([0, 1, 2, 2, 1, 0, 2]),
        torch.tensor([1, 1, 0, 1, 0, 0, 1]),
    )
    p, q = torch.rand(2, N, 2, generator=g, dtype=torch.float64) + 0.1
    level = torch.rand(N, generator=g, dtype=torch.float64)

    def by_key(i: int, j: int, s: float) -> float:
        return math.exp(float(log_key[j]))

    def by_group(i: int, j: int, s: float) -> float:
        return math.exp(float(table[query_group[i], key_group[j]]))

    def tilt(i: int, j: int, s: float) -> float:
        return math.exp(1.5 * s)

    cases: dict[str, tuple[TileWeight | None, Pairs]] = {
        "none": (None, lambda i, j, s: 1.0),
        "key": (KeyWeight(log_key), by_key),
        "group": (GroupWeight(table, query_group, key_group), by_group),
        "low-rank": (LowRankWeight(p, q), lambda i, j, s: float(p[i] @ q[j])),
        "tilt": (SimilarityWeight(lambda s: 1.5 * s), tilt),
        "band": (
            SimilarityWeight(lambda s, own: -((s - own) ** 2), level),
            lambda i, j, s: math.exp(-((s - float(level[i])) ** 2)),
        ),
        "sum": (
            SimilarityWeight(lambda s: 1.5 * s) + GroupWeight(table, query_group, key_group),
            lambda i, j, s: tilt(i, j, s) * by_group(i, j, s),
        ),
    }
    return cases[name]


def make_exclusion(name: str) -> Exclude | None:
    """An exclusion on N nodes; the list of ids is not symmetric, and names positives too."""
    group = torch.tensor([0, 1, 0, -1, 1, 2, -1])
    ids = Exclude.csr(torch.tensor([0, 2, 2, 3, 3, 3, 5, 6]), torch.tensor([4, 0, 2, 1, 6, 0]))
    return {
        "none": None,
        "csr": ids,
        "same group": Exclude.same_group(group, group),
        "either": ids | Exclude.same_group(group, group),
    }[name]


WEIGHTS = ["none", "key", "group", "low-rank", "tilt", "band", "sum"]
EXCLUSIONS = ["none", "csr", "same group", "either"]


@pytest.fixture(params=["one tile", "ragged tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven nodes fit one tile; also cut them into tiles with a remainder."""
    if request.param == "ragged tiles":
        monkeypatch.setattr("graphcl.kernels.chunked.tile_shape", lambda *_, worked: (3, 2))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("excluded", EXCLUSIONS)
@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.usefixtures("tiles")
def test_every_combination_of_options_equals_nested_loops(
    weighting: str, excluded: str, impl: str
) -> None:
    z1, z2 = views()
    weight, pairs = make_weight(weighting)
    exclude = make_exclusion(excluded)
    hidden = torch.zeros(N, N, dtype=torch.bool) if exclude is None else exclude.dense(N, N)
    for intra, symmetric, decoupled in product([True, False], repeat=3):
        options = {"intra_view": intra, "symmetric": symmetric, "decoupled": decoupled}
        loss = InfoNCE(0.4, **options, weight=weight, impl=impl)(z1, z2, exclude=exclude)
        wanted = by_loops(
            z1, z2, tau=0.4, weight=pairs, excluded=lambda i, j: bool(hidden[i, j]), **options
        )
        assert loss.dtype == torch.float64
        assert float(loss) == pytest.approx(wanted, rel=1e-12), options


@pytest.mark.parametrize("impl", IMPLS)
def test_rows_as_they_are(impl: str) -> None:
    z1, z2 = views()
    loss = InfoNCE(0.7, normalize=False, impl=impl)(z1, z2)
    assert float(loss) == pytest.approx(by_loops(z1, z2, tau=0.7, normalize=False), rel=1e-12)
    assert float(loss) != pytest.approx(by_loops(z1, z2, tau=0.7), rel=1e-2)


@pytest.mark.parametrize("n", [2, 3, 63, 130])
@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
@pytest.mark.usefixtures("tiles")
def test_value_and_gradients_equal_the_dense_grace_loss(n: int, tau: float) -> None:
    for impl in IMPLS:
        z1, z2 = views(n, 5, grad=True)
        wanted = dense_grace(z1, z2, tau)
        gradients = torch.autograd.grad(wanted, (z1, z2))
        found = InfoNCE(tau, impl=impl)(z1, z2)
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=0)
        for got, want in zip(torch.autograd.grad(3 * found, (z1, z2)), gradients, strict=True):
            torch.testing.assert_close(got, 3 * want, rtol=1e-9, atol=1e-13)


def test_is_simclrs_loss_over_both_views_at_once() -> None:
    """NT-Xent of SimCLR: 2N rows, each against all others, by torch's cross-entropy."""
    z1, z2 = views(11, 4)
    rows = F.normalize(torch.cat([z1, z2]))
    logits = (rows @ rows.T / 0.2).fill_diagonal_(-torch.inf)
    partner = torch.arange(22).roll(11)
    assert float(InfoNCE(0.2)(z1, z2)) == pytest.approx(float(F.cross_entropy(logits, partner)))


def test_without_intra_view_is_cross_entropy_over_the_other_view() -> None:
    z1, z2 = views(11, 4)
    logits = F.normalize(z1) @ F.normalize(z2).T / 0.3
    own = torch.arange(11)
    one_way, other_way = F.cross_entropy(logits, own), F.cross_entropy(logits.T, own)
    loss = InfoNCE(0.3, intra_view=False, symmetric=False)
    assert float(loss(z1, z2)) == pytest.approx(float(one_way))
    loss = InfoNCE(0.3, intra_view=False)
    assert float(loss(z1, z2)) == pytest.approx(float(one_way + other_way) / 2)


@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize("excluded", ["none", "csr", "same group"])
@pytest.mark.usefixtures("tiles")
def test_gradients_of_both_implementations_agree(weighting: str, excluded: str) -> None:
    for symmetric, decoupled in product([True, False], repeat=2):
        found = []
        for impl in IMPLS:
            z1, z2 = views(grad=True)
            loss = InfoNCE(
                0.4,
                symmetric=symmetric,
                decoupled=decoupled,
                weight=make_weight(weighting)[0],
                impl=impl,
            )(z1, z2, exclude=make_exclusion(excluded))
            found.append(torch.autograd.grad(2.5 * loss, (z1, z2)))
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_gradcheck_of_the_views(impl: str) -> None:
    z1, z2 = views(5, 3, grad=True)
    for options in ({}, {"decoupled": True}, {"intra_view": False}, {"symmetric": False}):
        loss = InfoNCE(0.6, impl=impl, **options)
        assert torch.autograd.gradcheck(loss, (z1, z2))


@pytest.mark.parametrize("impl", IMPLS)
def test_gradcheck_of_learned_weights(impl: str) -> None:
    z1, z2 = views(5, 3, grad=True)
    generator = torch.Generator().manual_seed(1)
    factors = [
        (torch.rand(5, 2, generator=generator, dtype=torch.float64) + 0.2).requires_grad_()
        for _ in range(2)
    ]
    table = torch.randn(2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    level = torch.rand(5, generator=generator, dtype=torch.float64, requires_grad=True)
    group = torch.tensor([0, 1, 1, 0, 1])

    def loss(*tensors: Tensor) -> Tensor:
        a, b, p, q, pairs, own = tensors
        weight = (
            LowRankWeight(p, q)
            + GroupWeight(pairs, group, group)
            + SimilarityWeight(lambda s, v: -((s - v) ** 2), own, detach=False)
        )
        return InfoNCE(0.6, weight=weight, impl=impl)(a, b)

    assert torch.autograd.gradcheck(loss, (z1, z2, *factors, table, level))


def test_large_temperature_limit() -> None:
    z1, z2 = views(9, 4)
    assert float(InfoNCE(1e9)(z1, z2)) == pytest.approx(math.log(2 * 9 - 1), abs=1e-7)
    assert float(InfoNCE(1e9, intra_view=False)(z1, z2)) == pytest.approx(math.log(9), abs=1e-7)
    assert float(InfoNCE(1e9, decoupled=True)(z1, z2)) == pytest.approx(math.log(16), abs=1e-7)


def test_identical_orthogonal_views_by_hand() -> None:
    z = torch.eye(3, dtype=torch.float64)
    # The positive gives e^2, the four negatives 1 each.
    assert float(InfoNCE(0.5)(z, z)) == pytest.approx(math.log(math.exp(2) + 4) - 2)


def test_order_of_the_nodes_does_not_matter() -> None:
    z1, z2 = views(50, 4)
    order = torch.randperm(50)
    for options in ({}, {"symmetric": False}, {"intra_view": False, "decoupled": True}):
        loss = InfoNCE(0.3, **options)
        torch.testing.assert_close(loss(z1[order], z2[order]), loss(z1, z2))
    # Shuffling one view alone breaks the pairs.
    assert not torch.isclose(InfoNCE(0.3)(z1[order], z2), InfoNCE(0.3)(z1, z2))


def test_views_may_be_swapped_when_symmetric() -> None:
    z1, z2 = views(20, 4)
    for options in ({}, {"intra_view": False}, {"decoupled": True}):
        loss = InfoNCE(0.3, **options)
        torch.testing.assert_close(loss(z1, z2), loss(z2, z1))
    one_way = InfoNCE(0.3, symmetric=False)
    assert not torch.isclose(one_way(z1, z2), one_way(z2, z1))
    both = (one_way(z1, z2) + one_way(z2, z1)) / 2
    torch.testing.assert_close(InfoNCE(0.3)(z1, z2), both)


def test_scale_of_rows_does_not_matter() -> None:
    z1, z2 = views(20, 4)
    torch.testing.assert_close(InfoNCE()(1e-3 * z1, 7 * z2), InfoNCE()(z1, z2))


def test_excluding_a_negative_lowers_the_loss_and_a_positive_stays() -> None:
    z1, z2 = views()
    loss = InfoNCE(0.5)
    assert loss(z1, z2, exclude=make_exclusion("same group")) < loss(z1, z2)
    torch.testing.assert_close(loss(z1, z2, exclude=Exclude.diagonal()), loss(z1, z2))


@pytest.mark.parametrize("impl", IMPLS)
def test_nothing_left_but_the_positive_costs_nothing(impl: str) -> None:
    z1, z2 = views(grad=True)
    one = torch.zeros(N, dtype=torch.long)
    loss = InfoNCE(0.5, impl=impl)(z1, z2, exclude=Exclude.same_group(one, one))
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert all(not g.any() for g in torch.autograd.grad(loss, (z1, z2)))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("tau", [0.01, 0.002])
def test_small_temperature_is_exact_in_single_precision(impl: str, tau: float) -> None:
    z1, z2 = (z.float().requires_grad_() for z in views(40, 8))
    loss = InfoNCE(tau, impl=impl)(z1, z2)  # exp(1 / 0.01) overflows float32
    wanted = InfoNCE(tau, impl="reference")(z1.double(), z2.double())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(float(wanted), rel=1e-4)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (z1, z2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("impl", IMPLS)
def test_half_precision_inputs_are_summed_in_single(dtype: torch.dtype, impl: str) -> None:
    z1, z2 = (z.to(dtype).requires_grad_() for z in views(40, 8))
    wide1, wide2 = (z.detach().float().requires_grad_() for z in (z1, z2))
    loss, wanted = InfoNCE(0.05, impl=impl)(z1, z2), InfoNCE(0.05, impl=impl)(wide1, wide2)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    for z, wide in ((z1, wide1), (z2, wide2)):
        assert z.grad.dtype == dtype
        torch.testing.assert_close(z.grad.float(), wide.grad, rtol=1e-2, atol=1e-4)


def test_the_wider_of_two_precisions_counts() -> None:
    z1, z2 = views(40, 8)
    loss = InfoNCE(0.05)(z1.float(), z2)
    assert loss.dtype == torch.float64
    assert torch.equal(loss, InfoNCE(0.05)(z1.float().double(), z2))


@pytest.mark.parametrize("impl", IMPLS)
def test_autocast_changes_nothing(impl: str) -> None:
    z1, z2 = (z.float().requires_grad_() for z in views(40, 8))
    plain = InfoNCE(0.05, impl=impl)(z1, z2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = InfoNCE(0.05, impl=impl)(z1, z2)
    assert torch.equal(cast, plain)
    gradients = (torch.autograd.grad(loss, (z1, z2)) for loss in (cast, plain))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("impl", IMPLS)
def test_rows_of_zeros_give_finite_values_and_gradients(impl: str) -> None:
    z1, z2 = (z.float() for z in views())
    z1[2], z2[2], z2[4] = 0, 0, 0
    z1.requires_grad_()
    z2.requires_grad_()
    for options in ({}, {"decoupled": True}, {"weight": SimilarityWeight(lambda s: s)}):
        loss = InfoNCE(0.1, impl=impl, **options)(z1, z2)
        assert loss.isfinite()
        first, second = torch.autograd.grad(loss, (z1, z2))
        assert max(float(first.abs().max()), float(second.abs().max())) < 100
        assert not first[2].any()  # what has no direction is not turned
        assert not second[[2, 4]].any()


@pytest.mark.parametrize("options", [{}, {"intra_view": False}, {"decoupled": True}])
def test_ten_steps_bring_positives_above_negatives(options: dict[str, bool]) -> None:
    z1, z2 = (z.float().requires_grad_() for z in views(12, 8))
    optimizer = torch.optim.SGD([z1, z2], lr=5.0)
    loss = InfoNCE(0.5, **options)

    def cosines() -> tuple[float, float]:
        cosine = F.normalize(z1) @ F.normalize(z2).T
        rest = cosine[~torch.eye(12, dtype=torch.bool)]
        return float(cosine.diag().mean()), float(rest.mean())

    before, losses = cosines(), []
    for _ in range(10):
        optimizer.zero_grad()
        value = loss(z1, z2)
        losses.append(float(value.detach()))
        value.backward()
        optimizer.step()
    positive, negative = cosines()
    assert losses == sorted(losses, reverse=True)
    assert positive > before[0] + 0.2
    assert positive > negative + 0.5


@pytest.mark.parametrize("options", [{}, {"weight": SimilarityWeight(lambda s: s)}])
def test_no_matrix_of_all_pairs_is_formed(
    options: dict[str, TileWeight], monkeypatch: pytest.MonkeyPatch, largest: Any
) -> None:
    monkeypatch.setattr("graphcl.kernels.chunked.tile_shape", lambda *_, worked: (64, 64))
    n, d = 500, 6
    sizes = {}
    for impl in IMPLS:
        z1, z2 = (z.float().requires_grad_() for z in views(n, d))
        with largest:
            InfoNCE(0.5, impl=impl, **options)(z1, z2).backward()
        sizes[impl] = largest.entries
    assert sizes["chunked"] <= max(64 * 64, n * d)
    assert sizes["reference"] >= n * n  # the measurement does see a matrix where there is one


@pytest.mark.parametrize("tau", [0, -1.0, math.inf, math.nan])
def test_temperature_must_be_positive_and_finite(tau: float) -> None:
    with pytest.raises(ValueError, match=f"tau must be positive and finite, got {tau}"):
        InfoNCE(tau)


@pytest.mark.parametrize(
    ("shape1", "shape2", "message"),
    [
        ((4, 3), (5, 3), r"\(4, 3\) and \(5, 3\)"),
        ((4, 3), (4, 2), r"\(4, 3\) and \(4, 2\)"),
        ((4,), (4,), r"must both be \(N, D\)"),
        ((1, 3), (1, 3), "at least two nodes, got 1"),
        ((0, 3), (0, 3), "at least two nodes, got 0"),
    ],
)
def test_shapes_that_do_not_fit(
    shape1: tuple[int, ...], shape2: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        InfoNCE()(torch.rand(shape1), torch.rand(shape2))


def test_weights_and_exclusions_that_do_not_fit() -> None:
    z1, z2 = views()
    with pytest.raises(ValueError, match="log_weight has 3 rows, but there are 7 keys"):
        InfoNCE(weight=KeyWeight(torch.zeros(3)))(z1, z2)
    short = torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match="has 3 and 3 labels"):
        InfoNCE()(z1, z2, exclude=Exclude.same_group(short, short))


def test_unknown_implementation() -> None:
    z1, z2 = views()
    with pytest.raises(ValueError, match="unknown impl 'fast'"):
        InfoNCE(impl="fast")(z1, z2)


def test_print_shows_the_settings() -> None:
    assert "tau=0.3, intra_view=False" in repr(InfoNCE(0.3, intra_view=False))


@pytest.mark.parametrize("impl", IMPLS)
def test_nodes_without_negatives_take_no_part_in_the_decoupled_loss(impl: str) -> None:
    """Two nodes of one group have no negative in view 1 alone; the mean is over the others."""
    z1, z2 = views(4, grad=True)
    apart = Exclude.same_group(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 1]))
    others = Exclude.csr(torch.tensor([0, 4, 8, 12, 12]), torch.arange(4).repeat(3))
    loss = InfoNCE(0.5, intra_view=False, symmetric=False, decoupled=True, impl=impl)  # type: ignore[arg-type]
    found = loss(z1, z2, exclude=apart | others)
    a, b = F.normalize(z1), F.normalize(z2)
    s = a @ b.T / 0.5
    torch.testing.assert_close(found, s[3, :3].logsumexp(0) - s[3, 3])
    wanted = torch.autograd.grad(s[3, :3].logsumexp(0) - s[3, 3], (z1, z2))
    for one, other in zip(torch.autograd.grad(found, (z1, z2)), wanted, strict=True):
        torch.testing.assert_close(one, other)
    everyone = Exclude.same_group(torch.zeros(4).long(), torch.zeros(4).long())
    for symmetric in (False, True):
        alone = InfoNCE(decoupled=True, symmetric=symmetric, impl=impl)(z1, z2, exclude=everyone)  # type: ignore[arg-type]
        assert alone == 0
        for grad in torch.autograd.grad(alone, (z1, z2)):
            assert torch.equal(grad, torch.zeros_like(grad))


def test_arguments_stand_in_the_order_of_the_design() -> None:
    loss = InfoNCE(0.4, False, True, True, None, "reference")
    assert (loss.tau, loss.intra_view, loss.decoupled, loss.impl) == (0.4, False, True, "reference")
    assert loss.normalize is True


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("decoupled", [True, False])
def test_an_embedding_of_nan_is_not_left_out(decoupled: bool, impl: str) -> None:
    z1, z2 = views()
    z2[3, 1] = torch.nan
    assert torch.isnan(InfoNCE(decoupled=decoupled, impl=impl)(z1, z2))  # type: ignore[arg-type]
