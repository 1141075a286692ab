"""Lines of the activation: below and above, tight at the ends, for every slope."""

import pytest
import torch

from graphcl.pot import Interval, activation_lines

ENDS = [(-2.0, 3.0), (-1.0, 0.0), (0.0, 2.0), (0.0, 0.0), (1.0, 4.0), (-3.0, -1.0), (-1.0, 1e-9)]


@pytest.mark.parametrize("slope", [-3.0, -1.0, 0.0, 0.25, 1.0, 1.5, 4.0])
@pytest.mark.parametrize(("low", "high"), ENDS)
def test_lines_enclose_the_activation(low: float, high: float, slope: float) -> None:
    """Also where ``high - slope low`` vanishes, which the release divides by."""
    ends = Interval(torch.tensor(low).double(), torch.tensor(high).double())
    lines = activation_lines(ends, torch.tensor(slope).double())
    t = torch.linspace(low, high, 201, dtype=torch.double)
    value = torch.where(t < 0, slope * t, t)
    below, above = lines.slope * t + lines.lower, lines.slope * t + lines.upper
    assert bool((below <= value + 1e-12).all())
    assert bool((value <= above + 1e-12).all())
    chord = above if slope <= 1 else below
    torch.testing.assert_close(chord[[0, -1]], value[[0, -1]])
    if not low < 0 < high:
        torch.testing.assert_close(below, value)
        torch.testing.assert_close(above, value)


def test_t5_lines_of_the_identity_have_no_intercept() -> None:
    interval = Interval(torch.randn(9) - 1, torch.randn(9).abs() + 1)
    lines = activation_lines(interval, torch.tensor(1.0))
    assert torch.equal(lines.slope, torch.ones(9))
    assert not lines.lower.any()
    assert not lines.upper.any()


def test_dead_units_of_a_relu_have_slope_zero_to_the_last_digit() -> None:
    """A rest of 1e-30 makes subnormal gradients further down, and those cost ten times the time."""
    interval = Interval(torch.tensor([-3.0, -1e-6, -1.0]), torch.tensor([-1.0, -1e-7, 0.0]))
    lines = activation_lines(interval, torch.tensor(0.0))
    assert not any(part.any() for part in lines)


def test_t8_gradients_at_the_corners_are_finite() -> None:
    """l = 0, u = 0, l = u and all of them at once."""
    low = torch.tensor([0.0, -1.0, 0.0, 2.0, -2.0, -1.0], requires_grad=True)
    high = torch.tensor([1.0, 0.0, 0.0, 2.0, -2.0, 1.0], requires_grad=True)
    for value in (0.0, 0.25, 1.0, -1.0):
        slope = torch.tensor(value, requires_grad=True)
        lines = activation_lines(Interval(low, high), slope)
        total = sum(part.sum() for part in lines)
        for gradient in torch.autograd.grad(total, (low, high, slope), allow_unused=True):
            assert gradient is not None
            assert bool(gradient.isfinite().all())
