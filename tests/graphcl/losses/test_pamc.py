"""Unit tests T1 to T8 of PamC's specification, its gradients, memory and errors."""

import math
import time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.losses import PamC
from graphcl.losses.meta_nodes import block_excess, meta_nodes, predicted_gap
from graphcl.losses.pair_products import _PIECE

N, K, D = 29, 4, 6
UNWEIGHTED: dict[str, Any] = {"weight": "none", "intra": False, "similarity": "cos"}


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int = N) -> Tensor:
    return torch.randn(count, D, dtype=torch.float64, generator=seeded())


def labels(count: int = N) -> Tensor:
    return torch.arange(count) * 7 % K


def clusters(spread: float, sizes: tuple[int, ...] = (100, 100, 100), width: int = 10) -> Any:
    """Unit rows around orthogonal directions, and their labels."""
    label = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    noise = torch.randn(len(label), width, dtype=torch.float64, generator=seeded())
    centre = torch.eye(len(sizes), width, dtype=torch.float64)
    return F.normalize(centre[label] + spread * noise), label


def graph(count: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs, strengths, and the same as a dense matrix; node 0 has itself alone."""
    dense = torch.rand(count, count, dtype=torch.float64, generator=seeded(2))
    dense = torch.where(dense > 0.8, dense, 0.0)
    dense[0] = 0
    dense.fill_diagonal_(0.5)
    pairs = dense.nonzero().T
    return pairs, dense[pairs[0], pairs[1]], dense


def full_log_sum(unit: Tensor, tau: float, own: bool = True) -> Tensor:
    """The negative term over all pairs of nodes, densely."""
    score = unit @ unit.T / tau
    if not own:
        score = score.masked_fill(torch.eye(len(unit), dtype=torch.bool), -torch.inf)
    return score.logsumexp(1).mean()


def released(z: Tensor, dense: Tensor, label: Tensor, tau: float) -> Tensor:
    """The loss of the release, with matrices; every cluster must have members."""
    unit = F.normalize(z)
    score = (unit @ unit.T / tau).fill_diagonal_(0.0)
    positive = (dense * score.exp()).sum(1)
    meta = F.normalize(F.one_hot(label).to(z.dtype).T @ z)
    between = (meta @ meta.T / tau).fill_diagonal_(0.0)
    return -(positive + 1e-10).log().mean() + (between.exp().sum(1) + 1e-10).log().mean()


@pytest.mark.parametrize("similarity", ["cos", "mean"])
@pytest.mark.parametrize("tau", [0.2, 2.0])
def test_t1_size_weighted_meta_nodes_are_exact_for_equal_rows(similarity: Any, tau: float) -> None:
    centre = F.normalize(rows(K))
    label = torch.arange(K).repeat_interleave(torch.tensor([1, 3, 20, 6]))
    loss = PamC(tau, weight="size", intra=True, similarity=similarity)
    wanted = full_log_sum(centre[label], tau)
    torch.testing.assert_close(loss.negative(centre[label] * 3, label), wanted)
    found = loss.approximation(centre[label], label)
    assert found.exact == pytest.approx(float(wanted))
    assert found.error == pytest.approx(0, abs=1e-12)
    assert found.predicted == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("tau", [0.2, 0.7, 4.0])
@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_t2_means_never_exceed_the_truth_in_any_block(tau: float, spread: float) -> None:
    unit, label = clusters(spread, (5, 40, 17))
    nodes = meta_nodes(unit, label)
    mean = nodes.rows("mean")
    for a in range(3):
        for b in range(3):
            pairs = unit[label == a] @ unit[label == b].T / tau
            proxy = (nodes.size[a] * nodes.size[b]).log() + mean[a] @ mean[b] / tau
            assert proxy <= pairs.exp().sum().log() + 1e-12


@pytest.mark.parametrize("assign", ["hard", "soft"])
@pytest.mark.parametrize("intra", [True, False])
def test_t3_singletons_are_the_exact_loss(assign: Any, intra: bool) -> None:
    z = rows()
    pairs, strength, dense = graph()
    loss = PamC(0.4, weight="size", intra=intra, assign=assign)
    unit = F.normalize(z)
    away = dense.clone().fill_diagonal_(0.0)
    positive = (away * (unit @ unit.T / 0.4).exp()).sum(1)
    wanted = full_log_sum(unit, 0.4, own=intra) - positive[1:].log().sum() / N
    torch.testing.assert_close(loss(z, pairs, strength, torch.eye(N, dtype=z.dtype)), wanted)


def test_t4_balanced_clusters_without_their_own_block() -> None:
    centre, label, tau = F.normalize(rows(K)), torch.arange(K).repeat(9), 0.5
    unit = centre[label]
    score = unit @ unit.T / tau
    exact = score.masked_fill(label[:, None] == label, -torch.inf).logsumexp(1).mean()
    loss = PamC(tau, **UNWEIGHTED)
    torch.testing.assert_close(loss.negative(unit, label) + math.log(9), exact)
    found = loss.approximation(unit, label)
    assert found.exact == pytest.approx(float(exact))
    assert found.proxy == pytest.approx(float(exact))
    # The release counts a cluster itself, with similarity 0.
    between = (centre @ centre.T / tau).masked_fill(torch.eye(K, dtype=torch.bool), -torch.inf)
    one_more = (between.exp().sum(1) + 1).log().mean()
    torch.testing.assert_close(PamC(tau, mode="official").negative(unit, label), one_more)


def true_excess(unit: Tensor, label: Tensor, tau: float) -> Tensor:
    """How much the mean over the pairs of two clusters exceeds its proxy, pair by pair."""
    groups = [unit[label == a] for a in label.unique()]
    return torch.stack(
        [
            torch.stack(
                [(x @ y.T / tau).exp().mean() / (x.mean(0) @ y.mean(0) / tau).exp() for y in groups]
            )
            for x in groups
        ]
    ).sub(1)


@pytest.mark.parametrize("spread", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("inverse", [0.25, 0.5, 1.0, 1.5])
def test_t5_second_order_predicts_the_gap(spread: float, inverse: float) -> None:
    unit, label = clusters(spread)
    tau = 1 / inverse
    truth = float(true_excess(unit, label, tau).mean())
    assert float(block_excess(unit, label, tau).mean()) == pytest.approx(truth, rel=0.1)
    found = PamC(tau, weight="size", intra=True, similarity="mean").approximation(unit, label)
    assert found.error > 0
    assert found.predicted == pytest.approx(found.error, rel=0.1)
    assert found.predicted == pytest.approx(predicted_gap(unit, label, tau))


def test_t5_small_temperatures_and_loose_clusters_are_beyond_it() -> None:
    unit, label = clusters(0.5)
    truth = float(true_excess(unit, label, 0.2).mean())
    assert float(block_excess(unit, label, 0.2).mean()) < 0.8 * truth
    found = PamC(0.2, weight="size", intra=True, similarity="mean").approximation(unit, label)
    assert found.error > 0.5


def test_t6_sparse_positives_equal_dense_ones() -> None:
    z, (pairs, strength, dense) = rows().requires_grad_(True), graph()
    unit = F.normalize(z)
    away = dense.clone().fill_diagonal_(0.0)
    positive = (away * (unit @ unit.T / 0.7).exp()).sum(1)
    wanted = -positive[1:].log().sum() / N  # node 0 has no positive but itself
    order = torch.randperm(pairs.shape[1], generator=seeded())
    got = PamC(0.7).positive(z, pairs[:, order], strength[order])
    torch.testing.assert_close(got, wanted)
    ours, theirs = (torch.autograd.grad(one, z)[0] for one in (got, wanted))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("tau", [0.25, 2.0])
def test_official_mode_equals_the_released_loss(tau: float) -> None:
    z, (pairs, strength, dense) = rows().requires_grad_(True), graph()
    got = PamC(tau, mode="official")(z, pairs, strength, labels())
    wanted = released(z, dense, labels(), tau)
    torch.testing.assert_close(got, wanted)
    ours, theirs = (torch.autograd.grad(one, z)[0] for one in (got, wanted))
    torch.testing.assert_close(ours, theirs)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"intra": False},
    {"similarity": "cos"},
    UNWEIGHTED,
    {"assign": "soft"},
    {**UNWEIGHTED, "assign": "soft"},
    {"mode": "official"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_t7_names_of_clusters_and_the_scale_of_rows_do_not_matter(options: Any) -> None:
    z, (pairs, strength, _) = rows(), graph()
    q = torch.softmax(3 * rows()[:, :K], 1)
    loss = PamC(0.5, **options)
    wanted = loss(z, pairs, strength, q)
    order = torch.randperm(K, generator=seeded())
    torch.testing.assert_close(loss(z, pairs, strength, q[:, order]), wanted)
    torch.testing.assert_close(loss(7 * z, pairs, strength, q), wanted)
    if options.get("assign") != "soft":
        torch.testing.assert_close(loss(z, pairs, strength, q.argmax(1)), wanted)
    if options.get("mode") != "official":  # there, long rows weigh more in their meta-node
        scale = torch.rand(N, 1, dtype=z.dtype, generator=seeded()) + 0.1
        torch.testing.assert_close(loss(scale * z, pairs, strength, q), wanted)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_t8_empty_clusters_zero_rows_and_no_edges_stay_finite(options: Any) -> None:
    q = torch.zeros(N, K + 3)
    q[:, 1], q[:5, 1], q[:5, K] = 1, 0, 1  # empty at the start, in the middle and at the end
    z = torch.cat([torch.zeros(2, D), rows(N - 2).float()]).requires_grad_(True)
    loss = PamC(0.5, **options)
    nothing = torch.empty(2, 0, dtype=torch.long)
    for pairs, strength in (graph()[:2], (nothing, torch.empty(0))):
        value = loss(z, pairs, strength.float(), q)
        assert value.isfinite()
        gradient = torch.autograd.grad(value, z)[0]
        assert gradient.isfinite().all()
        if "mode" not in options:
            assert not gradient[:2].any()  # what has no direction is not turned
    kept = q[:, [1, K]]
    pairs, strength = graph()[:2]
    torch.testing.assert_close(
        loss(z, pairs, strength, q), loss(z, pairs, strength, kept.contiguous())
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_one_cluster_has_nothing_to_be_pushed_from(options: Any) -> None:
    z = rows().requires_grad_(True)
    loss, whole = PamC(0.5, **options), torch.ones(N, 1, dtype=z.dtype)
    value = loss.negative(z, whole)
    assert value.isfinite()
    if not loss.intra:
        assert float(value.detach()) == pytest.approx(0, abs=1e-9)
        assert options.get("mode") or loss.approximation(z, whole).error == 0
    assert torch.autograd.grad(value, z)[0].isfinite().all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients(options: Any) -> None:
    z, (pairs, strength, _) = rows(12).requires_grad_(True), graph(12)
    logits = rows(12)[:, :3].flip(0).requires_grad_(True)
    loss = PamC(0.5, **options)

    def call(z: Tensor, logits: Tensor) -> Tensor:
        return loss(z, pairs, strength, logits.softmax(1))

    soft = options.get("assign") == "soft"
    assert torch.autograd.gradcheck(
        call if soft else lambda z: call(z, logits), (z, logits) if soft else (z,)
    )


def test_soft_clusters_train_the_memberships_and_hard_ones_do_not() -> None:
    for assign in ("hard", "soft"):
        q = rows()[:, :K].softmax(1).requires_grad_(True)
        value = PamC(assign=assign).negative(rows().requires_grad_(True), q)  # type: ignore
        (grad,) = torch.autograd.grad(value, q, allow_unused=True)
        assert (grad is not None and bool(grad.any())) == (assign == "soft")


def test_half_precision_is_summed_in_single() -> None:
    z, (pairs, strength, _) = rows(), graph()
    loss = PamC(0.02)  # exp(50) is beyond half precision
    half = z.half()
    got = loss(half, pairs, strength.half(), labels())
    assert got.dtype == torch.float32
    wanted = loss(half.float(), pairs, strength.half().float(), labels())
    torch.testing.assert_close(got, wanted)
    assert loss(z, pairs, strength, labels()).dtype == torch.float64


def test_nan_is_not_hidden() -> None:
    z, (pairs, strength, _) = rows(), graph()
    z[3, 1] = torch.nan
    assert PamC()(z, pairs, strength, labels()).isnan()


def test_the_example_of_the_paper_in_numbers() -> None:
    """Two nodes apart by a right angle, each a cluster, joined by an edge: 0 + 0."""
    z = torch.eye(2)
    pairs, label = torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 1])
    assert float(PamC(1.0, **UNWEIGHTED)(z, pairs, torch.ones(2), label)) == pytest.approx(0)
    assert float(PamC(1.0).negative(z, label)) == pytest.approx(math.log(math.e + 1))
    opposite = torch.tensor([[1.0], [-1.0]])
    assert float(PamC(0.5, **UNWEIGHTED).negative(opposite, label)) == pytest.approx(-2)
    # The release adds e^0 for the cluster itself.
    wanted = math.log(1 + math.exp(-2) + 1e-10)
    assert float(PamC(0.5, mode="official").negative(opposite, label)) == pytest.approx(wanted)


@pytest.mark.parametrize("options", [UNWEIGHTED, {"assign": "soft"}], ids=str)
def test_a_step_holds_nothing_of_size_n_by_n(options: Any, largest: Any) -> None:
    nodes, width = 20_000, 10
    z = torch.randn(nodes, width, generator=seeded()).requires_grad_(True)
    pairs = torch.randint(nodes, (2, 8 * nodes), generator=seeded())
    q = torch.randn(nodes, 10, generator=seeded()).softmax(1)
    with largest:
        PamC(**options)(z, pairs, torch.ones(8 * nodes), q).backward()
    # The ids of the pairs, or one piece of gathered rows: never (P, D) or more.
    assert 8 * nodes <= largest.bytes // 8 <= max(2 * 8 * nodes, _PIECE * width)


def test_a_large_step_is_quick_and_small(largest: Any) -> None:
    nodes, width = 100_000, 10
    z = torch.randn(nodes, width, generator=seeded()).requires_grad_(True)
    pairs = torch.randint(nodes, (2, 8 * nodes), generator=seeded())
    strength = torch.ones(8 * nodes)
    q = torch.randn(nodes, 10, generator=seeded()).softmax(1)
    seconds = []
    for _ in range(3):
        # Time of this process alone: other work on the machine does not count.
        started = time.process_time()
        with largest:
            PamC()(z, pairs, strength, q).backward()
        seconds.append(time.process_time() - started)
    assert min(seconds) < 2
    assert largest.bytes // 8 <= max(2 * 8 * nodes, _PIECE * width)


def test_bad_settings_and_inputs_are_named() -> None:
    z, (pairs, strength, _), label = rows(), graph(), labels()
    bad: Any = "no"
    for call, words in (
        (lambda: PamC(0.0), "tau"),
        (lambda: PamC(math.nan), "tau"),
        (lambda: PamC(weight=bad), "weight 'no'"),
        (lambda: PamC(assign=bad), "assign 'no'"),
        (lambda: PamC(similarity=bad), "similarity 'no'"),
        (lambda: PamC(mode=bad), "mode 'no'"),
        (lambda: PamC(intra=bad), "intra 'no'"),
        (lambda: PamC(mode="official", weight="size"), "weight='none'; got 'size'"),
        (lambda: PamC(mode="official", intra=True), "intra=False; got True"),
        (lambda: PamC()(z[0], pairs, strength, label), "z must be"),
        (lambda: PamC()(z.long(), pairs, strength, label), "int64"),
        (lambda: PamC()(z, pairs, strength[1:], label), "one per pair"),
        (lambda: PamC()(z, pairs, -strength, label), "finite and not negative"),
        (lambda: PamC()(z, pairs, strength * math.nan, label), "finite and not negative, got nan"),
        (lambda: PamC()(z[:0], pairs[:, :0], strength[:0], label[:0]), "z must be"),
        (lambda: PamC()(z, pairs + N, strength, label), f"{N} to {2 * N - 1}, but there are {N}"),
        (lambda: PamC()(z, pairs, strength, label[1:]), "assignment must be"),
        (lambda: PamC()(z, pairs, strength, label.double()), "integers, got torch.float64"),
        (lambda: PamC()(z, pairs, strength, label - 1), "segment -1"),
        (lambda: PamC(assign="soft")(z, pairs, strength, label), "needs memberships"),
        (lambda: PamC(assign="soft")(z, pairs, strength, -torch.ones(N, 2)), "not be negative"),
        (
            lambda: PamC(assign="soft")(z, pairs, strength, torch.full((N, 2), math.nan)),
            "negative or NaN",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_settings_are_printed() -> None:
    assert "tau=2.0, weight=size, assign=hard, intra=True, similarity=mean" in repr(PamC())
    official = PamC(mode="official")
    assert "weight=none, assign=hard, intra=False, similarity=cos" in repr(official)
    assert repr(PamC(mode="official", **UNWEIGHTED)) == repr(official)


@pytest.mark.parametrize(
    ("strength", "assignment", "match"),
    [
        ([1.0, 1.0], torch.full((6, 3), torch.nan), "memberships must not be negative or NaN"),
        ([1.0, 1.0], -torch.eye(3).repeat(2, 1), "memberships must not be negative or NaN, got -1"),
        ([torch.inf, 1.0], torch.zeros(6).long(), "strength must be finite and not negative"),
        ([1.0, torch.nan], torch.zeros(6).long(), "not negative, got nan"),
    ],
)
def test_weights_and_memberships_that_are_none(
    strength: list[float], assignment: Tensor, match: str
) -> None:
    pairs = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=match):
        PamC()(torch.randn(6, 3), pairs, torch.tensor(strength), assignment)


def test_memberships_may_be_truth_values() -> None:
    z, own = rows(6), torch.eye(3).repeat(2, 1)
    pairs = torch.tensor([[0, 1], [1, 0]])
    found = PamC()(z, pairs, torch.ones(2), own.bool())
    torch.testing.assert_close(found, PamC()(z, pairs, torch.ones(2), own))
