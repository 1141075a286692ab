"""ProGCL's weights and mixed negatives against dense matrices."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import Exclude
from graphcl.losses import InfoNCE
from graphcl.weights import BetaMixture, ProGCLMix, ProGCLWeight, ViewSums
from graphcl.weights.paired_views import paired_view_sums

TAU = 0.4
Views = tuple[Tensor, Tensor]
LABEL = torch.tensor([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 6])


@pytest.fixture
def mixture() -> BetaMixture:
    """A mixture that tells similarities apart."""
    found = BetaMixture()
    found.alpha.copy_(torch.tensor([6.0, 9.0]))
    found.beta.copy_(torch.tensor([9.0, 3.0]))
    found.share.copy_(torch.tensor([0.8, 0.2]))
    return found


def hardness(mixture: BetaMixture, s: Tensor) -> Tensor:
    u = (s.detach() + 1) / 2
    return mixture.posterior(u) * u


def dense_weighted(
    z1: Tensor, z2: Tensor, mixture: BetaMixture, intra: str, keep: Tensor, intra_view: bool = True
) -> Tensor:
    """The loss of the paper from matrices B that are normalised row by row."""
    a, b = F.normalize(z1), F.normalize(z2)
    total = torch.zeros((), dtype=z1.dtype)
    for own, other in ((a, b), (b, a)):
        between, within = own @ other.T, own @ own.T

        def scaled(s: Tensor) -> Tensor:
            weight = hardness(mixture, s) * keep
            return weight / (weight.sum(1, keepdim=True) / keep.sum(1, keepdim=True))

        below = (scaled(between) * (between / TAU).exp()).sum(1)
        if intra_view:
            chosen = scaled(between if intra == "inter" else within)
            below = below + (chosen * (within / TAU).exp()).sum(1)
        positive = between.diagonal() / TAU
        total = total + ((below + positive.exp()).log() - positive).mean() / 2
    return total


@pytest.mark.parametrize("intra", ["inter", "own"])
@pytest.mark.parametrize("intra_view", [True, False])
@pytest.mark.parametrize("excluded", [True, False])
def test_weighted_loss_equals_the_dense_one(
    views: Views, mixture: BetaMixture, agree: Any, intra: Any, intra_view: bool, excluded: bool
) -> None:
    keep = ~torch.eye(len(LABEL), dtype=torch.bool)
    exclude = None
    if excluded:
        keep &= LABEL[:, None] != LABEL
        exclude = Exclude.same_group(LABEL, LABEL)
    loss = InfoNCE(TAU, intra_view=intra_view, weight=ProGCLWeight(mixture, intra))
    want = dense_weighted(*views, mixture, intra, keep, intra_view)
    agree(loss(*views, exclude=exclude), want, views)


@pytest.mark.parametrize("nodes", [2, 50, 700])
@pytest.mark.parametrize("excluded", [True, False])
def test_one_visit_of_the_pairs_equals_a_sum_at_a_time(
    mixture: BetaMixture, agree: Any, nodes: int, excluded: bool
) -> None:
    """Values and gradients, over several tiles, of upstream gradients that differ by anchor."""
    generator = torch.Generator().manual_seed(nodes)
    z = torch.randn(2, nodes, 8, generator=generator, dtype=torch.float64)
    views = tuple(F.normalize(one).requires_grad_() for one in z.unbind())
    exclude = None
    if excluded:
        label = torch.randint(3, (nodes,), generator=generator)
        label[0], label[1:] = 9, label[1:].clamp(0, 2)  # one node has all others
        exclude = Exclude.same_group(label, label)
    upstream = torch.randn(2, nodes, generator=generator, dtype=torch.float64)

    def total(impl: Any) -> Tensor:
        sums = ViewSums(views[0], views[1], TAU, exclude=exclude, impl=impl)
        found = torch.stack(ProGCLWeight(mixture).log_negatives(sums))
        return (upstream * found.masked_fill(found == -torch.inf, 0.0)).sum()

    agree(total("auto"), total("reference"), views)


def test_one_visit_is_taken_where_it_can_be(views: Views, mixture: BetaMixture) -> None:
    ptr, index = torch.arange(len(LABEL) + 1).clamp(max=1), torch.tensor([3])
    one_way = Exclude.csr(ptr, index)  # node 3 is no negative of node 0, but 0 is one of 3
    z1, z2 = (F.normalize(z.detach()) for z in views)

    def alike(**options: Any) -> bool:
        sums = ViewSums(z1, z2, **{"tau": TAU, **options})
        found = ProGCLWeight(mixture).log_negatives(sums)
        want = ProGCLWeight(mixture).log_negatives(replace(sums, impl="reference"))
        torch.testing.assert_close(found, want)
        return paired_view_sums(sums, mixture.weight) is not None

    assert alike()
    assert alike(exclude=Exclude.same_group(LABEL, LABEL))
    assert not alike(exclude=one_way)
    assert not alike(tau=0.01)
    assert not alike(intra_view=False)
    assert not alike(symmetric=False)


@pytest.mark.parametrize("kind", ["inter", "own", "mix"])
def test_a_fit_between_loss_and_gradient_changes_nothing(
    views: Views, mixture: BetaMixture, kind: Any
) -> None:
    weight = ProGCLMix(mixture, 5) if kind == "mix" else ProGCLWeight(mixture, kind)
    loss = InfoNCE(TAU, weight=weight)
    torch.manual_seed(3)
    want = torch.autograd.grad(loss(*views), views)
    torch.manual_seed(3)
    late = loss(*views)
    mixture.reset()
    torch.testing.assert_close(torch.autograd.grad(late, views), want)


def test_one_visit_cannot_be_differentiated_twice(views: Views, mixture: BetaMixture) -> None:
    loss = InfoNCE(TAU, weight=ProGCLWeight(mixture))(*views)
    (first,) = torch.autograd.grad(loss, views[0], create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        first.sum().backward()


@pytest.mark.parametrize("intra", ["inter", "own"])
def test_constant_weights_reduce_to_infonce(
    views: Views, mixture: BetaMixture, monkeypatch: pytest.MonkeyPatch, intra: Any
) -> None:
    monkeypatch.setattr(mixture, "weight", lambda s: torch.full_like(s, 0.2))
    for z in (views, tuple(z.float() for z in views)):
        weighted = InfoNCE(TAU, weight=ProGCLWeight(mixture, intra))(*z)
        torch.testing.assert_close(weighted, InfoNCE(TAU)(*z))


def test_rows_of_weights_have_mean_one(views: Views, mixture: BetaMixture) -> None:
    """With similarities taken out of the sum, what is left of N - 1 negatives is N - 1."""
    z1, z2 = (F.normalize(z.detach()) for z in views)
    sums = ViewSums(z1, z2, TAU, intra_view=False).weights_alone
    for total in ProGCLWeight(mixture).log_negatives(sums):
        torch.testing.assert_close(total.exp(), torch.full_like(total, len(z1) - 1))


def test_each_direction_has_its_own_weights(views: Views, mixture: BetaMixture) -> None:
    z1, z2 = (z.detach() for z in views)
    loss = InfoNCE(TAU, weight=ProGCLWeight(mixture))
    torch.testing.assert_close(loss(z1, z2), loss(z2, z1))
    one = InfoNCE(TAU, weight=ProGCLWeight(mixture), symmetric=False)
    torch.testing.assert_close((one(z1, z2) + one(z2, z1)) / 2, loss(z1, z2))


def test_frozen_weights_are_those_of_the_release(
    views: Views, mixture: BetaMixture, agree: Any
) -> None:
    """One matrix B, from earlier views in one direction, for all four sums."""
    generator = torch.Generator().manual_seed(8)
    old = F.normalize(torch.randn(2, *views[0].shape, generator=generator).double(), dim=-1)
    keep = ~torch.eye(len(LABEL), dtype=torch.bool)
    weight = hardness(mixture, old[0] @ old[1].T) * keep
    weight = weight / (weight.sum(1, keepdim=True) / keep.sum(1, keepdim=True))
    a, b = F.normalize(views[0]), F.normalize(views[1])
    want = torch.zeros((), dtype=torch.float64)
    for own, other in ((a, b), (b, a)):
        positive = (own * other).sum(1) / TAU
        below = (weight * ((own @ other.T / TAU).exp() + (own @ own.T / TAU).exp())).sum(1)
        want = want + ((below + positive.exp()).log() - positive).mean() / 2
    loss = InfoNCE(TAU, weight=ProGCLWeight(mixture, frozen=(old[0], old[1])))
    agree(loss(*views), want, views)


@pytest.mark.parametrize("kind", ["weight", "mix"])
def test_gradients(views: Views, kind: str) -> None:
    """With weights that do not depend on the embeddings, as they are constants otherwise."""
    flat = BetaMixture()
    flat.alpha.fill_(2.0)
    flat.beta.fill_(2.0)
    old = tuple(F.normalize(z.detach()) for z in views)
    weight: Any = (
        ProGCLWeight(flat, frozen=old) if kind == "weight" else ProGCLMix(flat, sel_num=10)
    )
    if kind == "mix":
        flat.log_weight = lambda s: torch.zeros_like(s)  # type: ignore[method-assign]

    def loss(*z: Tensor) -> Tensor:
        torch.manual_seed(0)
        return InfoNCE(TAU, weight=weight)(*z)

    assert torch.autograd.gradcheck(loss, views)


def dense_mixed(z1: Tensor, z2: Tensor, mixture: BetaMixture, count: int, keep: Tensor) -> Tensor:
    """The release's steps: sort by B, mix each of the first with a partner, append."""
    a, b = F.normalize(z1), F.normalize(z2)
    torch.manual_seed(5)
    partner = torch.randperm(count)
    total = torch.zeros((), dtype=z1.dtype)
    for own, other in ((a, b), (b, a)):
        between, within = own @ other.T, own @ own.T
        weight = hardness(mixture, between) * keep
        for i in range(len(own)):
            order = weight[i].argsort(descending=True)[:count]
            first, second = order, order[partner]
            wa, wb = weight[i, first], weight[i, second]
            there = wa > 0  # an excluded pair may be a partner, but is mixed with none
            mixed = (wa * between[i, first] + wb * between[i, second])[there] / (wa + wb)[there]
            below = (mixed / TAU).exp().sum() + (between[i, i] / TAU).exp()
            below = below + ((between[i] / TAU).exp() * keep[i]).sum()
            below = below + ((within[i] / TAU).exp() * keep[i]).sum()
            total = total + (below.log() - between[i, i] / TAU) / (2 * len(own))
    return total


