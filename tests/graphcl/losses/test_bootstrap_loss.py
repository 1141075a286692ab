import math

import pytest
import torch
from torch import Tensor

from graphcl.losses import BootstrapLoss


def four(n: int = 9, d: int = 4) -> list[Tensor]:
    return list(torch.randn(4, n, d, dtype=torch.float64))


def by_loops(p1: Tensor, p2: Tensor, t1: Tensor, t2: Tensor) -> float:
    def cosine(u: list[float], v: list[float]) -> float:
        dot = sum(a * b for a, b in zip(u, v, strict=True))
        return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))

    total = 0.0
    for i in range(len(p1)):
        total += 2 - cosine(p1[i].tolist(), t2[i].tolist()) - cosine(p2[i].tolist(), t1[i].tolist())
    return total / len(p1)


@pytest.mark.parametrize("n", [1, 2, 63])
def test_equals_nested_loops(n: int) -> None:
    rows = four(n)
    assert float(BootstrapLoss()(*rows)) == pytest.approx(by_loops(*rows))


def test_zero_for_identical_and_four_for_opposite() -> None:
    z = torch.randn(9, 4, dtype=torch.float64)
    assert float(BootstrapLoss()(z, z, z, z)) == pytest.approx(0, abs=1e-12)
    assert float(BootstrapLoss()(z, z, -z, -z)) == pytest.approx(4)


def test_each_prediction_meets_the_other_view() -> None:
    a, b = torch.eye(2, dtype=torch.float64)[None, 0], torch.eye(2, dtype=torch.float64)[None, 1]
    assert float(BootstrapLoss()(a, b, b, a)) == pytest.approx(0)
    assert float(BootstrapLoss()(a, b, a, b)) == pytest.approx(2)


def test_within_zero_and_four_and_indifferent_to_positive_scale() -> None:
    loss = BootstrapLoss()
    for _ in range(50):
        rows = four()
        value = float(loss(*rows))
        assert 0 <= value <= 4
        scaled = [(10.0**k) * row for k, row in zip((-3, 0, 2, 5), rows, strict=True)]
        assert float(loss(*scaled)) == pytest.approx(value)


def test_targets_get_no_gradient() -> None:
    rows = [row.requires_grad_() for row in four()]
    BootstrapLoss()(*rows).backward()
    assert all(row.grad is not None and row.grad.any() for row in rows[:2])
    assert all(row.grad is None for row in rows[2:])


def test_gradcheck_and_direction() -> None:
    p1, p2, t1, t2 = four(4, 3)
    p1.requires_grad_()
    p2.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: BootstrapLoss()(a, b, t1, t2), (p1, p2))
    optimizer = torch.optim.SGD([p1, p2], lr=1.0)
    values = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = BootstrapLoss()(p1, p2, t1, t2)
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values == sorted(values, reverse=True)


def test_rows_of_zeros_are_finite() -> None:
    rows = [row.requires_grad_() for row in four()]
    with torch.no_grad():
        rows[0][2] = rows[3][5] = 0
    loss = BootstrapLoss()(*rows)
    loss.backward()
    assert loss.isfinite()
    assert rows[0].grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_precision(dtype: torch.dtype) -> None:
    rows = [row.to(dtype) for row in four()]
    rows[0][2] = 0  # the smallest norm of half precision is zero
    rows[1][0] *= 3e-4
    loss = BootstrapLoss()(*rows)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, BootstrapLoss()(*(row.float() for row in rows)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert BootstrapLoss()(*rows) == loss


def test_shapes_that_differ() -> None:
    z = torch.rand(3, 2)
    with pytest.raises(ValueError, match=r"share one shape, got \[\(3, 2\), \(4, 2\)\]"):
        BootstrapLoss()(z, z, z, torch.rand(4, 2))


def test_a_row_of_zeros_gets_no_gradient() -> None:
    rows = [row.requires_grad_() for row in four(3, 2)]
    with torch.no_grad():
        rows[0][1] = 0
    BootstrapLoss()(*rows).backward()
    assert rows[0].grad is not None
    assert rows[0].grad[1].tolist() == [0, 0]
    assert rows[0].grad[0].any()


@pytest.mark.parametrize("shape", [(0, 2), (4,)])
def test_no_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be rows"):
        BootstrapLoss()(*torch.randn(4, *shape).unbind())
