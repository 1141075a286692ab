"""Chuang et al., 2020: the corrected sum written out, its floor, and its numerics."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.kernels import Exclude, KeyWeight, SimilarityWeight
from graphcl.losses import InfoNCE
from graphcl.weights import Debiased

TAU = 0.5
Views = tuple[Tensor, Tensor]


def corrected(tau_plus: float, log_weight: Any = None) -> Callable[..., Tensor]:
    def negatives(s: Tensor, keep: Tensor, positive: Tensor) -> Tensor:
        weight = 1.0 if log_weight is None else log_weight(s).exp()
        total = (weight * (s / TAU).exp() * keep).sum(1)
        count = keep.sum(1)
        estimate = (total - count * tau_plus * (positive / TAU).exp()) / (1 - tau_plus)
        least = count * torch.tensor(-1 / TAU, dtype=s.dtype).exp()
        return torch.maximum(estimate, least)

    return negatives


@pytest.mark.parametrize("intra", [True, False])
@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("tau_plus", [0.01, 0.2, 0.6])
def test_loss_equals_the_corrected_sum(
    views: Views, dense_loss: Any, agree: Any, tau_plus: float, decoupled: bool, intra: bool
) -> None:
    """Shares of 0.2 and 0.6 reach the floor for some anchors and not for others."""
    loss = InfoNCE(TAU, intra_view=intra, decoupled=decoupled, weight=Debiased(tau_plus))
    options = {"intra_view": intra, "decoupled": decoupled}
    agree(loss(*views), dense_loss(*views, TAU, corrected(tau_plus), **options), views)


def test_weights_inside_the_sum(views: Views, dense_loss: Any, agree: Any) -> None:
    tilt = SimilarityWeight(lambda s: 0.7 * s, detach=False)
    ours = InfoNCE(TAU, weight=Debiased(0.05, tilt))(*views)
    agree(ours, dense_loss(*views, TAU, corrected(0.05, lambda s: 0.7 * s)), views)
    key = KeyWeight(torch.full((len(views[0]),), 0.3, dtype=torch.float64))
    ours = InfoNCE(TAU, weight=Debiased(0.05, key))(*views)
    agree(ours, dense_loss(*views, TAU, corrected(0.05, lambda s: torch.full_like(s, 0.3))), views)


def test_excluded_pairs_are_not_counted(views: Views, dense_loss: Any, agree: Any) -> None:
    label = torch.tensor([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 6])
    exclude = Exclude.same_group(label, label)
    ours = InfoNCE(TAU, weight=Debiased(0.1))(*views, exclude=exclude)
    agree(ours, dense_loss(*views, TAU, corrected(0.1), hidden=label[:, None] == label), views)


def test_no_false_negatives_is_infonce(views: Views) -> None:
    torch.testing.assert_close(InfoNCE(TAU, weight=Debiased(0.0))(*views), InfoNCE(TAU)(*views))


def test_a_small_temperature_overflows_nothing() -> None:
    z = torch.eye(5).roll(1, 1) + 0.1 * torch.rand(5, 5)
    z.requires_grad_()
    loss = InfoNCE(0.005, weight=Debiased(0.1))(z, torch.eye(5))
    assert loss.isfinite()
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


def test_a_node_without_negatives(views: Views) -> None:
    everyone = torch.zeros(len(views[0]), dtype=torch.long)
    exclude = Exclude.same_group(everyone, everyone)
    loss = InfoNCE(TAU, weight=Debiased(0.1))(*views, exclude=exclude)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, views))


def test_gradients(views: Views) -> None:
    assert torch.autograd.gradcheck(InfoNCE(TAU, weight=Debiased(0.02)), views)


def test_descent_separates_false_pairs() -> None:
    """Ten steps bring the positives nearer than the negatives."""
    z = torch.randn(2, 20, 4).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    loss = InfoNCE(TAU, weight=Debiased(0.05))

    def gap() -> float:
        a, b = torch.nn.functional.normalize(z.detach(), dim=-1)
        s = a @ b.T
        return float(s.diagonal().mean() - s.mean())

    before = gap()
    for _ in range(10):
        optimizer.zero_grad()
        loss(z[0], z[1]).backward()
        optimizer.step()
    assert gap() > before + 0.3


def test_bad_share() -> None:
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="tau_plus"):
            Debiased(share)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_gradient_is_nan_where_the_corrected_sum_vanishes(dtype: torch.dtype) -> None:
    """Three directions at equal angles, whose negatives are as large as what is taken off them."""
    turn = torch.arange(0, 200, dtype=dtype)[:, None]
    angles = torch.arange(3, dtype=dtype) * (2 * torch.pi / 3) + turn
    loss = InfoNCE(0.5, intra_view=False, weight=Debiased(float(torch.tensor(-3.0).exp())))
    for angle in angles:
        z = torch.stack([angle.cos(), angle.sin()], 1).requires_grad_()
        loss(z, z.detach().clone()).backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()
