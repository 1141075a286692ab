"""Log-weights of pairs: definitions, gradients tile by tile, sums, custom weights, errors."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
    negative_logsumexp,
    two_sided_logsumexp,
)
from graphcl.kernels.tiles import blocks

UseSide = Callable[[int], None]
F64 = torch.float64

QUERY_GROUP = torch.tensor([2, 0, 1, 1, 2, 0])
KEY_GROUP = torch.tensor([1, 0, 0, 1, 1, 0, 1])

# Each weight is a function of its learnable tensors, for 6 queries and 7 keys.
WEIGHTS: dict[str, tuple[tuple[tuple[int, ...], ...], Callable[..., TileWeight]]] = {
    "key": (((7,),), KeyWeight),
    "group": (((3, 2),), lambda table: GroupWeight(table, QUERY_GROUP, KEY_GROUP)),
    "low_rank": (((6, 2), (7, 2)), LowRankWeight),
    "detached": ((), lambda: SimilarityWeight(lambda s: 0.5 * s.square())),
    "fed": ((), lambda: SimilarityWeight(torch.sin, detach=False)),
    "detached_value": (((6,),), lambda v: SimilarityWeight(lambda s, v: torch.sin(s * v), v)),
    "fed_value": (
        ((6,),),
        lambda v: SimilarityWeight(lambda s, v: torch.sin(s * v), v, detach=False),
    ),
    "sum": (
        ((7,), (3, 2), (6, 2), (7, 2), (6,)),
        lambda key, table, left, right, v: (
            KeyWeight(key)
            + GroupWeight(table, QUERY_GROUP, KEY_GROUP)
            + LowRankWeight(left, right)
            + SimilarityWeight(lambda s, v: torch.sin(s * v), v, detach=False)
        ),
    ),
}


def positive(*shape: int, dtype: torch.dtype = F64) -> Tensor:
    return (torch.rand(*shape, dtype=dtype) + 0.1).requires_grad_()


def points(dtype: torch.dtype = F64, queries: int = 6, keys: int = 7) -> tuple[Tensor, Tensor]:
    found = (torch.randn(count, 2, dtype=dtype) for count in (queries, keys))
    first, second = (one.mul_(0.8).requires_grad_() for one in found)
    return first, second


# --- definitions ----------------------------------------------------------------------------------


def test_definition_of_each_weight() -> None:
    """Every tile of every weight, entry by entry."""
    similarity = torch.randn(6, 7, dtype=F64)
    key, table, value = torch.randn(7), torch.randn(3, 2), torch.randn(6, dtype=F64)
    left, right = torch.rand(6, 2), torch.rand(7, 2)
    for weight, pair in [
        (KeyWeight(key), lambda i, j: float(key[j])),
        (
            GroupWeight(table, QUERY_GROUP, KEY_GROUP),
            lambda i, j: float(table[int(QUERY_GROUP[i]), int(KEY_GROUP[j])]),
        ),
        (
            LowRankWeight(left, right),
            lambda i, j: math.log(sum(float(left[i, r]) * float(right[j, r]) for r in range(2))),
        ),
        (SimilarityWeight(lambda s: 2.0 * s), lambda i, j: 2.0 * float(similarity[i, j])),
        (
            SimilarityWeight(lambda s, v: s - v, value),
            lambda i, j: float(similarity[i, j]) - float(value[i]),
        ),
        (
            KeyWeight(key) + SimilarityWeight(lambda s: 2.0 * s),
            lambda i, j: float(key[j]) + 2.0 * float(similarity[i, j]),
        ),
    ]:
        for rows in blocks(6, 4):
            for columns in blocks(7, 3):
                tile = weight.tile(weight.parameters, rows, columns, similarity[rows, columns])
                full = tile.expand(rows.stop - rows.start, columns.stop - columns.start)
                for a, i in enumerate(range(rows.start, rows.stop)):
                    for b, j in enumerate(range(columns.start, columns.stop)):
                        assert float(full[a, b]) == pytest.approx(pair(i, j), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", WEIGHTS)
def test_backward_tile_equals_autograd_of_tile(name: str) -> None:
    """The written gradients against the default ones, which come from autograd."""
    shapes, build = WEIGHTS[name]
    weight = build(*(positive(*shape) for shape in shapes))
    similarity = torch.randn(6, 7, dtype=F64)
    grad = torch.randn(6, 7, dtype=F64)
    out: list[list[Tensor | None]] = []
    through: list[Tensor] = []
    for backward in (weight.backward_tile, lambda *a: TileWeight.backward_tile(weight, *a)):
        slots = [torch.zeros_like(p) if p.is_floating_point() else None for p in weight.parameters]
        total = torch.zeros_like(similarity)
        for rows in blocks(6, 4):
            for columns in blocks(7, 3):
                seen = similarity[rows, columns] if weight.needs_similarity else None
                found = backward(weight.parameters, rows, columns, seen, grad[rows, columns], slots)
                if found is not None:
                    total[rows, columns] += found
        out.append(slots)
        through.append(total)
    for one, other in zip(*out, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.any()
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*through, rtol=1e-12, atol=1e-12)
    assert bool(through[0].any()) == weight.feeds_similarity


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("path", ["rows", "both"])
@pytest.mark.parametrize("tau", [0.9, 0.01])
def test_gradcheck(small_tiles: UseSide, name: str, path: str, tau: float) -> None:
    small_tiles(4)
    shapes, build = WEIGHTS[name]
    queries, keys = points()
    temperature = torch.tensor(tau, dtype=F64, requires_grad=True)
    call = two_sided_logsumexp if path == "both" else negative_logsumexp
    if "detached" in name:  # numerical differences would see through the detachment
        queries.requires_grad_(False)
        keys.requires_grad_(False)

    def function(queries: Tensor, keys: Tensor, tau: Tensor, *leaves: Tensor) -> Any:
        return call(queries, keys, tau=tau, log_weight=build(*leaves), exclude=Exclude.diagonal(-1))

    inputs = (queries, keys, temperature, *(positive(*shape) for shape in shapes))
    assert torch.autograd.gradcheck(function, inputs)


# --- sums -----------------------------------------------------------------------------------------


def test_sum_is_flat_and_collects_traits() -> None:
    key = KeyWeight(torch.zeros(7))
    tilt = SimilarityWeight(lambda s: s)
    fed = SimilarityWeight(lambda s: s, detach=False)
    nested = (key + tilt) + (fed + key)
    assert [type(part) for part in nested.parts] == [
        KeyWeight,
        SimilarityWeight,
        SimilarityWeight,
        KeyWeight,
    ]
    assert len(nested.parameters) == 2
    assert nested.needs_similarity
    assert nested.feeds_similarity
    assert not (key + tilt).feeds_similarity
    assert not (key + key).needs_similarity
    assert not nested.symmetric
    assert (tilt + fed).symmetric
    with pytest.raises(TypeError):
        key + 1.0


def test_one_weight_twice(small_tiles: UseSide) -> None:
    """w + w is the square of w, and its tensor gets the gradients of both."""
    small_tiles(4)
    queries, keys = points()
    value = positive(7)
    got = negative_logsumexp(queries, keys, log_weight=KeyWeight(value) + KeyWeight(value))
    wanted = negative_logsumexp(queries, keys, log_weight=KeyWeight(2.0 * value))
    torch.testing.assert_close(got, wanted)
    mine, theirs = (torch.autograd.grad(out.square().sum(), value)[0] for out in (got, wanted))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("order", ["detached first", "fed first"])
def test_detached_part_stays_detached_in_a_sum(impl: str, order: str) -> None:
    queries, keys = points()
    parts = [SimilarityWeight(lambda s: 2.0 * s), SimilarityWeight(torch.sin, detach=False)]
    if order == "fed first":
        parts.reverse()
    out = negative_logsumexp(queries, keys, log_weight=parts[0] + parts[1], impl=impl)
    similarity = queries @ keys.T
    logits = similarity + 2.0 * similarity.detach() + torch.sin(similarity)
    wanted = torch.autograd.grad(logits.logsumexp(1).square().sum(), [queries, keys])
    for one, other in zip(
        torch.autograd.grad(out.square().sum(), [queries, keys]), wanted, strict=True
    ):
        torch.testing.assert_close(one, other)


# --- weights of zero ------------------------------------------------------------------------------


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("path", ["rows", "both"])
def test_low_rank_weights_of_zero(small_tiles: UseSide, impl: str, path: str) -> None:
    """A zero row gives -inf; pairs of weight zero give their factors exactly no gradient."""
    small_tiles(4)
    queries, keys = points()
    left, right = torch.rand(6, 3, dtype=F64), torch.rand(7, 3, dtype=F64)
    left[2] = 0.0
    left[3], right[5] = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 2.0])
    left.requires_grad_()
    right.requires_grad_()
    call: Any = two_sided_logsumexp if path == "both" else negative_logsumexp
    out = call(queries, keys, log_weight=LowRankWeight(left, right), impl=impl)
    outputs = list(out) if path == "both" else [out]
    assert outputs[0].isinf().nonzero()[:, 0].tolist() == [2]
    given = [torch.randn_like(one) for one in outputs]
    inputs = [queries, keys, left, right]
    found = torch.autograd.grad(outputs, inputs, given)
    assert all(bool(one.isfinite().all()) for one in found)
    assert not found[0][2].any()
    assert not found[2][2].any()
    # The definition over the pairs that have a weight.
    weight = left @ right.T
    present = weight.detach() > 0
    assert not bool(present[3, 5])
    logits = (queries @ keys.T)[present] + weight[present].log()
    rows, columns = present.nonzero().T
    for side, one in zip((rows, columns), outputs, strict=False):
        total = torch.zeros(one.shape[0], dtype=F64).index_add(0, side, logits.exp())
        torch.testing.assert_close(one, total.log())
    dense = [
        torch.zeros(one.shape[0], dtype=F64).index_add(0, side, logits.exp())
        for side, one in zip((rows, columns), outputs, strict=False)
    ]
    loss = sum((g[t > 0] * t[t > 0].log()).sum() for g, t in zip(given, dense, strict=True))
    for one, other in zip(found, torch.autograd.grad(loss, inputs), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("tau", [1.0, 0.01])
def test_minus_infinity_takes_pairs_out(small_tiles: UseSide, impl: str, tau: float) -> None:
    small_tiles(4)
    queries, keys = points()
    value = torch.randn(7, dtype=F64)
    value[[1, 6]] = -torch.inf
    table = torch.randn(3, 2, dtype=F64)
    table[2] = -torch.inf  # queries 0 and 4 have nothing left
    value.requires_grad_()
    table.requires_grad_()
    weight = KeyWeight(value) + GroupWeight(table, QUERY_GROUP, KEY_GROUP)
    rows, columns = two_sided_logsumexp(queries, keys, tau=tau, log_weight=weight, impl=impl)
    assert rows.isinf().nonzero()[:, 0].tolist() == [0, 4]
    assert columns.isinf().nonzero()[:, 0].tolist() == [1, 6]
    found = torch.autograd.grad(
        [rows, columns],
        [queries, keys, value, table],
        [torch.randn_like(rows), torch.randn_like(columns)],
    )
    assert all(bool(one.isfinite().all()) for one in found)
    for one, gone in zip(found, ([0, 4], [1, 6], [1, 6], [2]), strict=True):
        assert not one[gone].any()
        assert bool(one.any())


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_all_weights_minus_infinity(impl: str) -> None:
    queries, keys = points()
    value = torch.full((7,), -torch.inf, dtype=F64, requires_grad=True)
    out = negative_logsumexp(queries, keys, log_weight=KeyWeight(value), impl=impl)
    assert bool((out == -torch.inf).all())
    for found in torch.autograd.grad(out.sum(), [queries, keys, value]):
        assert not found.any()


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_similarity_weight_without_slope(impl: str) -> None:
    """A function that is constant almost everywhere, such as a threshold, has zero gradient."""
    queries, keys = points()
    own = (queries * keys[:6]).sum(1) + 0.1
    inputs = [queries, keys]
    for weight in (
        SimilarityWeight(lambda s, v: torch.where(s > v, -torch.inf, 0.0), own),
        SimilarityWeight(lambda s, v: (s > v).to(s.dtype), own, detach=False),
        SimilarityWeight(lambda s: (s > 0.1).to(s.dtype), detach=False),
        SimilarityWeight(lambda s: torch.zeros_like(s), detach=False) + KeyWeight(positive(7)),
    ):
        out = negative_logsumexp(queries, keys, log_weight=weight, impl=impl)
        similarity = queries @ keys.T
        rows, columns = slice(0, 6), slice(0, 7)
        tile = weight.tile(weight.parameters, rows, columns, similarity).detach()
        wanted = torch.autograd.grad((similarity + tile).logsumexp(1).square().sum(), inputs)
        found = torch.autograd.grad(out.square().sum(), inputs, retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_log_of_zero_inside_a_similarity_weight_gets_no_gradient() -> None:
    """The slope of the logarithm at 0 must not reach the embeddings as NaN."""
    queries, keys = points()
    weight = SimilarityWeight(lambda s: torch.log(s * (s > 0)), detach=False)
    out = negative_logsumexp(queries, keys, log_weight=weight)
    similarity = queries @ keys.T
    present = similarity.detach() > 0
    terms = torch.where(present, similarity * similarity.exp(), 0.0).sum(1)
    some = terms > 0
    assert 0 < int(present.sum()) < present.numel()
    torch.testing.assert_close(out[some], terms[some].log())
    found = torch.autograd.grad(out[some].sum(), [queries, keys])
    for one, other in zip(
        found, torch.autograd.grad(terms[some].log().sum(), [queries, keys]), strict=True
    ):
        torch.testing.assert_close(one, other)


# --- extreme weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows", "both"])
@pytest.mark.parametrize("level", [120.0, -120.0, 1e4])
def test_large_weights_do_not_overflow_float32(path: str, level: float) -> None:
    queries, keys = points(torch.float32)
    plain: Any = two_sided_logsumexp(queries, keys)
    part = torch.full((7,), level / 4)
    table = torch.full((3, 2), level / 4)
    quarter = KeyWeight(part)
    for weight in (
        KeyWeight(4 * part),
        quarter + quarter + quarter + quarter,  # each alone is harmless
        KeyWeight(3 * part) + GroupWeight(table, QUERY_GROUP, KEY_GROUP),
        GroupWeight(4 * table, QUERY_GROUP, KEY_GROUP),
        SimilarityWeight(lambda s: torch.full_like(s, level)),
    ):
        if path == "both":
            got = two_sided_logsumexp(queries, keys, log_weight=weight)
        else:
            got = (negative_logsumexp(queries, keys, log_weight=weight),)
        for one, other in zip(got, plain, strict=False):
            torch.testing.assert_close(one, other + level, rtol=1e-6, atol=1e-4)
        (grad,) = torch.autograd.grad(got[0].sum(), queries)
        (wanted,) = torch.autograd.grad(plain[0].sum(), queries, retain_graph=True)
        torch.testing.assert_close(grad, wanted, rtol=1e-3, atol=1e-4 + 2e-7 * abs(level))


@pytest.mark.parametrize("level", [120.0, -120.0, 1e4, -1e4])
def test_one_extreme_weight_among_small_ones(level: float) -> None:
    """Bounds look at both ends: a single key can outweigh, or vanish beside, all others."""
    queries, keys = points(torch.float32)
    value = torch.linspace(-1.0, 1.0, 7)
    value[3] = level
    got = negative_logsumexp(queries, keys, log_weight=KeyWeight(value))
    wanted = negative_logsumexp(
        queries.double(), keys.double(), log_weight=KeyWeight(value), impl="reference"
    )
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=1e-5)


def test_low_rank_of_tiny_and_huge_factors() -> None:
    queries, keys = points(torch.float32)
    plain = negative_logsumexp(queries, keys)
    for scale in (1e-15, 1e15):
        weight = LowRankWeight(torch.full((6, 1), scale), torch.full((7, 1), scale))
        got = negative_logsumexp(queries, keys, log_weight=weight)
        torch.testing.assert_close(got, plain + 2 * math.log(scale), rtol=1e-5, atol=1e-5)


def test_negative_low_rank_weight_shows() -> None:
    queries, keys = points()
    left, right = -torch.ones(6, 1, dtype=F64), torch.ones(7, 1, dtype=F64)
    assert bool(
        negative_logsumexp(queries, keys, log_weight=LowRankWeight(left, right)).isnan().all()
    )


def test_weight_of_a_value_computed_from_the_queries(small_tiles: UseSide) -> None:
    """Gradients reach the queries both through the similarities and through ``query_value``."""
    small_tiles(4)
    queries, keys = points()
    for detach in (True, False):
        own = (queries * keys[:6]).sum(1)
        weight = SimilarityWeight(lambda s, v: -(s - v).square(), own, detach=detach)
        out = negative_logsumexp(queries, keys, tau=0.7, log_weight=weight)
        similarity = queries @ keys.T
        seen = similarity.detach() if detach else similarity
        logits = similarity / 0.7 - (seen - own[:, None]).square()
        wanted = torch.autograd.grad(
            logits.logsumexp(1).square().sum(), [queries, keys], retain_graph=True
        )
        for one, other in zip(
            torch.autograd.grad(out.square().sum(), [queries, keys]), wanted, strict=True
        ):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_other_integer_types(small_tiles: UseSide, kind: torch.dtype) -> None:
    small_tiles(4)
    queries, keys = points()
    results = []
    for rows, columns in ((QUERY_GROUP, KEY_GROUP), (QUERY_GROUP.to(kind), KEY_GROUP.to(kind))):
        table = torch.arange(6.0, dtype=F64).view(3, 2).requires_grad_()
        out = negative_logsumexp(queries, keys, log_weight=GroupWeight(table, rows, columns))
        results.append([out, *torch.autograd.grad(out.square().sum(), [queries, table])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


# --- a weight of one's own ------------------------------------------------------------------------


class PairGate(TileWeight):
    """log sigmoid(w . tanh(u_i + u_j) + b): a small network on pairs."""

    symmetric = True

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        self.parameters = (u, w, b)

    def check(self, num_queries: int, num_keys: int) -> None:
        assert num_queries == num_keys == self.parameters[0].shape[0]

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        u, w, b = parameters
        return logsigmoid(torch.tanh(u[rows, None] + u[None, columns]) @ w + b)


class SimilarityGate(PairGate):
    """As :class:`PairGate`, with the similarity as one more feature."""

    needs_similarity = True
    feeds_similarity = True

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        assert similarity is not None
        return super().tile(parameters, rows, columns, None) + torch.sin(similarity * parameters[2])


@pytest.mark.parametrize("path", ["rows", "both", "self"])
@pytest.mark.parametrize("kind", [PairGate, SimilarityGate])
@pytest.mark.parametrize("tau", [0.8, 0.01])
def test_custom_learnable_weight(
    small_tiles: UseSide, kind: type[PairGate], path: str, tau: float
) -> None:
    z = torch.randn(37, 5, dtype=F64).mul_(0.6).requires_grad_()
    u = torch.randn(37, 16, dtype=F64, requires_grad=True)
    w = torch.randn(16, dtype=F64, requires_grad=True)
    b = torch.tensor(0.3, dtype=F64, requires_grad=True)
    temperature = torch.tensor(tau, dtype=F64, requires_grad=True)
    inputs = [z, u, w, b, temperature]
    keys = z if path == "self" else z + 0.0
    options: dict[str, Any] = {
        "tau": temperature,
        "log_weight": kind(u, w, b),
        "exclude": Exclude.diagonal(),
    }
    call: Any = two_sided_logsumexp if path == "both" else negative_logsumexp
    found = call(z, keys, **options)
    outputs = list(found) if path == "both" else [found]

    similarity = z @ z.T
    logits = similarity / temperature + logsigmoid(torch.tanh(u[:, None] + u[None]) @ w + b)
    if kind is SimilarityGate:
        logits = logits + torch.sin(similarity * b)
    logits = logits.masked_fill(torch.eye(37, dtype=torch.bool), -torch.inf)
    wanted = [logits.logsumexp(1), logits.logsumexp(0)][: len(outputs)]
    given = [torch.randn_like(one) for one in wanted]
    torch.testing.assert_close(outputs, wanted)
    mine = torch.autograd.grad(outputs, inputs, given)
    for one, other in zip(mine, torch.autograd.grad(wanted, inputs, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


def test_custom_weight_in_a_sum_with_frozen_parts(small_tiles: UseSide) -> None:
    z = torch.randn(20, 3, requires_grad=True)
    u = torch.randn(20, 16)
    w = torch.randn(16, requires_grad=True)
    gate = PairGate(u, w, torch.tensor(0.0))
    results = []
    for impl in ("reference", "chunked"):
        weight = gate + KeyWeight(torch.arange(20) / 20)
        out = negative_logsumexp(z, z, log_weight=weight, impl=impl)
        results.append([out, *torch.autograd.grad(out.square().sum(), [z, w])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


# --- errors ---------------------------------------------------------------------------------------


def apply(weight: TileWeight) -> Tensor:
    return negative_logsumexp(torch.zeros(6, 2), torch.zeros(7, 2), log_weight=weight)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: KeyWeight(torch.zeros(7, 1)), r"\(7, 1\)"),
        (lambda: apply(KeyWeight(torch.zeros(6))), "log_weight has 6 rows.* 7 keys"),
        (lambda: GroupWeight(torch.zeros(3), QUERY_GROUP, KEY_GROUP), r"\(3,\)"),
        (
            lambda: GroupWeight(torch.zeros(3, 2), QUERY_GROUP.float(), KEY_GROUP),
            "query_group.*float32",
        ),
        (
            lambda: GroupWeight(torch.zeros(3, 2), QUERY_GROUP, KEY_GROUP[:, None]),
            r"key_group.*\(7, 1\)",
        ),
        (
            lambda: apply(GroupWeight(torch.zeros(3, 2), KEY_GROUP, KEY_GROUP)),
            "query_group has 7 rows.* 6 queries",
        ),
        (
            lambda: apply(GroupWeight(torch.zeros(2, 2), QUERY_GROUP, KEY_GROUP)),
            "query_group runs from 0 to 2.*0 to 1",
        ),
        (
            lambda: apply(GroupWeight(torch.zeros(3, 2), QUERY_GROUP, KEY_GROUP - 1)),
            "key_group runs from -1 to 0",
        ),
        (lambda: LowRankWeight(torch.zeros(6), torch.zeros(7, 2)), r"\(6,\)"),
        (lambda: LowRankWeight(torch.zeros(6, 3), torch.zeros(7, 2)), "3 columns.* 2"),
        (
            lambda: apply(LowRankWeight(torch.zeros(5, 2), torch.zeros(7, 2))),
            "query_factor has 5 rows.* 6 queries",
        ),
        (
            lambda: apply(LowRankWeight(torch.zeros(6, 2), torch.zeros(6, 2))),
            "key_factor has 6 rows.* 7 keys",
        ),
        (lambda: SimilarityWeight(torch.sin, torch.zeros(6, 1)), r"\(6, 1\)"),
        (
            lambda: apply(SimilarityWeight(torch.sub, torch.zeros(7))),
            "query_value has 7 rows.* 6 queries",
        ),
        (
            lambda: apply(KeyWeight(torch.zeros(7)) + KeyWeight(torch.zeros(8))),
            "log_weight has 8 rows",
        ),
    ],
)
def test_errors_name_the_value(call: Callable[[], Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        call()


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("detach", [True, False])
def test_similarity_weight_refuses_a_hidden_learnable_tensor(impl: str, detach: bool) -> None:
    beta = torch.tensor(2.0, requires_grad=True)
    weight = SimilarityWeight(lambda s: beta * s, detach=detach)
    with pytest.raises(ValueError, match="requires a gradient"):
        negative_logsumexp(torch.rand(3, 2), torch.rand(4, 2), log_weight=weight, impl=impl)
    constant = SimilarityWeight(lambda s: beta.detach() * s, detach=detach)
    assert (
        negative_logsumexp(torch.rand(3, 2), torch.rand(4, 2), log_weight=constant, impl=impl)
        .isfinite()
        .all()
    )


@pytest.mark.parametrize("detach", [True, False])
def test_infinite_slopes_of_pairs_without_weight_reach_no_value(detach: bool) -> None:
    """The weight |s - v| is 0 where both are equal; the slope of its logarithm is infinite."""
    value = torch.tensor([0.0, 0.5], dtype=F64, requires_grad=True)
    z = torch.eye(3, dtype=F64)[:2].requires_grad_(True)
    keys = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.25, 0.25, 1]], dtype=F64)
    weight = SimilarityWeight(lambda s, own: (s - own).abs().log(), value, detach=detach)
    found = negative_logsumexp(z, keys, log_weight=weight)
    grads = torch.autograd.grad(found.sum(), (value, z))
    s = z @ keys.T
    fed = s.detach() if detach else s
    dense = ((fed - value[:, None]).abs() * s.exp()).sum(1).log()
    torch.testing.assert_close(found, dense)
    # The derivative of |x| at 0 is 0 for autograd.
    for one, other in zip(grads, torch.autograd.grad(dense.sum(), (value, z)), strict=True):
        torch.testing.assert_close(one, other)
