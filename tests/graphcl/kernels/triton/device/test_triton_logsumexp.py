"""The Triton log-sum-exp against the dense definition in float64, forward and every gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
    explain_impl,
    negative_logsumexp,
    two_sided_logsumexp,
)
from graphcl.kernels import triton_logsumexp as launching
from graphcl.kernels.triton_support import interpreting
from graphcl.losses.infonce import InfoNCE

# Interpreted tiles are 16 x 16: one row of two ragged tiles, or transposed two owners of one.
Q, K, D = 11, 19, 5
FORMS = ("none", "key", "group", "low_rank", "similarity")
EXCLUSIONS = ("none", "diagonal", "csr", "group")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Gradients of the rows are rounded to the dtype of the rows once; everything else is float32.
ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@dataclass
class Problem:
    """Rows, a weight and an exclusion that can be built again in float64."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    size: tuple[int, int, int] = (Q, K, D)
    form: str = "none"
    exclusion: str = "none"
    tau: float = 0.7

    def rows(self) -> list[Tensor]:
        q, k, d = self.size
        generator = torch.Generator().manual_seed(3)
        return [torch.randn(n, d, generator=generator).to(self.dtype) for n in (q, k)]

    def weight(self, dtype: torch.dtype) -> tuple[TileWeight | None, list[Tensor]]:
        q, k, _ = self.size
        generator = torch.Generator().manual_seed(4)

        def leaf(value: Tensor) -> Tensor:
            return value.to(self.device, dtype).requires_grad_()

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def labels(high: int, count: int) -> Tensor:
            return torch.randint(high, (count,), generator=generator).to(self.device)

        if self.form == "none":
            return None, []
        if self.form == "key":
            value = random(k)
            value[1::5] = -torch.inf
            learned = [leaf(value)]
            return KeyWeight(*learned), learned
        if self.form == "group":
            table = random(3, 4)
            table[1, 2] = -torch.inf
            learned = [leaf(table)]
            return GroupWeight(*learned, labels(3, q), labels(4, k)), learned
        if self.form == "low_rank":
            left, right = random(q, 3).abs(), random(k, 3).abs()
            left[::3, 0], right[::4, 1:] = 0.0, 0.0
            learned = [leaf(left), leaf(right)]
            return LowRankWeight(*learned), learned
        learned = [leaf(random(q))]
        return SimilarityWeight(distance_to_value, learned[0], detach=False), learned

    def exclude(self) -> Exclude | None:
        q, k, _ = self.size
        generator = torch.Generator().manual_seed(5)

        def ids(low: int, high: int, count: int) -> Tensor:
            return torch.randint(low, high, (count,), generator=generator).to(self.device)

        if self.exclusion == "none":
            return None
        if self.exclusion == "diagonal":
            return Exclude.diagonal(-2)
        if self.exclusion == "group":
            return Exclude.same_group(ids(-1, 4, q), ids(-1, 4, k))
        counts = ids(0, 6, q)
        counts[3] = 0
        ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Exclude.csr(ptr, ids(0, k, int(ptr[-1])))

    def outcome(self, impl: str, sides: str) -> list[Tensor]:
        """Totals, then gradients of the learned tensors and of tau, then of the rows."""
        dtype = torch.float64 if impl == "reference" else self.dtype
        queries, keys = (r.to(self.device, dtype).requires_grad_() for r in self.rows())
        weight, learned = self.weight(torch.promote_types(dtype, torch.float32))
        tau = torch.tensor(self.tau, dtype=torch.float64, requires_grad=True)
        options = {"tau": tau, "log_weight": weight, "exclude": self.exclude(), "impl": impl}
        if sides == "rows":
            totals = [negative_logsumexp(queries, keys, **options)]
        else:
            totals = list(two_sided_logsumexp(queries, keys, **options))
        upstream = [
            torch.linspace(0.5, 1.5, len(t), dtype=t.dtype, device=t.device) for t in totals
        ]
        grads = torch.autograd.grad(
            totals, [*learned, tau, queries, keys], upstream, materialize_grads=True
        )
        return [t.detach() for t in totals] + list(grads)


