import math

import pytest
import torch
import torch.nn.functional as F

from graphcl.losses import discriminator_loss


def test_indifferent_discriminator_gives_log_two() -> None:
    zero = torch.zeros(5, dtype=torch.float64)
    assert float(discriminator_loss(zero, zero)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("count", [1, 2, 63])
def test_equals_torchs_binary_cross_entropy(count: int) -> None:
    positive, negative = 3 * torch.randn(2, count, dtype=torch.float64)
    target = torch.cat([torch.ones(count), torch.zeros(count)]).double()
    wanted = F.binary_cross_entropy_with_logits(torch.cat([positive, negative]), target)
    assert float(discriminator_loss(positive, negative)) == pytest.approx(float(wanted))


def test_both_kinds_weigh_half_whatever_their_numbers() -> None:
    positive, negative = torch.tensor([0.3]), torch.tensor([1.0, -2.0, 0.5])
    wanted = (
        -math.log(1 / (1 + math.exp(-0.3)))
        + sum(-math.log(1 - 1 / (1 + math.exp(-v))) for v in (1.0, -2.0, 0.5)) / 3
    ) / 2
    assert float(discriminator_loss(positive, negative)) == pytest.approx(wanted, rel=1e-6)


def test_direction_and_extreme_logits() -> None:
    sure = torch.full((4,), 200.0, requires_grad=True)
    assert float(discriminator_loss(sure, -sure).detach()) == 0
    wrong = discriminator_loss(-sure, sure)
    assert float(wrong.detach()) == pytest.approx(200)
    wrong.backward()
    assert sure.grad.isfinite().all()
    assert (sure.grad > 0).all()


def test_gradcheck() -> None:
    positive, negative = torch.randn(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        discriminator_loss, (positive.clone().requires_grad_(), negative.clone().requires_grad_())
    )


def test_no_pairs() -> None:
    some, none = torch.zeros(3), torch.zeros(0)
    for pair in ((some, none), (none, some)):
        with pytest.raises(ValueError, match="needs true and corrupted pairs"):
            discriminator_loss(*pair)