@pytest.mark.parametrize("count", [1, 4, 10])
@pytest.mark.parametrize("excluded", [True, False])
def test_mixed_loss_equals_the_dense_one(
    views: Views,
    mixture: BetaMixture,
    agree: Any,
    count: int,
    excluded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("graphcl.weights.progcl_mix._BLOCK_PAIRS", 40)  # three rows at a time
    keep = ~torch.eye(len(LABEL), dtype=torch.bool)
    exclude = None
    if excluded:
        keep &= LABEL[:, None] != LABEL
        exclude = Exclude.same_group(LABEL, LABEL)
    want = dense_mixed(*views, mixture, count, keep)
    torch.manual_seed(5)
    got = InfoNCE(TAU, weight=ProGCLMix(mixture, count))(*views, exclude=exclude)
    agree(got, want, views)


def test_more_mixed_negatives_than_there_are(views: Views, mixture: BetaMixture) -> None:
    losses = []
    for count in (len(views[0]) - 1, 1000):
        torch.manual_seed(5)
        losses.append(InfoNCE(TAU, weight=ProGCLMix(mixture, count))(*views))
    assert losses[0] == losses[1]


def test_mixing_without_any_negative(views: Views, mixture: BetaMixture) -> None:
    everyone = torch.zeros(len(views[0]), dtype=torch.long)
    exclude = Exclude.same_group(everyone, everyone)
    for weight in (ProGCLMix(mixture, 4), ProGCLWeight(mixture)):
        loss = InfoNCE(TAU, weight=weight)(*views, exclude=exclude)
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, views))


