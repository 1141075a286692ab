"""Segment reductions: nested-loop definitions, gradients, empty segments, errors."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphcl.kernels import (
    segment_logsumexp,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)

ALL: dict[str, Callable[..., Tensor]] = {
    "sum": segment_sum,
    "mean": segment_mean,
    "max": segment_max,
    "logsumexp": segment_logsumexp,
    "softmax": segment_softmax,
}
REDUCE: dict[str, tuple[Callable[[list[float]], float], float]] = {
    "sum": (math.fsum, 0.0),
    "mean": (lambda found: math.fsum(found) / len(found), 0.0),
    "max": (max, -math.inf),
    "logsumexp": (lambda found: math.log(math.fsum(map(math.exp, found))), -math.inf),
}
SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 4), (0,)]


def loops(name: str, values: Tensor, index: Tensor, count: int) -> Tensor:
    """The definition, one Python number at a time."""
    flat = values.reshape(values.shape[0], math.prod(values.shape[1:]))
    columns = []
    for column in flat.T.tolist():
        members: list[list[float]] = [[] for _ in range(count)]
        for segment, value in zip(index.tolist(), column, strict=True):
            members[segment].append(value)
        if name == "softmax":
            totals = [math.fsum(map(math.exp, found)) for found in members]
            columns.append(
                [math.exp(v) / totals[s] for s, v in zip(index.tolist(), column, strict=True)]
            )
        else:
            reduce, empty = REDUCE[name]
            columns.append([reduce(found) if found else empty for found in members])
    rows = values.shape[0] if name == "softmax" else count
    return (
        torch.tensor(columns, dtype=torch.float64)
        .reshape(-1, rows)
        .T.reshape(rows, *values.shape[1:])
    )


def problem(rows: int, count: int, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Values, and ids that leave some segments empty."""
    index = torch.randint(max(count, 1), (rows,))
    index[index == 1] = 0
    return torch.randn(rows, *shape, dtype=torch.float64), index


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (63, 7), (127, 200)])
@pytest.mark.parametrize("name", ALL)
def test_equals_loops(name: str, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    values, index = problem(*size, shape)
    got = ALL[name](values, index, num_segments=size[1])
    wanted = loops(name, values, index, size[1])
    assert got.shape == wanted.shape
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        ALL[name](values, index), wanted if name == "softmax" else wanted[: int(index.max()) + 1]
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ALL)
def test_ptr_equals_index(name: str, shape: tuple[int, ...]) -> None:
    sizes = torch.tensor([0, 3, 0, 0, 5, 1, 2, 0])
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    index = torch.arange(8).repeat_interleave(sizes)
    values = torch.randn(11, *shape, dtype=torch.float64)
    got = ALL[name](values, ptr=ptr)
    assert torch.equal(got, ALL[name](values, index, num_segments=8))
    assert torch.equal(got, ALL[name](values, ptr=ptr, num_segments=8))
    torch.testing.assert_close(got, loops(name, values, index, 8))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8])
def test_ids_of_other_integer_types(name: str, kind: torch.dtype) -> None:
    values, index = problem(12, 4)
    wanted = ALL[name](values, index, num_segments=4)
    torch.testing.assert_close(ALL[name](values, index.to(kind), num_segments=4), wanted)
    ptr = torch.tensor([0, 2, 2, 12])
    torch.testing.assert_close(ALL[name](values, ptr=ptr.to(kind)), ALL[name](values, ptr=ptr))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_rows(name: str, shape: tuple[int, ...]) -> None:
    values = torch.zeros(0, *shape, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.long)
    fill = {"max": -torch.inf, "logsumexp": -torch.inf}.get(name, 0.0)
    for out in (
        ALL[name](values, nothing, num_segments=3),
        ALL[name](values, ptr=torch.zeros(4, dtype=torch.long)),
    ):
        rows = 0 if name == "softmax" else 3
        assert torch.equal(out, torch.full((rows, *shape), fill))
        out.sum().backward()
    assert ALL[name](values, nothing).shape == (0, *shape)
    assert ALL[name](values, ptr=torch.zeros(1, dtype=torch.long)).shape == (0, *shape)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(), (2,)])