def distance_to_value(s: Tensor, v: Tensor) -> Tensor:
    return torch.where(s > v, -0.1 * (s - v).square(), 0.3 * (s - v).tanh())


def agree(
    mine: list[Tensor],
    wanted: list[Tensor],
    dtype: torch.dtype = torch.float32,
    *,
    logits: float = 0.0,
) -> None:
    """The last two, gradients of the rows, may be rounded to the dtype of the rows.

    Logits of a size above one are rounded themselves: their exponentials are off by as much.
    """
    assert len(mine) == len(wanted)
    for place, (a, b) in enumerate(zip(mine, wanted, strict=True)):
        rounding = ROUNDING[dtype if place >= len(mine) - 2 else torch.float32]
        rounding += torch.finfo(torch.float32).eps * logits
        a, b = a.cpu().double(), b.cpu().double()
        assert torch.equal(a.isfinite(), b.isfinite())
        part = b.isfinite()
        scale = float(b[part].abs().max()) if part.any() else 1.0
        error = float((a[part] - b[part]).abs().max()) if part.any() else 0.0
        assert error <= rounding * max(scale, 1e-3), (place, error, scale)


@pytest.mark.parametrize("sides", ["rows", "both"])
@pytest.mark.parametrize("exclusion", EXCLUSIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16", "float16"])
def test_every_combination(
    dtype: torch.dtype, form: str, exclusion: str, sides: str, device: torch.device
) -> None:
    problem = Problem(device, dtype, form=form, exclusion=exclusion)
    mine = problem.outcome("triton", sides)
    agree(mine, problem.outcome("reference", sides), dtype)
    assert mine[0].dtype == torch.float32
    assert {g.dtype for g in mine[-2:]} == {dtype}


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 33, 2), (16, 16, 16), (33, 18, 130), (20, 3, 64)])
def test_ragged_sizes(size: tuple[int, int, int], device: torch.device) -> None:
    problem = Problem(device, size=size, form="key")
    agree(problem.outcome("triton", "both"), problem.outcome("reference", "both"))


def test_logits_far_beyond_exp(device: torch.device) -> None:
    problem = Problem(device, form="low_rank", exclusion="csr", tau=0.01)
    wanted = problem.outcome("reference", "both")
    largest = float(torch.cat([one[one.isfinite()] for one in wanted[:2]]).abs().max())
    assert largest > 500
    agree(problem.outcome("triton", "both"), wanted, logits=largest)


@pytest.mark.parametrize("size", [(0, 3, 2), (3, 0, 2), (0, 0, 2)])
def test_nothing_to_sum(size: tuple[int, int, int], device: torch.device) -> None:
    problem = Problem(device, size=size)
    mine, wanted = (problem.outcome(impl, "both") for impl in ("triton", "reference"))
    for a, b in zip(mine, wanted, strict=True):
        assert a.shape == b.shape
        assert torch.equal(a.double().cpu(), b.double().cpu())


SYMMETRIC: dict[str, Callable[[], TileWeight | None]] = {
    "none": lambda: None,
    "tilt": lambda: SimilarityWeight(lambda s: 0.5 * s),
    "live": lambda: SimilarityWeight(lambda s: (0.3 * s).sigmoid().log(), detach=False),
}


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("hidden", ["diagonal", "group", "none"])
def test_a_matrix_with_itself(name: str, hidden: str, device: torch.device) -> None:
    label = torch.arange(K, device=device) % 5
    exclude = {"diagonal": Exclude.diagonal(), "group": Exclude.same_group(label, label)}
    found = []
    for impl, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        rows = torch.randn(K, D, generator=torch.Generator().manual_seed(1))
        rows = rows.to(device, dtype).requires_grad_()
        tau = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        total = negative_logsumexp(
            rows,
            rows,
            tau=tau,
            log_weight=SYMMETRIC[name](),
            exclude=exclude.get(hidden),
            impl=impl,
        )
        upstream = torch.linspace(0.5, 1.5, K, dtype=dtype, device=device)
        found.append([total, *torch.autograd.grad(total, [tau, rows], upstream)])
    agree(*found)


