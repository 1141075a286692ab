"""Weighted log-sum-exp over negatives: definition, gradients, paths, precisions, properties."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
    chunked,
    explain_impl,
    negative_logsumexp,
    two_sided_logsumexp,
)

PairWeight = Callable[[int, int, Tensor], Tensor]
Hidden = Callable[[int, int], bool]
UseSide = Callable[[int], None]

# Logits of order 1, and of order 300 where exp overflows even when summed in float64's shadow of
# float32; the first take the path without a running maximum.
TAUS = {"bounded": 0.7, "unbounded": 0.01}


def random_leaf(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, dtype=dtype).mul_(scale).requires_grad_()


# Every weight below is built for (Q, K) and comes with its learnable tensors and with its
# definition for one pair, which shares nothing with the tiled code.
Built = tuple[TileWeight | None, list[Tensor], PairWeight]


def no_weight(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    return None, [], lambda i, j, s: s.new_zeros(())


def key_weight(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    value = torch.randn(num_keys, dtype=dtype)
    value[1::5] = -torch.inf
    value.requires_grad_()
    return KeyWeight(value), [value], lambda i, j, s: value[j]


def group_weight(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    table = torch.randn(3, 4, dtype=dtype)
    table[1, 2] = -torch.inf
    table.requires_grad_()
    rows, columns = torch.randint(3, (num_queries,)), torch.randint(4, (num_keys,))
    return (
        GroupWeight(table, rows, columns),
        [table],
        lambda i, j, s: table[int(rows[i]), int(columns[j])],
    )


def low_rank_weight(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    left = torch.rand(num_queries, 3, dtype=dtype)
    right = torch.rand(num_keys, 3, dtype=dtype)
    left[::3, 0] = 0.0
    right[::4, 1:] = 0.0  # together with the zeros above: some pairs of weight zero
    left[1::7] = 0.0  # a query without any weight
    left.requires_grad_()
    right.requires_grad_()

    def pair(i: int, j: int, s: Tensor) -> Tensor:
        weight = (left[i] * right[j]).sum()
        return weight.log() if weight > 0 else s.new_tensor(-torch.inf)

    return LowRankWeight(left, right), [left, right], pair


def detached_similarity(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    return SimilarityWeight(lambda s: 0.6 * s), [], lambda i, j, s: 0.6 * s.detach()


def fed_similarity(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    def function(s: Tensor) -> Tensor:
        return 0.5 * torch.sin(s) - 0.1 * s.square()

    return SimilarityWeight(function, detach=False), [], lambda i, j, s: function(s)


def query_value(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    value = random_leaf(num_queries, dtype=dtype)
    weight = SimilarityWeight(lambda s, v: -0.3 * (s - v).square(), value, detach=False)
    return weight, [value], lambda i, j, s: -0.3 * (s - value[i]).square()


def detached_query_value(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    value = random_leaf(num_queries, dtype=dtype)
    weight = SimilarityWeight(lambda s, v: torch.sin(s) * v, value)
    return weight, [value], lambda i, j, s: torch.sin(s.detach()) * value[i]


def band(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
    return (
        SimilarityWeight(lambda s: torch.where(s > 0.5, -torch.inf, 0.0)),
        [],
        lambda i, j, s: s.new_tensor(-torch.inf if s > 0.5 else 0.0),
    )


def add(*builders: Callable[..., Built]) -> Callable[..., Built]:
    def build(num_queries: int, num_keys: int, dtype: torch.dtype) -> Built:
        built = [one(num_queries, num_keys, dtype) for one in builders]
        weight = built[0][0]
        for other, _, _ in built[1:]:
            assert weight is not None
            assert other is not None
            weight = weight + other
        leaves = [leaf for _, found, _ in built for leaf in found]
        return weight, leaves, lambda i, j, s: torch.stack([p(i, j, s) for *_, p in built]).sum()

    return build


WEIGHTS: dict[str, Callable[..., Built]] = {
    "none": no_weight,
    "key": key_weight,
    "group": group_weight,
    "low_rank": low_rank_weight,
    "detached_similarity": detached_similarity,
    "fed_similarity": fed_similarity,
    "query_value": query_value,
    "detached_query_value": detached_query_value,
    "band": band,
    "key+group": add(key_weight, group_weight),
    "detached+fed": add(detached_similarity, fed_similarity),
    "fed+fed": add(fed_similarity, query_value),
    "all": add(key_weight, group_weight, low_rank_weight, detached_query_value, query_value),
}


def no_exclusion(num_queries: int, num_keys: int) -> tuple[Exclude | None, Hidden]:
    return None, lambda i, j: False


def diagonal(offset: int) -> Callable[[int, int], tuple[Exclude, Hidden]]:
    return lambda num_queries, num_keys: (Exclude.diagonal(offset), lambda i, j: j == i + offset)


def csr(num_queries: int, num_keys: int) -> tuple[Exclude, Hidden]:
    hidden = torch.rand(num_queries, num_keys) < 0.2
    hidden[2::6] = True  # queries without candidates
    hidden[:, 3::8] = True  # keys that nobody sees
    ids = [row.nonzero()[:, 0].flip(0) for row in hidden]
    ids = [torch.cat([found, found[:1]]) for found in ids]  # unsorted, one repetition each
    ptr = torch.tensor([0, *(len(found) for found in ids)]).cumsum(0)
    return Exclude.csr(ptr, torch.cat(ids)), lambda i, j: bool(hidden[i, j])


def same_group(num_queries: int, num_keys: int) -> tuple[Exclude, Hidden]:
    rows, columns = torch.randint(-1, 4, (num_queries,)), torch.randint(-1, 4, (num_keys,))
    return Exclude.same_group(rows, columns), lambda i, j: bool(rows[i] == columns[j] >= 0)


def union(*builders: Callable[..., Any]) -> Callable[[int, int], tuple[Exclude, Hidden]]:
    def build(num_queries: int, num_keys: int) -> tuple[Exclude, Hidden]:
        built = [one(num_queries, num_keys) for one in builders]
        exclude = built[0][0]
        for other, _ in built[1:]:
            exclude = exclude | other
        return exclude, lambda i, j: any(hidden(i, j) for _, hidden in built)

    return build


EXCLUSIONS: dict[str, Callable[..., tuple[Exclude | None, Hidden]]] = {
    "none": no_exclusion,
    "diagonal": diagonal(0),
    "offset": diagonal(2),
    "csr": csr,
    "group": same_group,
    "offsets": union(diagonal(-1), diagonal(1)),
    "union": union(diagonal(-2), csr, same_group),
}


@dataclass
class Case:
    """One problem, its learnable inputs and its definition pair by pair."""

    queries: Tensor
    keys: Tensor
    tau: Tensor
    weight: TileWeight | None
    leaves: list[Tensor]
    pair: PairWeight
    exclude: Exclude | None
    hidden: Hidden

    @property
    def inputs(self) -> list[Tensor]:
        own = [self.queries] if self.keys is self.queries else [self.queries, self.keys]
        return [*own, self.tau, *self.leaves]

    def run(self, impl: str, path: str = "both") -> list[Tensor]:
        options: dict[str, Any] = {
            "tau": self.tau,
            "log_weight": self.weight,
            "exclude": self.exclude,
            "impl": impl,
        }
        if path == "both":
            return list(two_sided_logsumexp(self.queries, self.keys, **options))
        return [negative_logsumexp(self.queries, self.keys, **options)]

    def loops(self) -> list[Tensor]:
        num_queries, num_keys = self.queries.shape[0], self.keys.shape[0]
        rows: list[list[Tensor]] = [[] for _ in range(num_queries)]
        columns: list[list[Tensor]] = [[] for _ in range(num_keys)]
        for i in range(num_queries):
            for j in range(num_keys):
                if self.hidden(i, j):
                    continue
                similarity = (self.queries[i] * self.keys[j]).sum()
                logit = similarity / self.tau + self.pair(i, j, similarity)
                if logit > -torch.inf:
                    rows[i].append(logit)
                    columns[j].append(logit)
        return [self._total(rows), self._total(columns)]

    def _total(self, terms: list[list[Tensor]]) -> Tensor:
        out = []
        for found in terms:
            if not found:
                out.append(self.queries.new_tensor(-torch.inf))
                continue
            top = max(float(one.detach()) for one in found)
            out.append(sum(((one - top).exp() for one in found), start=top * 0.0).log() + top)
        return torch.stack(out)


def make_case(
    num_queries: int,
    num_keys: int,
    dim: int,
    *,
    weight: str = "none",
    exclude: str = "none",
    tau: float = 0.7,
    dtype: torch.dtype = torch.float64,
    tied: bool = False,
) -> Case:
    queries = random_leaf(num_queries, dim, dtype=dtype, scale=1.5 / math.sqrt(dim))
    keys = random_leaf(num_keys, dim, dtype=dtype, scale=1.5 / math.sqrt(dim))
    built, leaves, pair = WEIGHTS[weight](num_queries, num_keys, dtype)
    excluded, hidden = EXCLUSIONS[exclude](num_queries, num_keys)
    temperature = torch.tensor(tau, dtype=dtype, requires_grad=True)
    return Case(
        queries, queries if tied else keys, temperature, built, leaves, pair, excluded, hidden
    )


def upstream(outputs: list[Tensor]) -> list[Tensor]:
    """Random gradients of both signs, some of them zero."""
    found = [torch.randn_like(out) for out in outputs]
    for one in found:
        one[1::4] = 0.0
    return found


def gradients(outputs: list[Tensor], given: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    live = [k for k, out in enumerate(outputs) if out.requires_grad]
    outputs, given = [outputs[k] for k in live], [given[k] for k in live]
    found = torch.autograd.grad(outputs, inputs, given, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(one) if g is None else g for g, one in zip(found, inputs, strict=True)]


def assert_near(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Equal up to ``tolerance`` times the largest finite entry; infinities at the same places."""
    assert got.dtype == wanted.dtype
    finite = wanted[wanted.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    torch.testing.assert_close(got, wanted, rtol=0.0, atol=tolerance * max(scale, 1e-30))


def assert_same(
    got: list[Tensor],
    wanted: list[Tensor],
    inputs: list[Tensor],
    wanted_inputs: list[Tensor] | None = None,
    tolerance: float = 1e-10,
) -> None:
    """Same outputs and, for random upstream gradients, the same gradient of every input."""
    for one, other in zip(got, wanted, strict=True):
        assert_near(one.detach(), other.detach(), tolerance)
    given = upstream(wanted)
    wanted_inputs = inputs if wanted_inputs is None else wanted_inputs
    mine, theirs = gradients(got, given, inputs), gradients(wanted, given, wanted_inputs)
    for one, other in zip(mine, theirs, strict=True):
        assert_near(one, other, tolerance)


# --- the definition -------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("exclude", EXCLUSIONS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_both_sides_equal_loops(
    small_tiles: UseSide, impl: str, weight: str, exclude: str, regime: str
) -> None:
    small_tiles(3)
    case = make_case(5, 7, 3, weight=weight, exclude=exclude, tau=TAUS[regime])
    wanted = case.loops()
    assert_same(case.run(impl), wanted, case.inputs)
    assert_same(case.run(impl, "rows"), wanted[:1], case.inputs)


