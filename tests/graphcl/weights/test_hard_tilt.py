"""Robinson et al., 2021: importance weights written out."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.kernels import Exclude
from graphcl.losses import InfoNCE
from graphcl.weights import Debiased, HardTilt

TAU = 0.5
Views = tuple[Tensor, Tensor]


def tilted(beta: float, *, detach: bool = False, tau_plus: float = 0.0) -> Callable[..., Tensor]:
    """The paper's reweighted sum, with its correction for false negatives."""

    def negatives(s: Tensor, keep: Tensor, positive: Tensor) -> Tensor:
        importance = (beta * s / TAU).exp() * keep
        count = keep.sum(1, keepdim=True)
        weight = count * importance / importance.sum(1, keepdim=True)
        weight = weight.detach() if detach else weight
        total = (weight * (s / TAU).exp() * keep).sum(1)
        taken = tau_plus * count[:, 0] * (positive / TAU).exp()
        least = count[:, 0] * torch.tensor(-1 / TAU, dtype=s.dtype).exp()
        return torch.maximum((total - taken) / (1 - tau_plus), least)

    return negatives


@pytest.mark.parametrize("intra", [True, False])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_loss_equals_the_importance_weights(
    views: Views, dense_loss: Any, agree: Any, beta: float, detach: bool, intra: bool
) -> None:
    ours = InfoNCE(TAU, intra_view=intra, weight=HardTilt(beta, detach=detach))(*views)
    agree(ours, dense_loss(*views, TAU, tilted(beta, detach=detach), intra_view=intra), views)


def test_with_the_correction_for_false_negatives(views: Views, dense_loss: Any, agree: Any) -> None:
    ours = InfoNCE(TAU, weight=Debiased(0.05, HardTilt(1.5)))(*views)
    agree(ours, dense_loss(*views, TAU, tilted(1.5, tau_plus=0.05)), views)


def test_excluded_pairs_are_no_negatives(views: Views, dense_loss: Any, agree: Any) -> None:
    label = torch.tensor([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 6])
    exclude = Exclude.same_group(label, label)
    ours = InfoNCE(TAU, weight=HardTilt(2.0))(*views, exclude=exclude)
    hidden = label[:, None] == label
    agree(ours, dense_loss(*views, TAU, tilted(2.0), hidden=hidden), views)


def test_no_tilt_is_infonce_and_a_strong_one_the_hardest_negative(views: Views) -> None:
    torch.testing.assert_close(InfoNCE(TAU, weight=HardTilt(0.0))(*views), InfoNCE(TAU)(*views))
    losses = [InfoNCE(TAU, weight=HardTilt(b))(*views) for b in (0.0, 0.5, 1.0, 2.0, 8.0)]
    assert all(a < b for a, b in pairwise(losses))


@pytest.mark.parametrize("detach", [True, False])
def test_a_node_without_negatives(views: Views, detach: bool) -> None:
    everyone = torch.zeros(len(views[0]), dtype=torch.long)
    loss = InfoNCE(TAU, weight=HardTilt(1.0, detach=detach))(
        *views, exclude=Exclude.same_group(everyone, everyone)
    )
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, views))


def test_gradients(views: Views) -> None:
    loss = InfoNCE(TAU, weight=HardTilt(1.0))
    assert torch.autograd.gradcheck(loss, views)


def test_bad_strength() -> None:
    for beta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta"):
            HardTilt(beta)
