"""Functions of a similarity as Triton source: what is taken, and that the rest is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.kernels import triton_expressions
from graphcl.kernels.triton_expressions import Untranslatable, translate


def test_numbers_are_no_part_of_the_source() -> None:
    """So that a schedule does not compile the kernels anew at every step."""
    first, second = (translate(lambda s, beta=beta: beta * s + 1, 1) for beta in (0.5, 2.0))
    assert first.source == second.source
    assert (first.numbers, second.numbers) == ((0.5, 1.0), (2.0, 1.0))


@pytest.mark.parametrize(
    ("function", "arity"),
    [
        (lambda s: s.masked_fill(s > 0.5, -torch.inf), 1),
        (lambda s: torch.where((s >= 0.2) & ~(s > 0.8), s, -torch.inf), 1),
        (lambda s: (s + 1).clamp(min=0.01).log(), 1),
        (lambda s: torch.relu(s - 0.2).pow(3) / (2 - s.tanh()), 1),
        (lambda s: s.detach() * s, 1),
        (lambda s: 1.0 - s.exp().sqrt().reciprocal(), 1),
        (lambda s: (0.5 * s).sin() - s.cos().abs() + torch.rsub(s, 1.0), 1),
        (lambda s, v: torch.maximum(s, v) - torch.minimum(s, 2 * v), 2),
        (lambda s, v: torch.clamp(s, max=0.7) * (s > v).float(), 2),
        (lambda s: torch.tensor(3.0) * s, 1),
    ],
)
def test_values_and_slopes_are_those_of_the_function(
    function: Callable[..., Tensor], arity: int
) -> None:
    # `translate` compares them itself; this makes sure that the comparison does compare.
    found = translate(function, arity)
    broken = found.source.replace("return tl.zeros_like(s) + ", "return 1e-6 + ")
    assert broken != found.source
    wrong = triton_expressions.Expression(broken, found.numbers)
    with pytest.raises(Untranslatable, match="its value would not be kept"):
        triton_expressions._compare(wrong, function, arity)
    parts = found.source.rsplit(", tl.zeros_like(s) + ", 2)
    wrong = triton_expressions.Expression(
        f"{parts[0]}, tl.zeros_like(s) + 1e-6 + {parts[1]}, tl.zeros_like(s) + {parts[2]}",
        found.numbers,
    )
    with pytest.raises(Untranslatable, match="its slope would not be kept"):
        triton_expressions._compare(wrong, function, arity)


class _Learned(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, s: Tensor) -> Tensor:
        return self.layer(s[..., None])[..., 0]


def aliased(s: Tensor) -> Tensor:
    before = s
    s += 1.0
    return before * s


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda s: s.softmax(-1), "softmax is not in the table"),
        (lambda s: s - s.mean(), "mean is not in the table"),
        (lambda s: s.mul_(2.0) + s, "mul_ changes a tensor in place"),
        (lambda s: s if s.sum() > 0 else -s, "cannot be traced"),
        (lambda s: s * torch.ones(3), r"shape \(3,\)"),
        (lambda s: s * torch.ones(1, requires_grad=True), "requires a gradient"),
        (lambda s: s + torch.rand_like(s), "rand_like is not in the table"),
        (lambda s: 2.0**s, "pow with exponent"),
        (lambda s: torch.add(s, s, alpha=2), "add with alpha"),
        (lambda s: s * s.shape[0], "it uses 'shape'"),
        (_Learned(), "cannot be traced"),
        (aliased, "would not be kept"),
    ],
)
def test_everything_else_is_refused_by_name(function: Callable[..., Any], why: str) -> None:
    with pytest.raises(Untranslatable, match=why):
        translate(function, 1)