@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("exclude", ["none", "diagonal", "union"])
def test_tied_tensor_equals_loops(
    small_tiles: UseSide, weight: str, exclude: str, regime: str
) -> None:
    small_tiles(3)
    case = make_case(7, 7, 3, weight=weight, exclude=exclude, tau=TAUS[regime], tied=True)
    wanted = case.loops()
    assert_same(case.run("chunked"), wanted, case.inputs)
    assert_same(case.run("chunked", "rows"), wanted[:1], case.inputs)


def test_regimes_take_both_paths() -> None:
    for regime, tau in TAUS.items():
        case = make_case(5, 7, 3, tau=tau)
        naive = (case.queries @ case.keys.T / case.tau).float().exp().sum(1).log()
        assert bool(naive.isfinite().all()) == (regime == "bounded")


# --- reference against chunked --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows", "both"])
@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("exclude", ["none", "csr", "union"])
@pytest.mark.parametrize("weight", ["none", "key", "low_rank", "all"])
@pytest.mark.parametrize(
    "size", [(1, 1, 1), (1, 63, 2), (2, 1, 3), (63, 127, 5), (127, 2, 1), (252, 507, 123)]
)
def test_ragged_sizes(
    small_tiles: UseSide,
    size: tuple[int, int, int],
    weight: str,
    exclude: str,
    regime: str,
    path: str,
) -> None:
    small_tiles(64 if size[0] > 200 else 16)
    case = make_case(*size, weight=weight, exclude=exclude, tau=TAUS[regime])
    assert_same(case.run("chunked", path), case.run("reference", path), case.inputs)


