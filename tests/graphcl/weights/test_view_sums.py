"""Sums over the negatives of two views against dense matrices."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import Exclude, KeyWeight, SimilarityWeight
from graphcl.weights import ViewSums
from graphcl.weights.view_sums import log_add

TAU = 0.3
Views = tuple[Tensor, Tensor]


def hidden(n: int) -> tuple[Exclude, Tensor]:
    """An exclusion that is not symmetric, and its mask."""
    exclude = Exclude.csr(torch.tensor([0, 2, *[3] * (n - 1)]), torch.tensor([1, 4, 7]))
    return exclude, exclude.dense(n, n)


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("name", ["none", "key", "similarity"])
def test_sums_equal_dense_ones(views: Views, name: str, excluded: bool) -> None:
    z1, z2 = (F.normalize(z.detach()) for z in views)
    n = len(z1)
    exclude, mask = hidden(n) if excluded else (None, torch.zeros(n, n, dtype=torch.bool))
    key = torch.linspace(-1, 1, n, dtype=torch.float64)
    weight: Any = {
        "none": None,
        "key": KeyWeight(key),
        "similarity": SimilarityWeight(lambda s: 2 * s),
    }[name]

    def dense(a: Tensor, b: Tensor, tau: float = TAU) -> Tensor:
        s = a @ b.T
        log_weight = {"none": torch.zeros_like(s), "key": key, "similarity": 2 * s}[name]
        gone = mask | torch.eye(n, dtype=torch.bool)
        return (s / tau + log_weight).masked_fill(gone, -torch.inf).logsumexp(1)

    sums = ViewSums(z1, z2, TAU, exclude=exclude)
    for got, a, b in zip(sums.inter(weight), (z1, z2), (z2, z1), strict=True):
        torch.testing.assert_close(got, dense(a, b))
    for got, a in zip(sums.intra(weight), (z1, z2), strict=True):
        torch.testing.assert_close(got, dense(a, a))
    for got, a, b in zip(sums.negatives(weight), (z1, z2), (z2, z1), strict=True):
        torch.testing.assert_close(got, torch.logaddexp(dense(a, b), dense(a, a)))
    for got, a, b in zip(sums.weights_alone.inter(weight), (z1, z2), (z2, z1), strict=True):
        torch.testing.assert_close(got, dense(a, b, math.inf))
    count = (~(mask | torch.eye(n, dtype=torch.bool))).sum(1).double()
    torch.testing.assert_close(sums.log_count(), count.log())


def test_one_direction_and_the_positive(views: Views) -> None:
    z1, z2 = (F.normalize(z.detach()) for z in views)
    one = ViewSums(z1, z2, TAU, symmetric=False)
    for part in (one.inter(), one.intra(), one.negatives()):
        assert part[0] is part[1]
    whole = one.inter(with_positive=True)[0]
    torch.testing.assert_close(whole, (z1 @ z2.T / TAU).logsumexp(1))
    torch.testing.assert_close(one.positive, (z1 * z2).sum(1))


def test_adding_nothing_to_nothing_has_no_gradient() -> None:
    a = torch.tensor([-torch.inf, 0.0, -torch.inf], requires_grad=True)
    b = torch.tensor([-torch.inf, -torch.inf, 1.0], requires_grad=True)
    total = log_add((a, a), (b, b))[0]
    torch.testing.assert_close(total.detach(), torch.tensor([-torch.inf, 0.0, 1.0]))
    for grad in torch.autograd.grad(total[1:].sum() + 0 * total[1], (a, b)):
        assert grad.isfinite().all()