FUNCTIONS: dict[str, tuple[Callable[..., Tensor], bool]] = {
    "tilt": (lambda s: 2.0 * s, False),
    "band": (lambda s: s.masked_fill((s < -0.5) | (s > 1.5), -torch.inf), False),
    "threshold": (lambda s, v: torch.where(s > v, -torch.inf, 0.0), True),
    "mixture": (lambda s: (-(s - 0.4).square() / 2).exp().add(0.01).log(), False),
    "clamp": (lambda s, v: torch.clamp(1.5 * (s - v), min=-1.0, max=1.0), True),
    "flags": (lambda s, v: (s > v).float() * 2.0 - (~(s < 0.1)) * s, True),
    "powers": (lambda s, v: 0.1 * s**3 - torch.maximum(s, v).abs() ** 0.5, True),
    "closure": (lambda s: torch.tensor(0.25) * s.cos() + 1.0 / (s * s + 1), False),
}


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_the_similarity(name: str, detach: bool, device: torch.device) -> None:
    function, by_value = FUNCTIONS[name]
    found = []
    for impl, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        queries, keys = (r.to(device, dtype).requires_grad_() for r in Problem(device).rows())
        value = torch.linspace(-1.03, 1.01, Q, dtype=dtype, device=device).requires_grad_()
        weight = SimilarityWeight(function, value if by_value else None, detach=detach)
        totals = two_sided_logsumexp(queries, keys, tau=0.9, log_weight=weight, impl=impl)
        upstream = [torch.ones_like(t) for t in totals]
        wanted = [value, queries, keys] if by_value else [queries, keys]
        grads = torch.autograd.grad(totals, wanted, upstream, materialize_grads=True)
        found.append([*totals, *grads])
    agree(*found)


def test_sums_of_all_weights_and_unions_of_all_exclusions(device: torch.device) -> None:
    found = []
    for impl, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        problem = Problem(device)
        queries, keys = (r.to(device, dtype).requires_grad_() for r in problem.rows())
        weights, learned = [], []
        for problem.form in (*FORMS[1:], "key"):
            weight, leaves = problem.weight(dtype)
            weights.append(weight)
            learned += leaves
        total = weights[0] + weights[1] + weights[2] + weights[3] + weights[4]
        hidden = []
        for problem.exclusion in (*EXCLUSIONS[1:], "csr"):
            hidden.append(problem.exclude())
        exclude = (hidden[0] | hidden[1]) | (hidden[2] | hidden[3])
        sums = two_sided_logsumexp(
            queries, keys, tau=0.7, log_weight=total, exclude=exclude, impl=impl
        )
        # A query without candidates sends its upstream gradient nowhere.
        grads = torch.autograd.grad(
            sums, [*learned, queries, keys], [torch.ones_like(t) for t in sums]
        )
        found.append([*sums, *grads])
    agree(*found)