@pytest.mark.parametrize("path", ["rows", "both"])
@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_float32_is_as_good_as_dense_float32(
    small_tiles: UseSide, weight: str, regime: str, path: str
) -> None:
    case = make_case(
        63, 127, 5, weight=weight, exclude="csr", tau=TAUS[regime], dtype=torch.float32
    )
    if weight == "band":
        # A threshold on the similarity is a matter of rounding for pairs next to it.
        similarity = (case.queries.double() @ case.keys.double().T).detach()
        assert float((similarity - 0.5).abs().min()) > 1e-5
    exact = make_case(63, 127, 5, weight=weight)
    for mine, theirs in zip(exact.inputs, case.inputs, strict=True):
        mine.data.copy_(theirs.data)
    if case.weight is not None:
        exact.weight = _in_float64(case.weight, dict(zip(case.leaves, exact.leaves, strict=True)))
    exact.exclude = case.exclude
    truth, plain, mine = (
        exact.run("reference", path),
        case.run("reference", path),
        case.run("chunked", path),
    )
    given = upstream(plain)
    results = zip(
        mine + gradients(mine, given, case.inputs),
        plain + gradients(plain, given, case.inputs),
        truth + gradients(truth, [g.double() for g in given], exact.inputs),
        strict=True,
    )
    for ours, dense, true in results:
        assert ours.dtype == dense.dtype == torch.float32
        assert torch.equal(ours.isfinite(), true.isfinite())
        finite = true.isfinite()
        true, dense, ours = (one.detach().double()[finite] for one in (true, dense, ours))
        scale = float(true.abs().max())
        lost = float((dense - true).abs().max())
        got = float((ours - true).abs().max())
        assert got <= 4.0 * lost + 2e-6 * scale


def _in_float64(weight: TileWeight, leaves: dict[Tensor, Tensor]) -> TileWeight:
    """The same weight around the float64 copies of its learnable tensors."""
    parts = getattr(weight, "parts", None)
    if parts is not None:
        total = _in_float64(parts[0], leaves)
        for part in parts[1:]:
            total = total + _in_float64(part, leaves)
        return total
    parameters = [leaves.get(p, p) for p in weight.parameters]
    if isinstance(weight, SimilarityWeight):
        return SimilarityWeight(weight.function, *parameters, detach=not weight.feeds_similarity)
    return type(weight)(*parameters)


@pytest.mark.parametrize(
    ("dtype", "forward", "backward", "in_sum"),
    # Tau's gradient is one sum over all pairs, in which terms of both signs cancel: what float32's
    # rounding of each leaves depends on the machine, and adding up in float64 does not help.
    [(torch.float64, 1e-12, 1e-12, 1e-12), (torch.float32, 1e-6, 5e-6, 2e-5)],
)
@pytest.mark.parametrize("path", ["rows", "both", "self"])
@pytest.mark.parametrize("weight", ["none", "all", "fed_similarity"])
@pytest.mark.parametrize("side", [7, 16, 50, 64])
def test_tile_size_does_not_matter(
    small_tiles: UseSide,
    dtype: torch.dtype,
    forward: float,
    backward: float,
    in_sum: float,
    path: str,
    weight: str,
    side: int,
) -> None:
    case = make_case(101, 101, 5, weight=weight, exclude="diagonal", dtype=dtype)
    if path == "self":
        case.keys = case.queries
    run = {"both": "both"}.get(path, "rows")
    small_tiles(1024)
    whole = case.run("chunked", run)
    given = upstream(whole)
    wanted = gradients(whole, given, case.inputs)
    small_tiles(side)
    cut = case.run("chunked", run)
    for one, other in zip(cut, whole, strict=True):
        assert_near(one.detach(), other.detach(), forward)
    for one, other in zip(gradients(cut, given, case.inputs), wanted, strict=True):
        assert_near(one, other, backward if one.dim() else in_sum)


# --- symmetric products ---------------------------------------------------------------------------

SYMMETRIC_WEIGHTS = ["none", "detached_similarity", "fed_similarity", "band", "detached+fed"]


def symmetric_exclusion(kind: str, count: int) -> tuple[Exclude | None, Hidden]:
    group = torch.randint(-1, 4, (count,))
    if count > 5:
        group[5] = 7  # alone in its group: nothing but itself is hidden
    return {
        "none": (None, lambda i, j: False),
        "diagonal": (Exclude.diagonal(), lambda i, j: i == j),
        "group": (Exclude.same_group(group, group), lambda i, j: bool(group[i] == group[j] >= 0)),
        "union": (
            Exclude.diagonal() | Exclude.same_group(group, group),
            lambda i, j: i == j or bool(group[i] == group[j] >= 0),
        ),
    }[kind]