def test_mixing_stays_in_blocks(
    mixture: BetaMixture, largest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphcl.weights.progcl_mix._BLOCK_PAIRS", 2**20)
    z = torch.randn(2, 5000, 3).requires_grad_()
    with largest:
        InfoNCE(TAU, weight=ProGCLMix(mixture, 20))(z[0], z[1]).backward()
    assert largest.entries <= 2**20
    assert z.grad is not None


def test_bad_settings_are_named(mixture: BetaMixture) -> None:
    bad: Any = "no"
    with pytest.raises(ValueError, match="intra 'no'"):
        ProGCLWeight(mixture, bad)
    with pytest.raises(ValueError, match="sel_num"):
        ProGCLMix(mixture, 0)


def test_half_precision_is_summed_in_float32(mixture: BetaMixture) -> None:
    z1, z2 = F.normalize(torch.randn(2, 300, 8), dim=2).bfloat16()
    sums = ViewSums(z1, z2, TAU)
    found = ProGCLWeight(mixture).log_negatives(sums)
    wide = ProGCLWeight(mixture).log_negatives(ViewSums(z1.float(), z2.float(), TAU))
    for one, other in zip(found, wide, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)
    assert sums.log_count().dtype == torch.float32


@pytest.mark.parametrize("seed", range(5))
def test_an_excluded_candidate_is_mixed_with_none(mixture: BetaMixture, seed: int) -> None:
    """Anchor 0 has one negative, which is mixed with itself however the partners fall."""
    torch.manual_seed(seed)
    z1, z2 = F.normalize(torch.randn(2, 4, 3), dim=-1).unbind()
    label = torch.tensor([7, 7, 7, 8])
    sums = ViewSums(z1, z2, 0.5, False, False, Exclude.same_group(label, label))
    forward, _ = ProGCLMix(mixture).log_negatives(sums)
    wanted = math.log(2) + float(z1[0] @ z2[3]) / 0.5
    assert float(forward[0]) == pytest.approx(wanted, abs=1e-5)
