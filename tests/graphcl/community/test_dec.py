"""DEC's memberships, target and divergence; unit test T9 of PamC's specification."""

import math

import pytest
import torch

from graphcl.community import clustering_divergence, sharpened_target, student_assignment


def memberships(rows: int = 11, count: int = 4) -> torch.Tensor:
    return torch.randn(rows, count, dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("freedom", [1.0, 2.5])
def test_memberships_equal_their_definition(freedom: float) -> None:
    z, centres = torch.randn(7, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    distance = (z[:, None] - centres).square().sum(2)
    kernel = (1 + distance / freedom) ** (-(freedom + 1) / 2)
    wanted = kernel / kernel.sum(1, keepdim=True)
    torch.testing.assert_close(student_assignment(z, centres, freedom=freedom), wanted)
    inputs = z.requires_grad_(True), centres.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda a, b: student_assignment(a, b, freedom=freedom), inputs)


def test_a_node_on_a_centre_and_one_far_away() -> None:
    z = torch.tensor([[1e3, 1e3], [1e3 + 1, 1e3], [1e18, 0.0]], requires_grad=True)
    centres = torch.tensor([[1e3, 1e3], [1e3, 1e3 + 1]])
    q = student_assignment(z, centres)
    torch.testing.assert_close(q[:2], torch.tensor([[2 / 3, 1 / 3], [0.6, 0.4]]))
    assert q.isfinite().all()
    assert torch.autograd.grad(q[:, 0].sum(), z)[0].isfinite().all()


def test_t9_the_target_is_a_distribution_and_sharper() -> None:
    q = memberships().requires_grad_(True)
    p = sharpened_target(q)
    weight = q.detach() ** 2 / q.detach().sum(0)
    torch.testing.assert_close(p, weight / weight.sum(1, keepdim=True))
    torch.testing.assert_close(p.sum(1), torch.ones(11, dtype=torch.float64))
    assert not p.requires_grad
    even = torch.full((4, 4), 0.1, dtype=torch.float64).fill_diagonal_(0.7)
    assert float(sharpened_target(even).diagonal().min()) > 0.9


def test_t9_divergence_is_zero_for_equal_rows_alone() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        p, q = memberships(), memberships()
        assert float(clustering_divergence(p, q)) > 1e-3
        assert float(clustering_divergence(q, q)) == pytest.approx(0, abs=1e-12)
    p[0] = torch.tensor([1.0, 0, 0, 0])
    wanted = sum(
        float(a) * math.log(float(a) / float(b))
        for a, b in zip(p.flatten(), q.flatten(), strict=True)
        if a > 0
    ) / len(p)
    assert float(clustering_divergence(p, q)) == pytest.approx(wanted)
    q.requires_grad_(True)
    assert torch.autograd.grad(clustering_divergence(p, q), q)[0].isfinite().all()


def test_an_empty_cluster_stays_empty() -> None:
    q = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert torch.equal(sharpened_target(q), q)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    z, centres = torch.randn(7, 3).to(dtype), torch.randn(2, 3).to(dtype)
    wanted = student_assignment(z.float(), centres.float())
    assert torch.equal(student_assignment(z, centres), wanted)


def test_errors() -> None:
    z = torch.eye(3)
    for call, words in (
        (lambda: student_assignment(z, z[:, 1:]), "centres"),
        (lambda: student_assignment(z, z, freedom=0.0), "freedom"),
        (lambda: clustering_divergence(z, z[1:]), "must both be"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_membership_that_is_rounded_to_zero_has_no_gradient() -> None:
    z = torch.tensor([[0.0, 0.0], [32.0, 0.0]], requires_grad=True)
    centres = torch.tensor([[0.0, 0.0], [32.0, 0.0]], requires_grad=True)
    q = student_assignment(z, centres, freedom=1000.0)
    assert float(q[0, 1].detach()) == 0
    loss = clustering_divergence(sharpened_target(q), q)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.equal(z.grad, torch.zeros(2, 2))
    assert torch.equal(centres.grad, torch.zeros(2, 2))