@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("exclude", ["none", "diagonal", "group", "union"])
@pytest.mark.parametrize("weight", SYMMETRIC_WEIGHTS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_self_equals_loops(
    small_tiles: UseSide, count: int, weight: str, exclude: str, regime: str
) -> None:
    small_tiles(3)
    case = make_case(count, count, 3, weight=weight, tau=TAUS[regime], tied=True)
    case.exclude, case.hidden = symmetric_exclusion(exclude, count)
    assert case.weight is None or case.weight.symmetric
    wanted = case.loops()[:1]
    if not wanted[0].requires_grad:  # everything is excluded
        wanted = [wanted[0] + 0.0 * sum(one.sum() for one in case.inputs)]
    assert_same(case.run("chunked", "rows"), wanted, case.inputs)


@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("exclude", ["none", "diagonal", "union"])
@pytest.mark.parametrize("weight", SYMMETRIC_WEIGHTS)
@pytest.mark.parametrize("count", [63, 127])
def test_self_equals_rows_of_a_clone(
    small_tiles: UseSide, count: int, weight: str, exclude: str, regime: str
) -> None:
    case = make_case(count, count, 5, weight=weight, tau=TAUS[regime], tied=True)
    case.exclude, _ = symmetric_exclusion(exclude, count)
    own = case.run("chunked", "rows")
    clone = Case(
        case.queries,
        case.queries.clone(),
        case.tau,
        case.weight,
        case.leaves,
        case.pair,
        case.exclude,
        case.hidden,
    )
    other = clone.run("chunked", "rows")
    assert_same(own, other, case.inputs)


class Products(TorchDispatchMode):
    """Records the output shapes of plain matrix products: one per tile that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.mm:
            self.shapes.append(tuple(out.shape))
        return out


@pytest.mark.parametrize(
    ("path", "blocks"), [("rows", 7 * 7), ("both", 7 * 7), ("self", 7 * 8 // 2)]
)
def test_number_of_tiles(small_tiles: UseSide, path: str, blocks: int) -> None:
    case = make_case(100, 100, 4, exclude="diagonal", tied=path == "self")
    with Products() as forward:
        outputs = case.run("chunked", "both" if path == "both" else "rows")
    with Products() as backward:
        gradients(outputs, upstream(outputs), case.inputs)
    assert len(forward.shapes) == blocks
    assert sorted(backward.shapes) == sorted(forward.shapes)  # each tile is recomputed once
    area = sum(high * wide for high, wide in forward.shapes)
    if path == "self":
        diagonal_area = sum(h * w for h, w in forward.shapes) * 2 - 100 * 100
        assert diagonal_area == 6 * 15**2 + 10**2
    else:
        assert area == 100 * 100


@pytest.mark.parametrize("path", ["rows", "both", "self"])
@pytest.mark.parametrize("regime", TAUS)
def test_kept_tiles_give_the_gradients_of_recomputed_ones(
    small_tiles: UseSide, monkeypatch: pytest.MonkeyPatch, path: str, regime: str
) -> None:
    tied = path == "self"
    case = make_case(50, 50, 4, tau=TAUS[regime], exclude="diagonal", tied=tied)
    sides = "both" if path == "both" else "rows"
    again = case.run("chunked", sides)
    given = upstream(again)
    expected = gradients(again, given, case.inputs)
    monkeypatch.setattr(chunked, "_KEPT_PAIRS", 50 * 50)
    outputs = case.run("chunked", sides)
    with Products() as backward:
        found = torch.autograd.grad(outputs, case.inputs, given, retain_graph=True)
    assert backward.shapes == []
    with Products() as second:  # the first pass has written over the kept logits
        twice = torch.autograd.grad(outputs, case.inputs, given)
    assert second.shapes
    for one, other, third in zip(found, twice, expected, strict=True):
        torch.testing.assert_close(one, third)
        torch.testing.assert_close(other, third)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponentials_by_powers_of_two(dtype: torch.dtype) -> None:
    lowest, eps = math.log(torch.finfo(dtype).tiny), torch.finfo(dtype).eps
    logits = torch.linspace(lowest, 0.0, 1000, dtype=dtype)
    found = chunked._exp_(logits.clone())
    # What is too small for any sum is 0, so that no product with it is subnormal.
    kept = logits > 0.75 * lowest + 0.1
    torch.testing.assert_close(found[kept], logits[kept].exp(), rtol=-2 * lowest * eps, atol=0)
    assert not found[logits < 0.75 * lowest - 0.1].any()
    special = torch.tensor([-math.inf, 3 * lowest, math.nan], dtype=dtype)
    expected = torch.tensor([0.0, 0.0, math.nan], dtype=dtype)
    assert torch.equal(chunked._exp_(special).nan_to_num(-1.0), expected.nan_to_num(-1.0))


def test_asymmetry_is_not_folded(small_tiles: UseSide) -> None:
    """A weight or exclusion that differs between (i, j) and (j, i) visits every tile."""
    for weight, exclude in [("key", "none"), ("query_value", "none"), ("none", "csr")]:
        case = make_case(40, 40, 4, weight=weight, exclude=exclude, tied=True)
        with Products() as forward:
            case.run("chunked", "rows")
        assert sum(high * wide for high, wide in forward.shapes) == 40 * 40


# --- numerical differentiation --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows", "both"])
@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("weight", [None, "key", "fed"])
def test_gradcheck(small_tiles: UseSide, weight: str | None, regime: str, path: str) -> None:
    small_tiles(3)
    queries, keys = (random_leaf(n, 2, dtype=torch.float64, scale=0.8) for n in (4, 5))
    tau = torch.tensor(TAUS[regime] + 0.1, dtype=torch.float64, requires_grad=True)
    value = random_leaf(5, dtype=torch.float64)

    def function(queries: Tensor, keys: Tensor, tau: Tensor, value: Tensor) -> Any:
        log_weight: TileWeight | None = None
        if weight is not None:
            log_weight = KeyWeight(value)
        if weight == "fed":
            log_weight = KeyWeight(value) + SimilarityWeight(torch.sin, detach=False)
        call = two_sided_logsumexp if path == "both" else negative_logsumexp
        return call(
            queries,
            keys,
            tau=tau,
            log_weight=log_weight,
            exclude=Exclude.diagonal(1),
            impl="chunked",
        )

    inputs = (queries, keys, tau, value if weight else value.detach())
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("fed", [False, True])
def test_gradcheck_self(small_tiles: UseSide, fed: bool, regime: str) -> None:
    small_tiles(3)
    z = random_leaf(7, 2, dtype=torch.float64, scale=0.8)
    tau = torch.tensor(TAUS[regime] + 0.1, dtype=torch.float64, requires_grad=True)
    weight = SimilarityWeight(torch.sin, detach=False) if fed else None

    def function(z: Tensor, tau: Tensor) -> Tensor:
        return negative_logsumexp(z, z, tau=tau, log_weight=weight, exclude=Exclude.diagonal())

    assert torch.autograd.gradcheck(function, (z, tau))


def test_reference_has_second_derivatives() -> None:
    queries, keys = (random_leaf(n, 2, dtype=torch.float64, scale=0.8) for n in (3, 4))
    tau = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def function(queries: Tensor, keys: Tensor, tau: Tensor) -> Tensor:
        return negative_logsumexp(queries, keys, tau=tau, impl="reference")

    assert torch.autograd.gradgradcheck(function, (queries, keys, tau))


@pytest.mark.parametrize("path", ["rows", "both", "self"])
def test_second_derivative_of_chunked_raises(path: str) -> None:
    case = make_case(4, 4, 2, tied=path == "self")
    outputs = case.run("chunked", "both" if path == "both" else "rows")
    loss = sum(out.square().sum() for out in outputs)
    (grad,) = torch.autograd.grad(loss, case.queries, create_graph=True)
    with pytest.raises(RuntimeError, match="differentia"):
        grad.square().sum().backward()


def test_gradient_penalty_on_chunked_raises() -> None:
    """A constant upstream gradient must not turn the gradient into a silent constant."""
    case = make_case(4, 5, 2)
    (loss,) = (out.sum() for out in case.run("chunked", "rows"))
    (grad,) = torch.autograd.grad(loss, case.queries, create_graph=True)
    with pytest.raises(RuntimeError, match="differentia"):
        (loss + grad.square().sum()).backward()


# --- which gradients are asked for ----------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows", "both", "self"])
@pytest.mark.parametrize("weight", ["none", "fed_similarity", "all"])
def test_each_gradient_alone(small_tiles: UseSide, weight: str, path: str) -> None:
    """Asking for one gradient gives what asking for all of them gives."""
    case = make_case(37, 37, 4, weight=weight, exclude="diagonal", tied=path == "self")
    run = "both" if path == "both" else "rows"
    outputs = case.run("chunked", run)
    given = upstream(outputs)
    everything = gradients(outputs, given, case.inputs)
    for wanted, leaf in zip(everything, case.inputs, strict=True):
        for other in case.inputs:
            other.requires_grad_(other is leaf)
        outputs = case.run("chunked", run)
        (found,) = gradients(outputs, given, [leaf])
        assert_near(found, wanted, 1e-12)


@pytest.mark.parametrize("only", [0, 1])
def test_one_side_of_two(small_tiles: UseSide, only: int) -> None:
    case = make_case(23, 37, 4, weight="all", exclude="csr")
    got, wanted = case.run("chunked")[only], case.run("reference")[only]
    assert_same([got], [wanted], case.inputs)


def test_no_gradient_wanted() -> None:
    case = make_case(5, 6, 3, weight="all")
    with torch.no_grad():
        assert not case.run("chunked", "rows")[0].requires_grad
    plain = negative_logsumexp(case.queries.detach(), case.keys.detach())
    assert not plain.requires_grad


def test_backward_twice_through_a_retained_graph(small_tiles: UseSide) -> None:
    case = make_case(23, 37, 4, weight="all")
    outputs = case.run("chunked")
    given = upstream(outputs)
    first = torch.autograd.grad(outputs, case.inputs, given, retain_graph=True)
    second = torch.autograd.grad(outputs, case.inputs, given)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("changed", ["queries", "keys", "tau", "weight"])
def test_inputs_changed_before_backward_are_noticed(changed: str) -> None:
    """An in-place change between forward and backward raises, or leaves the gradient alone."""
    case = make_case(5, 7, 3, weight="key")
    outputs = case.run("chunked", "rows")
    given = upstream(outputs)
    wanted = torch.autograd.grad(outputs, case.inputs, given, retain_graph=True)
    tensor = {
        "queries": case.queries,
        "keys": case.keys,
        "tau": case.tau,
        "weight": case.leaves[0],
    }[changed]
    with torch.no_grad():
        tensor.mul_(2.0)
    try:
        found = torch.autograd.grad(outputs, case.inputs, given)
    except RuntimeError as error:
        assert "inplace operation" in str(error)  # noqa: PT017 - either outcome is right
        return
    for one, other in zip(found, wanted, strict=True):
        assert_near(one, other, 1e-12)


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_learnable_tau_does_not_warn(impl: str) -> None:
    case = make_case(5, 7, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.run(impl, "rows")[0].sum().backward()
    assert case.tau.grad is not None


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_shape_and_dtype_of_tau(impl: str) -> None:
    """A one-element tau of another dtype changes neither the dtype nor the shape of anything."""
    queries, keys = torch.randn(5, 3), torch.randn(7, 3)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for shape in ((), (1,), (1, 1)):
            tau = torch.full(shape, 0.5, dtype=dtype, requires_grad=True)
            out = negative_logsumexp(queries, keys, tau=tau, impl=impl)
            assert out.shape == (5,)
            assert out.dtype == torch.float32
            torch.testing.assert_close(out, negative_logsumexp(queries, keys, tau=0.5))
            out.sum().backward()
            assert tau.grad is not None
            assert (tau.grad.shape, tau.grad.dtype) == (shape, dtype)


# --- layouts and precisions -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows", "both", "self"])
def test_non_contiguous_inputs(small_tiles: UseSide, path: str) -> None:
    base_queries = random_leaf(5, 63, dtype=torch.float64)
    base_keys = random_leaf(127, 15, dtype=torch.float64)
    base_value = random_leaf(254, dtype=torch.float64)
    queries, keys, value = base_queries.T, base_keys[:, ::3], base_value[::2]
    if path == "self":
        keys, value = queries, value[:63]
    assert not queries.is_contiguous()
    assert not value.is_contiguous()
    options: dict[str, Any] = {"tau": 0.4, "exclude": Exclude.diagonal()}
    if path != "self":
        options["log_weight"] = KeyWeight(value)

    def call(impl: str) -> list[Tensor]:
        if path == "both":
            return list(two_sided_logsumexp(queries, keys, impl=impl, **options))
        return [negative_logsumexp(queries, keys, impl=impl, **options)]

    inputs = [base_queries] if path == "self" else [base_queries, base_keys, base_value]
    got, wanted = call("chunked"), call("reference")
    assert_same(got, wanted, inputs)
    # Upstream gradients that are expanded or strided.
    for out in (got[0].sum(), got[0][::2].sum(), -3.0 * got[0].flip(0).mean()):
        out.backward(retain_graph=True)


@pytest.mark.parametrize("path", ["rows", "both", "self"])
@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(small_tiles: UseSide, dtype: torch.dtype, regime: str, path: str) -> None:
    """The loss against float64 is no larger than what plain torch loses in the same dtype."""
    queries = torch.randn(63, 9).to(dtype).requires_grad_()
    keys = queries if path == "self" else torch.randn(127, 9).to(dtype).requires_grad_()
    value = None if path == "self" else torch.randn(127).to(dtype).requires_grad_()
    leaves = [queries] if value is None else [queries, keys, value]
    tau = 2.0 if regime == "bounded" else 0.05
    hidden = Exclude.diagonal().dense(63, keys.shape[0])

    def dense(leaves: list[Tensor]) -> list[Tensor]:
        queries, keys = leaves[0], leaves[0] if value is None else leaves[1]
        logits = queries @ keys.T / tau
        if value is not None:
            logits = logits + leaves[2]
        logits = logits.masked_fill(hidden, -torch.inf)
        return [logits.logsumexp(1), logits.logsumexp(0)][: 2 if path == "both" else 1]

    call = two_sided_logsumexp if path == "both" else negative_logsumexp
    got: Any = call(
        queries,
        keys,
        tau=tau,
        log_weight=None if value is None else KeyWeight(value),
        exclude=Exclude.diagonal(),
    )
    mine = list(got) if path == "both" else [got]
    exact_leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    plain, truth = dense(leaves), dense(exact_leaves)
    assert all(out.dtype == torch.float32 for out in mine)
    given = [g.to(dtype) for g in upstream(truth)]
    results = zip(
        mine + gradients(mine, [g.float() for g in given], leaves),
        plain + gradients(plain, given, leaves),
        truth + gradients(truth, [g.double() for g in given], exact_leaves),
        strict=True,
    )
    for k, (ours, theirs, true) in enumerate(results):
        if k >= len(mine):
            assert ours.dtype == dtype
        lost = float((theirs.double() - true).abs().max())
        got_lost = float((ours.double() - true).abs().max())
        assert got_lost <= lost + 1e-6 * float(true.abs().max())


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(small_tiles: UseSide, dtype: torch.dtype, impl: str) -> None:
    case = make_case(23, 37, 5, weight="all", exclude="union", dtype=torch.float32)
    wanted = case.run(impl)
    given = upstream(wanted)
    wanted_gradients = gradients(wanted, given, case.inputs)
    with torch.autocast("cpu", dtype=dtype):
        got = case.run(impl)
        if impl == "chunked":  # dense autograd takes products in the ambient precision
            found = gradients(got, given, case.inputs)
    if impl == "reference":
        found = gradients(got, given, case.inputs)
    for one, other in zip(got + found, wanted + wanted_gradients, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_parameters_of_another_precision(small_tiles: UseSide) -> None:
    """Gradients come back in the precision of each weight's tensor."""
    queries, keys = torch.randn(23, 4), torch.randn(37, 4)
    value = torch.randn(37, dtype=torch.float64, requires_grad=True)
    left = torch.rand(23, 2, dtype=torch.bfloat16, requires_grad=True)
    right = torch.rand(37, 2, dtype=torch.float16, requires_grad=True)
    weight = KeyWeight(value) + LowRankWeight(left, right)
    results = []
    for impl in ("reference", "chunked"):
        out = negative_logsumexp(queries, keys, log_weight=weight, impl=impl)
        assert out.dtype == torch.float32
        results.append([out, *torch.autograd.grad(out.sum(), [value, left, right])])
    for one, other, dtype in zip(
        *results, [torch.float32, value.dtype, left.dtype, right.dtype], strict=True
    ):
        assert one.dtype == other.dtype == dtype
        torch.testing.assert_close(one, other, check_dtype=False, rtol=2e-2, atol=1e-5)


# --- empty and non-finite -------------------------------------------------------------------------


# Dense autograd multiplies the upstream gradient of an empty row by zero, so it is kept finite.
@pytest.mark.parametrize(
    ("impl", "poison"),
    [("reference", 1.0), ("chunked", 1.0), ("chunked", math.inf), ("chunked", math.nan)],
)
@pytest.mark.parametrize("regime", TAUS)
@pytest.mark.parametrize("path", ["rows", "both", "self"])
def test_all_excluded_rows(
    small_tiles: UseSide, impl: str, regime: str, path: str, poison: float
) -> None:
    """They give -inf; whatever flows back into them is dropped, exactly."""
    case = make_case(20, 20, 3, tau=TAUS[regime], tied=path == "self")
    empty = torch.arange(20) % 4 == 1
    if path == "self":  # a weight that is symmetric and empties rows: zero vectors see nobody
        case.queries.data[empty] = 0.0
        case.weight = SimilarityWeight(lambda s: torch.where(s == 0, -torch.inf, 0.0))
    else:
        labels = torch.where(empty, 0, torch.arange(20))
        case.exclude = Exclude.same_group(labels, torch.zeros(20, dtype=torch.long))
    out = case.run(impl, "both" if path == "both" else "rows")[0]
    empty[0] |= path != "self"
    assert torch.equal(out == -torch.inf, empty)
    given = torch.where(empty, poison, torch.randn(20, dtype=torch.float64))
    found = torch.autograd.grad(out, case.inputs, given)
    assert all(bool(g.isfinite().all()) for g in found)
    assert not found[0][empty].any()
    assert bool(found[0][~empty].all())


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("path", ["rows", "both", "self"])
def test_everything_excluded(small_tiles: UseSide, impl: str, path: str) -> None:
    case = make_case(20, 20, 3, tied=path == "self")
    group = torch.zeros(20, dtype=torch.long)
    case.exclude = Exclude.same_group(group, group)
    outputs = case.run(impl, "both" if path == "both" else "rows")
    for out in outputs:
        assert bool((out == -torch.inf).all())
    for found in gradients(outputs, upstream(outputs), case.inputs):
        assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("weight", ["none", "key", "group", "low_rank", "query_value", "all"])
@pytest.mark.parametrize("exclude", ["none", "diagonal", "group"])
@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_no_queries_or_no_keys(impl: str, weight: str, exclude: str, size: tuple[int, int]) -> None:
    case = make_case(*size, 3, weight=weight, exclude=exclude)
    rows, columns = case.run(impl)
    (alone,) = case.run(impl, "rows")
    assert (rows.shape, columns.shape) == ((size[0],), (size[1],))
    assert torch.equal(alone, rows)
    assert bool((rows == -torch.inf).all())
    assert bool((columns == -torch.inf).all())
    for found in gradients([rows, columns], [rows * 0 + 1, columns * 0 + 1], case.inputs):
        assert not found.any()


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_zero_width(impl: str) -> None:
    """Without features every similarity is 0 and the weights alone remain, however large."""
    out = negative_logsumexp(
        torch.zeros(2, 0),
        torch.zeros(3, 0),
        log_weight=KeyWeight(torch.full((3,), 200.0)),
        impl=impl,
    )
    torch.testing.assert_close(out, torch.full((2,), 200.0 + math.log(3)))


@pytest.mark.parametrize("path", ["rows", "both", "self"])
def test_nan_is_not_hidden(small_tiles: UseSide, path: str) -> None:
    case = make_case(40, 40, 3, tied=path == "self")
    with torch.no_grad():
        case.queries[7, 1] = torch.nan
    out = case.run("chunked", "both" if path == "both" else "rows")[0]
    assert bool(out[7].isnan())
    if path != "self":
        assert int(out.isnan().sum()) == 1
    else:
        assert bool(out.isnan().all())


def test_infinite_logit_gives_infinity(small_tiles: UseSide) -> None:
    keys = torch.ones(40, 2)
    keys[5] = torch.inf
    out = negative_logsumexp(torch.ones(3, 2), keys)
    assert bool((out == torch.inf).all())


# --- properties -----------------------------------------------------------------------------------

sizes = st.tuples(st.integers(1, 23), st.integers(1, 23), st.integers(1, 4))
regimes = st.sampled_from(list(TAUS.values()))
cheap = settings(max_examples=15, deadline=None, derandomize=True)


def lse(queries: Tensor, keys: Tensor, tau: float, **options: Any) -> Tensor:
    return negative_logsumexp(queries, keys, tau=tau, impl="chunked", **options)


@given(sizes, regimes)
@cheap
def test_order_of_keys_does_not_matter(size: tuple[int, int, int], tau: float) -> None:
    case = make_case(*size, weight="key")
    order = torch.randperm(size[1])
    (value,) = case.leaves
    assert_near(
        lse(case.queries, case.keys[order], tau, log_weight=KeyWeight(value[order])),
        lse(case.queries, case.keys, tau, log_weight=case.weight),
        1e-12,
    )


@given(sizes, regimes)
@cheap
def test_order_of_queries_carries_over(size: tuple[int, int, int], tau: float) -> None:
    case = make_case(*size)
    order = torch.randperm(size[0])
    wanted = lse(case.queries, case.keys, tau)[order]
    assert_near(lse(case.queries[order], case.keys, tau), wanted, 1e-12)


@given(sizes, regimes)
@cheap
def test_an_excluded_key_changes_nothing(size: tuple[int, int, int], tau: float) -> None:
    case = make_case(*size)
    more = torch.cat([case.keys, 3.0 * torch.randn(1, size[2], dtype=torch.float64)])
    last = torch.full((size[0],), size[1])
    got = lse(case.queries, more, tau, exclude=Exclude.csr(torch.arange(size[0] + 1), last))
    assert_near(got, lse(case.queries, case.keys, tau), 1e-12)


@given(sizes, regimes)
@cheap
def test_doubled_keys_add_log_2(size: tuple[int, int, int], tau: float) -> None:
    case = make_case(*size)
    got = lse(case.queries, torch.cat([case.keys, case.keys]), tau)
    assert_near(got, lse(case.queries, case.keys, tau) + math.log(2), 1e-12)


@given(sizes, regimes, st.floats(-200, 200))
@cheap
def test_constant_weight_shifts(size: tuple[int, int, int], tau: float, shift: float) -> None:
    case = make_case(*size)
    weight = KeyWeight(torch.full((size[1],), shift, dtype=torch.float64))
    got = lse(case.queries, case.keys, tau, log_weight=weight)
    torch.testing.assert_close(
        got, lse(case.queries, case.keys, tau) + shift, rtol=1e-12, atol=1e-11
    )


@given(sizes, regimes, st.sampled_from([1.0, 1e4, math.nan]))
@cheap
def test_rows_are_independent(size: tuple[int, int, int], tau: float, scale: float) -> None:
    """A row keeps its value even when another one changes the path that all of them take."""
    case = make_case(*size)
    changed = case.queries.detach().clone()
    changed[-1] = torch.randn(size[2], dtype=torch.float64) * scale
    got, wanted = lse(changed, case.keys, tau)[:-1], lse(case.queries, case.keys, tau)[:-1]
    assert_near(got, wanted, 1e-12)


@given(sizes, regimes)
@cheap
def test_monotone_in_the_log_weight(size: tuple[int, int, int], tau: float) -> None:
    case = make_case(*size, weight="key")
    (value,) = case.leaves
    more = lse(
        case.queries, case.keys, tau, log_weight=KeyWeight(value + torch.rand(size[1]) + 0.1)
    )
    less = lse(case.queries, case.keys, tau, log_weight=case.weight)
    assert bool(((more > less) | (less == -torch.inf)).all())


@given(sizes, regimes)
@cheap
def test_sides_swap_with_the_inputs(size: tuple[int, int, int], tau: float) -> None:
    case = make_case(*size)
    rows, columns = two_sided_logsumexp(case.queries, case.keys, tau=tau)
    swapped_rows, swapped_columns = two_sided_logsumexp(case.keys, case.queries, tau=tau)
    assert_near(swapped_rows, columns, 1e-12)
    assert_near(swapped_columns, rows, 1e-12)


# --- errors and the choice of implementation ------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: negative_logsumexp(torch.zeros(3), torch.zeros(4, 2)), r"\(3,\)"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 5)), r"\(4, 5\)"),
        (lambda: two_sided_logsumexp(torch.zeros(3, 2), torch.zeros(4, 5)), r"\(3, 2\)"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2).double()), "float64"),
        (lambda: negative_logsumexp(torch.zeros(3, 2).long(), torch.zeros(4, 2).long()), "int64"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2, device="meta")), "meta"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), tau=0.0), "0.0"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), tau=-2.0), "-2.0"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), tau=math.nan), "nan"),
        (lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), tau=math.inf), "inf"),
        (
            lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), tau=torch.ones(2)),
            r"\(2,\)",
        ),
        (
            lambda: negative_logsumexp(
                torch.zeros(3, 2), torch.zeros(4, 2), log_weight=KeyWeight(torch.zeros(5))
            ),
            r"5 rows.* 4 keys",
        ),
        (
            lambda: negative_logsumexp(
                torch.zeros(3, 2),
                torch.zeros(4, 2),
                exclude=Exclude.csr(torch.tensor([0, 0, 0]), torch.tensor([], dtype=torch.long)),
            ),
            "2 queries.* 3",
        ),
        (
            lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), impl="dense"),
            "'dense'.*reference",
        ),
        (
            lambda: negative_logsumexp(torch.zeros(3, 2), torch.zeros(4, 2), impl="triton"),
            "'triton'.*chunked",
        ),
        (
            lambda: negative_logsumexp(
                torch.zeros(3, 2),
                torch.zeros(4, 2),
                exclude=torch.ones(3, 4).bool(),  # type: ignore[arg-type]
            ),
            r"exclude must be an Exclude, got Tensor.*same_group",
        ),
    ],
)
def test_errors_name_the_value(call: Callable[[], Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        call()


def test_explain_impl() -> None:
    queries, keys = torch.zeros(3, 2), torch.zeros(4, 2)
    assert explain_impl(queries, keys).name == "chunked"
    assert "3 x 4" in str(explain_impl(queries, keys, impl="reference"))
    assert explain_impl(queries, keys, impl="chunked").name == "chunked"


def test_hand_computed() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    keys = torch.tensor([[1.0, 1.0], [0.0, -1.0], [2.0, 0.0]])
    # Similarities / 0.5: [[2, 0, 4], [4, -4, 0]].
    rows, columns = two_sided_logsumexp(queries, keys, tau=0.5, exclude=Exclude.diagonal(1))
    assert rows.tolist() == pytest.approx(
        [math.log(math.exp(2) + math.exp(4)), math.log(math.exp(4) + math.exp(-4))]
    )
    assert columns.tolist() == pytest.approx([math.log(math.exp(2) + math.exp(4)), -4.0, 4.0])


def test_a_weighting_of_two_views_is_no_weight_of_pairs() -> None:
    from graphcl.weights import HardTilt

    z = torch.eye(3)
    for kernel in (negative_logsumexp, two_sided_logsumexp):
        with pytest.raises(ValueError, match=r"got HardTilt.*InfoNCE\(weight="):
            kernel(z, z, log_weight=HardTilt(1.0))  # type: ignore[arg-type]
