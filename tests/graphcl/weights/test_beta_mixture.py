"""The two-component Beta mixture: recovery, likelihood, posterior, weight, edge cases."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch

from graphcl.weights import BetaMixture


def drawn(count: int = 20_000, seed: int = 0) -> torch.Tensor:
    """70 % Beta(4, 12) and 30 % Beta(14, 4)."""
    generator = np.random.default_rng(seed)
    low = generator.beta(4, 12, int(0.7 * count))
    high = generator.beta(14, 4, count - len(low))
    return torch.from_numpy(np.concatenate([low, high]))


def test_recovery_of_a_synthetic_mixture() -> None:
    mixture = BetaMixture()
    mixture.fit(drawn(), iterations=50)
    torch.testing.assert_close(mixture.share, torch.tensor([0.7, 0.3]).double(), rtol=0, atol=0.02)
    mean = mixture.alpha / (mixture.alpha + mixture.beta)
    torch.testing.assert_close(mean, torch.tensor([0.25, 14 / 18]).double(), rtol=0, atol=0.01)
    wanted = torch.tensor([[4.0, 12.0], [14.0, 4.0]]).double()
    found = torch.stack([mixture.alpha, mixture.beta], 1)
    torch.testing.assert_close(found, wanted, rtol=0.15, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_likelihood_never_falls(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for values in (
        drawn(2000, seed),
        torch.rand(500, generator=generator),
        0.5 + 0.02 * torch.randn(500, generator=generator),
        torch.rand(500, generator=generator).round(),
    ):
        history = BetaMixture().fit(values, iterations=40)
        assert len(history) > 1
        assert all(a <= b for a, b in pairwise(history))


def test_posterior_is_bayes_rule() -> None:
    mixture = BetaMixture()
    mixture.fit(drawn(2000))
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    joint = [
        float(mixture.share[k])
        * scipy.stats.beta.pdf(u.numpy(), float(mixture.alpha[k]), float(mixture.beta[k]))
        for k in (0, 1)
    ]
    wanted = torch.from_numpy(joint[0] / (joint[0] + joint[1]))
    torch.testing.assert_close(mixture.posterior(u), wanted)
    weight = mixture.log_weight(2 * u - 1)
    torch.testing.assert_close(weight, (wanted * u).log().clamp_min(mixture.extent[0]))


def test_the_component_of_low_similarity_comes_first() -> None:
    mixture = BetaMixture(weight_init=0.95)
    mixture.fit(drawn(2000), iterations=100)
    assert mixture.posterior(torch.tensor(0.1)) > 0.9
    assert mixture.posterior(torch.tensor(0.9)) < 0.1


def test_weight_in_float32_is_that_in_float64() -> None:
    mixture = BetaMixture()
    mixture.fit(drawn(2000))
    s = torch.linspace(-0.995, 0.995, 100_001)
    exact = mixture.log_weight(s.double())
    error = (mixture.log_weight(s).double() - exact).abs()
    assert float(error[exact > np.log(1e-8)].max()) < 1e-4
    assert float(error.max()) < 1e-2


def test_weight_takes_what_rounding_and_errors_bring() -> None:
    given = torch.tensor([[1.0001, -1.0001], [torch.nan, 0.0]])
    found = BetaMixture().log_weight(given)
    assert found.isfinite().tolist() == [[True, True], [False, True]]
    assert found[1, 0].isnan()
    assert given[0, 0] == 1.0001


def test_fit_depends_on_the_observations_alone() -> None:
    fresh, used = BetaMixture(), BetaMixture()
    used.fit(torch.rand(100))
    for mixture in (fresh, used):
        mixture.fit(drawn(500))
    assert all(torch.equal(a, b) for a, b in zip(fresh.buffers(), used.buffers(), strict=True))
    assert not list(fresh.parameters())
    copied = BetaMixture()
    copied.load_state_dict(fresh.state_dict())
    assert torch.equal(copied.alpha, fresh.alpha)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_equal_observations_stay_finite(value: float) -> None:
    mixture = BetaMixture()
    mixture.fit(torch.full((50,), value))
    assert all(buffer.isfinite().all() for buffer in mixture.buffers())
    assert mixture.log_weight(torch.linspace(-1, 1, 9)).isfinite().all()


def test_bad_input_is_named() -> None:
    for call, words in (
        (lambda: BetaMixture(0.0), "weight_init"),
        (lambda: BetaMixture().fit(torch.rand(0)), r"\(0,\)"),
        (lambda: BetaMixture().fit(torch.rand(2, 2)), r"\(2, 2\)"),
        (lambda: BetaMixture().fit(torch.tensor([0.5, 1.5])), "0.5 to 1.5"),
        (lambda: BetaMixture().fit(torch.tensor([0.5, torch.nan])), "nan"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