def test_gradcheck(name: str, shape: tuple[int, ...]) -> None:
    index = torch.tensor([4, 0, 2, 0, 4, 4, 2])  # segments 1, 3 and 5 are empty
    rows = 7 * math.prod(shape)
    values = (torch.randperm(rows).double() / 4).reshape(7, *shape).requires_grad_()

    def function(values: Tensor) -> Tensor:
        out = ALL[name](values, index, num_segments=6)
        return out[[0, 2, 4]] if name in ("max", "logsumexp") else out

    assert torch.autograd.gradcheck(function, values)
    if name != "max":
        assert torch.autograd.gradgradcheck(function, values)


@pytest.mark.parametrize("name", ALL)
def test_gradient_beside_empty_segments(name: str) -> None:
    """Whatever flows into an empty segment goes nowhere."""
    values, index = problem(20, 6, (2,))
    values.requires_grad_()
    out = ALL[name](values, index, num_segments=6)
    out.backward(torch.randn_like(out))
    assert values.grad is not None
    assert bool(values.grad.isfinite().all())
    assert bool(values.grad.any())


def test_gradient_of_the_maximum() -> None:
    values = torch.tensor([3.0, 1.0, 3.0, 2.0, -1.0], requires_grad=True)
    segment_max(values, torch.tensor([0, 0, 0, 2, 2])).backward(torch.tensor([6.0, 5.0, -4.0]))
    assert values.grad is not None
    assert values.grad.tolist() == [3.0, 0.0, 3.0, -4.0, 0.0]  # equal rows share


@pytest.mark.parametrize("name", ["sum", "mean", "logsumexp", "softmax", "max"])
def test_non_contiguous(name: str) -> None:
    base = torch.randn(6, 26, dtype=torch.float64)
    values, index = base.T[::2, ::3], torch.randint(5, (26,))[::2]
    assert not values.is_contiguous()
    torch.testing.assert_close(
        ALL[name](values, index, num_segments=5),
        ALL[name](values.contiguous(), index.contiguous(), num_segments=5),
    )


# --- infinities, large values, precisions ---------------------------------------------------------


def test_minus_infinity_adds_nothing() -> None:
    values = torch.tensor([-torch.inf, 1.0, -torch.inf, -torch.inf, 2.0], requires_grad=True)
    index = torch.tensor([0, 0, 1, 1, 3])
    total = segment_logsumexp(values, index)
    assert total.tolist() == [1.0, -math.inf, -math.inf, 2.0]
    (grad,) = torch.autograd.grad(total, values, torch.tensor([2.0, 7.0, 7.0, 3.0]))
    assert grad.tolist() == [0.0, 2.0, 0.0, 0.0, 3.0]
    share = segment_softmax(values, index)
    assert share.tolist() == [0.0, 1.0, 0.0, 0.0, 1.0]
    (grad,) = torch.autograd.grad(share, values, torch.randn(5))
    torch.testing.assert_close(grad, torch.zeros(5))
    assert segment_max(values, index).tolist() == [1.0, -math.inf, -math.inf, 2.0]


def test_infinity_and_nan_stay_in_their_segment() -> None:
    values = torch.tensor([torch.inf, 1.0, torch.nan, 0.0, 2.0])
    index = torch.tensor([0, 0, 1, 1, 2])
    for reduce in (segment_sum, segment_max, segment_logsumexp):
        out = reduce(values, index)
        assert out[0] == torch.inf
        assert bool(out[1].isnan())
        torch.testing.assert_close(out[2], torch.tensor(2.0))


