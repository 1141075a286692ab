"""ProGCL's schedule: when the mixture is fitted, to what, and what the loss then is."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.losses import InfoNCE, ProGCLLoss
from graphcl.weights import BetaMixture, ProGCLMix, ProGCLWeight

TAU = 0.4


def views(seed: int = 0, nodes: int = 30) -> tuple[Tensor, Tensor]:
    """Two noisy copies of nodes in three groups."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(3, 6, generator=generator)[torch.arange(nodes) % 3]
    noise = 0.5 * torch.randn(2, nodes, 6, generator=generator)
    return middle + noise[0], middle + noise[1]


def at(loss: ProGCLLoss, epoch: int, z: tuple[Tensor, Tensor]) -> Tensor:
    loss.epoch.fill_(epoch)
    torch.manual_seed(epoch)
    return loss(*z)


@pytest.mark.parametrize("mode", ["weight", "mix", "official"])
def test_infonce_before_the_start_and_weights_after(mode: Any) -> None:
    loss = ProGCLLoss(TAU, mode=mode, epoch_start=3)
    z = views()
    assert at(loss, 2, z) == InfoNCE(TAU)(*z)
    assert int(loss.fitted) == -1
    found = at(loss, 3, z)
    assert int(loss.fitted) == 3
    a, b = (F.normalize(one) for one in z)
    weight = {
        "weight": ProGCLWeight(loss.mixture),
        "mix": ProGCLMix(loss.mixture),
        "official": ProGCLWeight(loss.mixture, frozen=(b, a)),
    }[mode]
    torch.manual_seed(3)
    torch.randperm(30)  # the columns of the fit
    torch.testing.assert_close(found, InfoNCE(TAU, weight=weight)(*z))
    assert abs(float(found - InfoNCE(TAU)(*z))) > 1e-3


def test_fit_is_to_similarities_of_random_columns_without_positives() -> None:
    loss = ProGCLLoss(TAU, epoch_start=0, columns=7, iterations=4)
    z = views()
    at(loss, 0, z)
    a, b = (F.normalize(one) for one in z)
    torch.manual_seed(0)
    chosen = torch.randperm(30)[:7]
    values = [
        float((a[i] @ b[j] + 1) / 2) for i in range(30) for j in chosen.tolist() if int(j) != i
    ]
    wanted = BetaMixture()
    wanted.fit(torch.tensor(values), 4)
    torch.testing.assert_close(loss.mixture.alpha, wanted.alpha, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.mixture.share, wanted.share, rtol=1e-4, atol=1e-4)


def test_refreshes_on_its_schedule_and_in_training_only() -> None:
    loss = ProGCLLoss(TAU, epoch_start=2, refresh=3)
    fitted = []
    for epoch in range(9):
        at(loss, epoch, views(epoch))
        fitted.append(int(loss.fitted))
    assert fitted == [-1, -1, 2, 2, 2, 5, 5, 5, 8]
    loss.eval()
    at(loss, 20, views())
    assert int(loss.fitted) == 8


def test_official_weights_are_frozen_and_the_others_follow() -> None:
    """The same views in a later epoch: only the release still weighs by the first ones."""
    for mode in ("official", "weight"):
        loss = ProGCLLoss(TAU, mode=mode, epoch_start=0, refresh=100)  # type: ignore[arg-type]
        at(loss, 0, views(0))
        later = at(loss, 50, views(1))
        fresh = InfoNCE(TAU, weight=ProGCLWeight(loss.mixture))(*views(1))
        assert torch.equal(later, fresh) == (mode == "weight")
        assert int(loss.fitted) == 0


@pytest.mark.parametrize("mode", ["weight", "mix", "official"])
def test_state_goes_on_bit_for_bit(mode: Any) -> None:
    first = ProGCLLoss(TAU, mode=mode, epoch_start=1, refresh=10)
    for epoch in range(3):
        at(first, epoch, views(epoch))
    second = ProGCLLoss(TAU, mode=mode, epoch_start=1, refresh=10)
    second.load_state_dict(first.state_dict())
    assert int(second.epoch) == 2
    for epoch in (3, 4, 11, 12):
        assert torch.equal(at(first, epoch, views(epoch)), at(second, epoch, views(epoch)))


def test_gradients_reach_both_views_and_no_part_of_the_mixture() -> None:
    loss = ProGCLLoss(TAU, epoch_start=0)
    z = tuple(one.requires_grad_() for one in views())
    for grad in torch.autograd.grad(loss(*z), z):
        assert grad.isfinite().all()
        assert grad.any()
    assert not list(loss.parameters())


def test_bad_settings_are_named() -> None:
    for options, words in (
        ({"mode": "heavy"}, "mode 'heavy'"),
        ({"epoch_start": -1}, "epoch_start must be at least 0, got -1"),
        ({"refresh": 0}, "refresh"),
        ({"iterations": 0}, "iterations"),
        ({"columns": 0}, "columns"),
        ({"sel_num": 0, "mode": "mix"}, "sel_num"),
        ({"intra": "none"}, "intra 'none'"),
        ({"weight_init": 1.0}, "weight_init"),
        ({"tau": 0.0}, "tau"),
    ):
        with pytest.raises(ValueError, match=words):
            ProGCLLoss(**options)  # type: ignore[arg-type]