def test_wide_factors_and_many_labels(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    """More ranks than one block, and a table wider than the sums that are held at once."""
    monkeypatch.setattr(launching, "_TABLE_SUMS", 1)
    generator = torch.Generator().manual_seed(0)
    factors = [torch.rand(n, 70, generator=generator) for n in (Q, K)]
    table = torch.randn(2, 150, generator=generator)
    labels = torch.randint(2, (Q,), generator=generator), torch.arange(K) * 7
    found = []
    for impl, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        queries, keys = (r.to(device, dtype).requires_grad_() for r in Problem(device).rows())
        learned = [x.to(device, dtype).requires_grad_() for x in (*factors, table)]
        weight = LowRankWeight(*learned[:2]) + GroupWeight(
            learned[2], *(x.to(device) for x in labels)
        )
        total = negative_logsumexp(queries, keys, log_weight=weight, impl=impl)
        grads = torch.autograd.grad(total.sum(), [*learned, queries, keys])
        found.append([total, *grads])
    agree(*found)


def test_rows_without_candidates_take_no_gradient(device: torch.device) -> None:
    queries, keys = (r.to(device).requires_grad_() for r in Problem(device).rows())
    label = torch.zeros(Q, dtype=torch.int64, device=device)
    label[4] = -1
    everyone = torch.zeros(K, dtype=torch.int64, device=device)
    total = negative_logsumexp(
        queries, keys, exclude=Exclude.same_group(label, everyone), impl="triton"
    )
    assert total.isfinite().nonzero().tolist() == [[4]]
    grads = torch.autograd.grad(total, [queries, keys], torch.ones_like(total))
    assert all(bool(g.isfinite().all()) for g in grads)
    assert grads[0].abs().sum(1).nonzero().tolist() == [[4]]


def test_rows_may_be_views(device: torch.device) -> None:
    wide = torch.randn(Q, 2 * D, device=device)
    tall = torch.randn(D, K, device=device)
    for queries, keys in ((wide[:, ::2], tall.t()), (wide[:, :D], tall.t()), (wide[::2, 1:6],) * 2):
        mine = negative_logsumexp(queries, keys, impl="triton")
        agree([mine] * 2, [negative_logsumexp(queries, keys, impl="reference")] * 2)


@pytest.mark.parametrize("precision", ["ieee", "tf32", "tf32x3"])
def test_precision_by_name(precision: str, device: torch.device) -> None:
    queries, keys = (r.to(device) for r in Problem(device).rows())
    mine = negative_logsumexp(queries, keys, impl="triton", precision=precision)
    wanted = negative_logsumexp(queries.double(), keys.double(), impl="reference")
    error = float((mine.double() - wanted).abs().max())
    assert error < (3e-2 if precision == "tf32" else 3e-5)


def test_the_same_bits_every_time(device: torch.device) -> None:
    problem = Problem(device, form="group", exclusion="csr")
    first, second = (problem.outcome("triton", "both") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_nan_stays_nan(device: torch.device) -> None:
    queries, keys = (r.to(device) for r in Problem(device).rows())
    queries[3, 1] = torch.nan
    total = negative_logsumexp(queries, keys, impl="triton")
    assert total.isnan().nonzero().tolist() == [[3]]


def test_the_second_derivative_is_an_error(device: torch.device) -> None:
    queries, keys = (r.to(device).requires_grad_() for r in Problem(device).rows())
    total = negative_logsumexp(queries, keys, impl="triton").sum()
    (grad,) = torch.autograd.grad(total, queries, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        grad.sum().backward()


@pytest.mark.parametrize("intra_view", [True, False])
def test_infonce(intra_view: bool, device: torch.device) -> None:
    found = []
    for impl, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        views = [
            torch.randn(Q, D, generator=torch.Generator().manual_seed(i)).to(device, dtype)
            for i in range(2)
        ]
        for view in views:
            view.requires_grad_()
        loss = InfoNCE(tau=0.4, intra_view=intra_view, impl=impl)(*views)
        found.append([loss, *torch.autograd.grad(loss, views)])
    agree(*found)


def test_addresses_beyond_32_bits(tmp_path: Path, device: torch.device) -> None:
    """Three keys more than 2^30 elements apart, in a sparse file or in the device's memory."""
    apart = 2**30 + 5
    if device.type == "cuda":
        memory = torch.zeros(2 * apart + D, dtype=torch.float16, device=device)
    else:
        # Not read in: pages that nobody writes take neither memory nor disk.
        sparse = np.memmap(tmp_path / "keys", dtype=np.float16, mode="w+", shape=(2 * apart + D,))
        memory = torch.from_numpy(sparse)
    keys = memory.as_strided((3, D), (apart, 1))
    few = torch.randn(3, D, generator=torch.Generator().manual_seed(0)).half().to(device)
    for row, value in zip(keys, few, strict=True):
        row.copy_(value)
    queries = torch.ones(2, D, dtype=torch.float16, device=device)
    assert torch.equal(
        negative_logsumexp(queries, keys, impl="triton"),
        negative_logsumexp(queries, few, impl="triton"),
    )


def test_auto_takes_triton_on_a_gpu_and_never_the_interpreter(device: torch.device) -> None:
    queries, keys = (r.to(device) for r in Problem(device).rows())
    assert explain_impl(queries, keys).name == ("chunked" if interpreting() else "triton")
    softmax = SimilarityWeight(lambda s: s.softmax(1))
    choice = explain_impl(queries, keys, log_weight=softmax)
    assert choice.name == "chunked"
    if device.type == "cuda":
        assert "softmax" in choice.reason