@pytest.mark.parametrize("shift", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_values(shift: float, dtype: torch.dtype) -> None:
    values, index = (torch.arange(60) % 7 / 4).to(dtype), torch.arange(60) % 5
    values.requires_grad_()
    wanted = segment_logsumexp(values, index)
    got = segment_logsumexp(values + shift, index)
    torch.testing.assert_close(got, wanted + shift, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(
        segment_softmax(values + shift, index), segment_softmax(values, index), rtol=1e-5, atol=0.0
    )
    upstream = torch.randn(5, dtype=dtype)
    mine, theirs = (torch.autograd.grad(out, values, upstream)[0] for out in (got, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_each_segment_has_its_own_scale() -> None:
    values = torch.tensor([1e4, 1e4, -1e4, -1e4, 0.0])
    index = torch.tensor([0, 0, 1, 1, 2])
    wanted = torch.tensor([1e4, -1e4, 0.0]) + torch.tensor([2.0, 2.0, 1.0]).log()
    torch.testing.assert_close(segment_logsumexp(values, index), wanted)
    assert segment_softmax(values, index).tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ALL)
def test_low_precision_loses_no_more_than_plain_torch(name: str, dtype: torch.dtype) -> None:
    """A long segment must not stall: torch's own reductions add up in float32."""
    values = (torch.rand(2000) + 0.5).to(dtype).requires_grad_()
    index = torch.arange(2000) % 2  # the last 1000 rows would be lost from sums in bfloat16
    exact = values.detach().double()
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "sum": lambda v: v.sum(1),
        "mean": lambda v: v.mean(1),
        "max": lambda v: v.amax(1),
        "logsumexp": lambda v: v.logsumexp(1),
        "softmax": lambda v: v.softmax(1),
    }
    truth = plain[name](exact.view(-1, 2).T)
    theirs = plain[name](values.detach().view(-1, 2).T)
    got = ALL[name](values, index)
    assert got.dtype == dtype
    mine = got.view(-1, 2).T if name == "softmax" else got
    lost = float((theirs.double() - truth).abs().max())
    rounding = float(torch.finfo(dtype).eps) * float(truth.abs().max())
    assert float((mine.double() - truth).abs().max()) <= lost + rounding
    (grad,) = torch.autograd.grad(got.sum(), values)
    assert grad.dtype == dtype
    assert bool(grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mean_of_more_rows_than_half_can_count(dtype: torch.dtype) -> None:
    rows = 70000  # float16 ends at 65504
    index = torch.zeros(rows, dtype=torch.long)
    assert segment_mean(torch.ones(rows, dtype=dtype), index).tolist() == [1.0]


@pytest.mark.parametrize("name", ["sum", "max"])
def test_integer_values(name: str) -> None:
    """Sums of integers are integers; a maximum that may be -inf needs floating point."""
    values, index = torch.tensor([3, 5, 7]), torch.tensor([2, 0, 2])
    if name == "sum":
        assert segment_sum(values, index).tolist() == [5, 0, 10]
    else:
        with pytest.raises(ValueError, match="int64"):
            segment_max(values, index)


# --- other libraries ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "max", "softmax"])
def test_equals_torch_geometric(name: str) -> None:
    geometric = pytest.importorskip("torch_geometric.utils")
    index = torch.cat([torch.arange(9), torch.randint(9, (50,))])  # no empty segment
    values = torch.randn(59, 3, dtype=torch.float64, requires_grad=True)
    got = ALL[name](values, index)
    if name == "softmax":
        wanted = geometric.softmax(values, index)
    else:
        wanted = geometric.scatter(values, index, dim=0, reduce=name)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    upstream = torch.randn_like(got)
    mine, theirs = (torch.autograd.grad(out, values, upstream)[0] for out in (got, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_torch_scatter_agrees(name: str, shape: tuple[int, ...]) -> None:
    pytest.importorskip("torch_scatter")
    values, index = problem(40, 9, shape)
    values.requires_grad_()
    outputs = [ALL[name](values, index, num_segments=9, impl=i) for i in ("torch", "torch_scatter")]
    torch.testing.assert_close(*outputs)
    upstream = torch.randn_like(outputs[0])
    torch.testing.assert_close(*(torch.autograd.grad(o, values, upstream)[0] for o in outputs))
    ptr = torch.tensor([0, 5, 5, 40])
    torch.testing.assert_close(
        ALL[name](values, ptr=ptr), ALL[name](values, ptr=ptr, impl="torch_scatter")
    )


@pytest.mark.parametrize("name", ALL)
def test_torch_scatter_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_scatter", None)
    with pytest.raises(ImportError, match=r"scatter\]"):
        ALL[name](torch.zeros(2), torch.tensor([0, 1]), impl="torch_scatter")


# --- properties -----------------------------------------------------------------------------------

cheap = settings(max_examples=25, deadline=None, derandomize=True)


@given(st.integers(0, 40), st.integers(1, 9), st.sampled_from(list(ALL)))
@cheap
def test_order_of_rows_does_not_matter(rows: int, count: int, name: str) -> None:
    values, index = problem(rows, count)
    order = torch.randperm(rows)
    got = ALL[name](values[order], index[order], num_segments=count)
    wanted = ALL[name](values, index, num_segments=count)
    torch.testing.assert_close(got, wanted[order] if name == "softmax" else wanted)


@given(st.integers(1, 40), st.integers(1, 9))
@cheap
def test_softmax_sums_to_one(rows: int, count: int) -> None:
    values, index = problem(rows, count)
    share = segment_softmax(values * 100, index)
    total = segment_sum(share, index, num_segments=count)
    sizes = torch.bincount(index, minlength=count)
    torch.testing.assert_close(total, (sizes > 0).double())


@given(st.integers(1, 40), st.integers(1, 9))
@cheap
def test_logsumexp_lies_above_the_maximum(rows: int, count: int) -> None:
    values, index = problem(rows, count)
    top, total = (f(values, index, num_segments=count) for f in (segment_max, segment_logsumexp))
    sizes = torch.bincount(index, minlength=count)
    assert bool((total >= top).all())
    assert bool((total <= top + sizes.clamp(min=1).log() + 1e-12).all())


@given(st.integers(1, 40), st.integers(1, 9), st.floats(-50, 50))
@cheap
def test_shift(rows: int, count: int, shift: float) -> None:
    values, index = problem(rows, count)
    for reduce in (segment_max, segment_logsumexp):
        torch.testing.assert_close(
            reduce(values + shift, index, num_segments=count),
            reduce(values, index, num_segments=count) + shift,
            rtol=1e-10,
            atol=1e-10,
        )


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "index.*ptr"),
        ({"index": torch.tensor([0, 1, 1]), "ptr": torch.tensor([0, 3])}, "not both"),
        ({"index": torch.tensor([0, 1])}, r"\(3,\).*\(2,\)"),
        ({"index": torch.tensor([[0], [1], [1]])}, r"\(3, 1\)"),
        ({"index": torch.tensor([0, 5, 1]), "num_segments": 4}, "segment 5.*0 to 3"),
        ({"index": torch.tensor([0, -2, 1])}, "segment -2"),
        ({"index": torch.tensor([0.0, 1.0, 1.0])}, "float32"),
        ({"index": torch.tensor([True, False, True])}, "bool"),
        ({"ptr": torch.tensor([0.0, 3.0])}, "float32"),
        ({"ptr": torch.tensor([0, 2])}, "2"),
        ({"ptr": torch.tensor([0, 4])}, "4"),
        ({"ptr": torch.tensor([1, 3])}, "starts at 1"),
        ({"ptr": torch.tensor([0, 2, 1, 3])}, "decreases"),
        ({"ptr": torch.tensor([], dtype=torch.long)}, r"\(0,\)"),
        ({"ptr": torch.tensor([[0, 3]])}, r"\(1, 2\)"),
        ({"ptr": torch.tensor([0, 2, 3]), "num_segments": 5}, "2 segments.*5"),
        ({"index": torch.tensor([0, 1, 1]), "impl": "scatter"}, "'scatter'.*torch"),
    ],
)
def test_errors_name_the_value(options: dict[str, Any], names: str) -> None:
    for reduce in ALL.values():
        with pytest.raises(ValueError, match=names):
            reduce(torch.zeros(3), **options)


def test_integers_have_no_largest_value() -> None:
    for reduce in (segment_max, segment_logsumexp):
        with pytest.raises(ValueError, match=r"floating-point type, got torch\.int64"):
            reduce(torch.arange(3), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_names_of_the_other_kernels_stand_for_torch(impl: Any) -> None:
    values, index = torch.randn(7, 2), torch.tensor([0, 0, 1, 2, 2, 2, 1])
    for reduce in (segment_sum, segment_logsumexp, segment_softmax):
        assert torch.equal(reduce(values, index, impl=impl), reduce(values, index, impl="torch"))
