import pytest
import torch

from graphcl.views.coins import flip_coins

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_rate_is_p(p: float) -> None:
    count = 20_000
    hits = int(flip_coins(p, count, device=CPU, generator=seeded()).sum())
    assert abs(hits - count * p) < 4 * (count * p * (1 - p)) ** 0.5


def test_each_coin_has_its_own_rate() -> None:
    p = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
    generator = seeded()
    draws = 4000
    hits = sum(flip_coins(p, 5, device=CPU, generator=generator).double() for _ in range(draws))
    assert ((hits / draws - p).abs() <= 4 * (p * (1 - p) / draws).sqrt()).all()


def test_zero_never_and_one_always() -> None:
    assert not flip_coins(0.0, 10_000, device=CPU).any()
    assert flip_coins(1.0, 10_000, device=CPU).all()
    assert not flip_coins(torch.zeros(1000), 1000, device=CPU).any()
    assert flip_coins(torch.ones(1000), 1000, device=CPU).all()


def test_generator_decides_and_advances() -> None:
    generator = seeded(3)
    first = flip_coins(0.5, 100, device=CPU, generator=generator)
    second = flip_coins(0.5, 100, device=CPU, generator=generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, flip_coins(0.5, 100, device=CPU, generator=seeded(3)))


def test_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    flip_coins(0.5, 10, device=CPU, generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_no_coins() -> None:
    assert flip_coins(0.5, 0, device=CPU).shape == (0,)
    assert flip_coins(torch.empty(0), 0, device=CPU).shape == (0,)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), float("inf"), torch.tensor(2.0)])
def test_scalar_out_of_range(p: float) -> None:
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        flip_coins(p, 3, device=CPU)


@pytest.mark.parametrize("wrong", [-1e-6, 1.5, float("nan")])
def test_tensor_out_of_range_names_value_and_place(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"at 2 is not in \[0, 1\]"):
        flip_coins(torch.tensor([0.1, 0.2, wrong]), 3, device=CPU)


def test_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        flip_coins(torch.full((4,), 0.5), 3, device=CPU)
