"""Segment reductions by Triton against plain torch in float64, forward and gradient."""

import pytest
import torch

from graphcl.kernels import segment_logsumexp, segment_softmax

REDUCE = {"logsumexp": segment_logsumexp, "softmax": segment_softmax}


@pytest.mark.parametrize("name", REDUCE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(), (3,), (2, 35), (0,)])
@pytest.mark.parametrize("ordered", [True, False])
def test_equals_torch(ordered, shape, dtype, name, device):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(6, (40,), generator=generator)
    index[index == 3] = 2  # an empty segment between others, and two at the end
    if ordered:
        index = index.sort().values
    values = torch.randn(40, *shape, generator=generator).mul_(3)
    values[index == 1] = -torch.inf
    values[5] = -torch.inf
    values = values.to(device, dtype)
    found = []
    for impl, wide in (("triton", dtype), ("torch", torch.float64)):
        leaf = values.to(wide).requires_grad_()
        out = REDUCE[name](leaf, index.to(device), num_segments=8, impl=impl)
        upstream = torch.linspace(0.5, 1.5, out.numel(), dtype=wide, device=device).view_as(out)
        # Empty segments are -inf, through which nothing flows.
        found.append([out.detach(), *torch.autograd.grad(out, leaf, upstream)])
    rounding = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    for mine, wanted in zip(*found, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), wanted, rtol=rounding, atol=rounding)


def test_segments_longer_than_a_block(device):
    values = torch.randn(5000, device=device)
    ptr = torch.tensor([0, 4500, 4500, 5000], device=device)
    for reduce in REDUCE.values():
        mine = reduce(values, ptr=ptr, impl="triton").double()
        torch.testing.assert_close(
            mine, reduce(values.double(), ptr=ptr, impl="torch"), rtol=1e-5, atol=1e-7
        )


def test_no_rows(device):
    none = torch.zeros(0, 2, device=device)
    index = torch.zeros(0, dtype=torch.int64, device=device)
    total = segment_logsumexp(none, index, num_segments=2, impl="triton")
    assert total.tolist() == [[-torch.inf] * 2] * 2
    assert segment_softmax(none, index, num_segments=2, impl="triton").shape == (0, 2)


@pytest.mark.parametrize("reduce", REDUCE.values(), ids=REDUCE)
def test_the_second_derivative_is_an_error(reduce, device):
    values = torch.randn(4, device=device, requires_grad=True)
    index = torch.tensor([0, 1, 0, 1], device=device)
    out = reduce(values, index, impl="triton").square().sum()
    (grad,) = torch.autograd.grad(out, values, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        grad.sum().backward()
