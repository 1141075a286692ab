"""Rank counts against nested loops, across tiles, dtypes and scores."""

import itertools
import math

import numpy as np
import pytest
import torch

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.pair_scores import PairTiles
from graphcl.kernels.rank_fold import RankCounts, count_tile
from graphcl.kernels.ranks import NonFiniteScores, rank_counts

SCORES = ("dot", "l2", "l1", "rotate")
IMPLS = ("reference", "chunked")


def score_of(q, k, bias, score):
    """One score by the formula, correctly rounded sums of Python floats."""
    if score == "dot":
        value = math.fsum(a * b for a, b in zip(q, k, strict=True))
    elif score == "l2":
        value = -math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(q, k, strict=True)))
    elif score == "l1":
        value = -math.fsum(abs(a - b) for a, b in zip(q, k, strict=True))
    else:
        c = len(q) // 2
        differences = [complex(*q[i::c]) - complex(*k[i::c]) for i in range(c)]
        value = -math.fsum(abs(z) for z in differences)
    return value + bias


def loops(queries, keys, target, *, bias=None, score="dot", hidden=None, query_index=None):
    """Counts by nested loops; ``hidden`` is a set of (query, key)."""
    q, k = queries.double().tolist(), keys.double().tolist()
    b = [0.0] * len(k) if bias is None else bias.double().tolist()
    rows = range(len(q)) if query_index is None else query_index.tolist()
    result = []
    for query, own in zip(rows, target.tolist(), strict=True):
        true = score_of(q[query], k[own], b[own], score)
        greater = equal = candidates = 0
        for j in range(len(k)):
            if j == own or (hidden and (query, j) in hidden):
                continue
            value = score_of(q[query], k[j], b[j], score)
            greater += value > true
            equal += value == true
            candidates += 1
        result.append((greater, equal, candidates))
    return torch.tensor(result, dtype=torch.int64).reshape(-1, 3)


def table(counts):
    assert all(c.dtype == torch.int64 for c in counts)
    return torch.stack(tuple(counts), 1)


def problem(q, k, d, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    queries = torch.randn(q, d, generator=g, dtype=torch.float64).to(dtype)
    keys = torch.randn(k, d, generator=g, dtype=torch.float64).to(dtype)
    # A third of the keys are copies of others: exact ties, far apart in the list.
    keys[k - k // 3 :] = keys[: k // 3]
    return queries, keys, torch.randint(k, (q,), generator=g)


def csr(hidden, num_queries):
    lists = [sorted(j for i, j in hidden if i == q) for q in range(num_queries)]
    ptr = torch.tensor([0, *itertools.accumulate(map(len, lists))])
    index = torch.tensor([j for one in lists for j in one], dtype=torch.int64)
    return Exclude.csr(ptr, index)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("q", "k", "d"), [(1, 1, 2), (1, 2, 8), (2, 63, 4), (63, 127, 6)])
def test_equals_nested_loops(q, k, d, score, impl):
    queries, keys, target = problem(q, k, d)
    bias = torch.randn(k).round(decimals=1)
    hidden = {(i, j) for i in range(q) for j in range(k) if (i * 7 + j) % 5 == 0}
    for b, h in itertools.product((None, bias), (None, hidden)):
        exclude = None if h is None else csr(h, q)
        got = rank_counts(
            queries,
            keys,
            target,
            key_bias=b,
            score=score,
            exclude=exclude,
            impl=impl,
            tile=(16, 50),
        )
        expected = loops(queries, keys, target, bias=b, score=score, hidden=h)
        torch.testing.assert_close(table(got), expected, rtol=0, atol=0)


def float64_oracle(queries, keys, target, score):
    q, k = queries.double().numpy()[:, None], keys.double().numpy()[None]
    if score == "dot":
        s = (q * k).sum(-1)
    elif score == "l2":
        s = -((q - k) ** 2).sum(-1)
    elif score == "l1":
        s = -np.abs(q - k).sum(-1)
    else:
        c = q.shape[-1] // 2
        s = -np.abs((q - k)[..., :c] + 1j * (q - k)[..., c:]).sum(-1)
    t = s[np.arange(len(s)), target.numpy()][:, None]
    close = np.abs(s - t) < 1e-12 * np.abs(s).max()
    greater, equal = ((s > t) & ~close).sum(1), close.sum(1) - 1
    return torch.from_numpy(np.stack([greater, equal, np.full(len(s), s.shape[1] - 1)], 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("score", SCORES)
def test_large_ragged_problem_in_all_dtypes(score, dtype):
    queries, keys, target = problem(127, 507, 40, dtype)
    expected = float64_oracle(queries, keys, target, score)
    torch.testing.assert_close(table(rank_counts(queries, keys, target, score=score)), expected)


@pytest.mark.parametrize("score", SCORES)
def test_rounding_of_tiles_decides_no_rank(score):
    # All keys share a large part: float32 products cannot tell them apart, float64 can.
    g = torch.Generator().manual_seed(3)
    common = 300 * torch.randn(1, 32, generator=g)
    queries = common + 1e-2 * torch.randn(31, 32, generator=g)
    keys = common + 1e-2 * torch.randn(200, 32, generator=g)
    target = torch.randint(200, (31,), generator=g)
    expected = float64_oracle(queries, keys, target, score)
    for tile in [(31, 200), (7, 13)]:
        got = rank_counts(queries, keys, target, score=score, tile=tile)
        torch.testing.assert_close(table(got), expected)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counts_do_not_depend_on_tiles_or_threads(score, dtype):
    queries, keys, target = problem(63, 252, 20, dtype)
    expected = table(rank_counts(queries, keys, target, score=score, impl="reference"))
    threads = torch.get_num_threads()
    try:
        for tile, count in [(None, 1), ((9, 1000), 2), ((1000, 40), 1), ((31, 64), 2)]:
            torch.set_num_threads(count)
            got = table(rank_counts(queries, keys, target, score=score, tile=tile))
            torch.testing.assert_close(got, expected, rtol=0, atol=0)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("score", SCORES)
def test_collapsed_keys_tie_exactly(score, dtype):
    queries = torch.randn(9, 50).to(dtype)
    keys = torch.randn(1, 50).to(dtype).repeat(61, 1)
    counts = rank_counts(queries, keys, torch.arange(9), score=score, tile=(4, 7))
    assert table(counts).tolist() == [[0, 60, 60]] * 9


@pytest.mark.parametrize("impl", IMPLS)
def test_exclusion_of_the_target_changes_nothing(impl):
    queries, keys, target = problem(20, 33, 5)
    hidden = {(i, (i * 3) % 33) for i in range(20)}
    with_target = hidden | {(i, int(t)) for i, t in enumerate(target)}
    got = [
        table(rank_counts(queries, keys, target, exclude=csr(h, 20), impl=impl))
        for h in (hidden, with_target)
    ]
    assert torch.equal(*got)


def test_everything_excluded_leaves_no_candidate():
    queries, keys, target = problem(5, 8, 3)
    everything = csr(set(itertools.product(range(5), range(8))), 5)
    assert table(rank_counts(queries, keys, target, exclude=everything)).eq(0).all()


def test_diagonal_and_group_exclusions():
    _, keys, _ = problem(1, 40, 6)
    group = torch.arange(40) % 7
    target = (torch.arange(40) + 1) % 40
    exclude = Exclude.diagonal() | Exclude.same_group(group, group)
    hidden = {(i, j) for i in range(40) for j in range(40) if i % 7 == j % 7}
    got = rank_counts(keys, keys, target, exclude=exclude, tile=(9, 11))
    assert torch.equal(table(got), loops(keys, keys, target, hidden=hidden))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", ["dot", "l1"])
def test_several_targets_of_one_query(score, impl):
    queries, keys, _ = problem(11, 23, 4)
    index = torch.tensor([0] * 9 + [2] * 3 + [3, 3, 9] + [10] * 5)  # some queries have none
    target = torch.arange(len(index)) % 23
    hidden = {(i, j) for i in range(11) for j in range(23) if (i + j) % 4 == 0}
    got = rank_counts(
        queries,
        keys,
        target,
        score=score,
        exclude=csr(hidden, 11),
        query_index=index,
        tile=(4, 10),
        impl=impl,
    )
    expected = loops(queries, keys, target, score=score, hidden=hidden, query_index=index)
    assert torch.equal(table(got), expected)


def test_extra_excluded_candidates_and_their_order_do_not_matter():
    queries, keys, target = problem(17, 50, 4)
    plain = rank_counts(queries, keys, target)
    order = torch.randperm(50)
    shuffled = rank_counts(queries, keys[order], torch.argsort(order)[target])
    assert torch.equal(table(plain), table(shuffled))
    more = torch.cat((keys, 100 * torch.randn(5, 4)))
    hidden = set(itertools.product(range(17), range(50, 55)))
    assert torch.equal(
        table(plain), table(rank_counts(queries, more, target, exclude=csr(hidden, 17)))
    )


def test_non_contiguous_inputs_gradients_and_modes():
    queries, keys, target = problem(20, 30, 6)
    expected = table(rank_counts(queries, keys, target, score="l2"))
    wide = torch.zeros(60, 12)
    wide[::2, ::2] = keys
    assert torch.equal(table(rank_counts(queries, wide[::2, ::2], target, score="l2")), expected)
    turned = keys.t().contiguous().t().requires_grad_()
    assert torch.equal(table(rank_counts(queries, turned, target, score="l2")), expected)
    with torch.inference_mode():
        assert torch.equal(table(rank_counts(queries, keys, target, score="l2")), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(table(rank_counts(queries, keys, target, score="l2")), expected)


@pytest.mark.parametrize(("precision", "bits"), [("high", 13), ("medium", 16)])
def test_lowered_matmul_precision_decides_no_rank(precision, bits):
    queries, keys, target = problem(20, 90, 16)
    expected = table(rank_counts(queries, keys, target))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert torch.equal(table(rank_counts(queries, keys, target)), expected)
        tiles = PairTiles(queries, keys, None, "dot", (20, 90))
        # What hardware may make of the operands: their last ``bits`` bits cut off.
        cut = [
            x.view(torch.int32).bitwise_and(-(1 << bits)).view(torch.float32)
            for x in (queries, keys)
        ]
        rows = torch.arange(20)
        error = (cut[0].double() @ cut[1].double().T - queries.double() @ keys.double().T).abs()
        assert (error <= tiles.slack(rows, tiles.anchor(rows, target))[:, None]).all()
        torch.set_float32_matmul_precision("highest")
        tiles = PairTiles(queries, keys, None, "dot", (20, 90))
        assert (error > tiles.slack(rows, tiles.anchor(rows, target))[:, None]).any()
    finally:
        torch.set_float32_matmul_precision(before)


def test_nothing_to_rank():
    counts = rank_counts(torch.empty(0, 3), torch.randn(4, 3), torch.empty(0, dtype=torch.int64))
    assert [len(c) for c in counts] == [0, 0, 0]
    # Vectors without coordinates all score zero.
    counts = rank_counts(torch.empty(2, 0), torch.empty(5, 0), torch.tensor([1, 2]))
    assert table(counts).tolist() == [[0, 4, 4]] * 2


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_scores_are_an_error(score, bad, impl):
    queries, keys, target = problem(30, 41, 4)
    broken = queries.clone()
    broken[13, 2] = bad
    with pytest.raises(NonFiniteScores, match="query 13") as error:
        rank_counts(broken, keys, target, score=score, impl=impl, tile=(8, 10))
    assert error.value.row == 13
    broken = keys.clone()
    broken[40, 1] = bad
    with pytest.raises(NonFiniteScores, match="query 0"):
        rank_counts(queries, broken, target, score=score, impl=impl, tile=(8, 10))
    bias = torch.zeros(41)
    bias[40] = bad
    with pytest.raises(NonFiniteScores):
        rank_counts(queries, keys, target, key_bias=bias, score=score, impl=impl)


def test_overflow_is_found_and_large_finite_scores_are_ranked():
    queries, keys, target = problem(6, 9, 4)
    keys[7] = 1e30
    queries[4] = 1e30
    with pytest.raises(NonFiniteScores, match="query 4"):
        rank_counts(queries, keys, target)
    # Norms alone cannot rule out an overflow here, yet there is none.
    queries = torch.tensor([[3e38, 0.0], [1.0, 0.0]])
    keys = torch.tensor([[0.1, 3e38], [0.2, 1.0], [0.3, 0.0]])
    assert table(rank_counts(queries, keys, torch.tensor([1, 0]))).tolist() == [
        [1, 0, 2],
        [2, 0, 2],
    ]


@pytest.mark.parametrize("score", SCORES)
def test_no_tensor_of_queries_by_keys_is_formed(score, largest):
    queries, keys, target = problem(300, 5000, 16)
    ptr = torch.arange(301) * 3
    exclude = Exclude.csr(ptr, torch.randint(5000, (900,)))
    with largest:
        rank_counts(queries, keys, target, score=score, exclude=exclude)
    assert largest.entries <= 256 * 1024 < 300 * 5000
    with largest:
        rank_counts(queries, keys, target, score=score, exclude=exclude, tile=(64, 128))
    assert largest.entries <= max(keys.numel(), 1 << 18)
    with largest:
        rank_counts(queries, keys, target, score="dot", exclude=exclude, impl="chunked")
        _ = queries @ keys.T  # the mode does see a full matrix
    assert largest.entries == 300 * 5000


def test_count_tile_in_place_and_undecided():
    scores = torch.tensor([[1.0, 2.0, 2.0, -torch.inf], [5.0, 4.9, 0.0, 5.1]])
    counts = RankCounts.zeros(2)
    assert count_tile(scores, torch.tensor([2.0, 5.0]), counts) is None
    count_tile(scores, torch.tensor([2.0, 5.0]), counts)
    assert table(counts).tolist() == [[0, 4, 6], [2, 2, 8]]
    counts = RankCounts.zeros(2)
    slack = torch.tensor([0.0, 0.5])
    undecided = count_tile(scores, torch.tensor([2.0, 5.0]), counts, slack=slack)
    assert undecided.tolist() == [2, 3]
    assert table(counts).tolist() == [[0, 0, 3], [0, 0, 4]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_count_tile_counts_beyond_the_integers_of_halves(dtype):
    counts = RankCounts.zeros(1)
    count_tile(torch.ones(1, 70_001, dtype=dtype), torch.ones(1, dtype=dtype), counts)
    assert table(counts).tolist() == [[0, 70_001, 70_001]]


Q, K, T = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 1, 4])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Q, K, T), {"score": "cosine"}, "cosine"),
        ((Q, K, T), {"impl": "fast"}, "fast"),
        ((Q, torch.randn(5, 3), T), {}, r"\(5, 3\)"),
        ((Q, K.double(), T), {}, "float64"),
        ((Q.long(), K.long(), T), {}, "int64"),
        ((Q, K, T[:2]), {}, r"\(2,\)"),
        ((Q, K, T.int()), {}, "int32"),
        ((Q, K, T + 1), {}, "names 5"),
        ((Q, K, T - 1), {}, "names -1"),
        ((Q[:, :3], K[:, :3], T), {"score": "rotate"}, "odd"),
        ((Q, K, T), {"key_bias": torch.zeros(4)}, r"\(4,\)"),
        ((Q, K, T), {"query_index": torch.tensor([0, 2, 1])}, "not decrease"),
        ((Q, K, T), {"query_index": torch.tensor([0, 1, 3])}, "names 3"),
        ((Q, K, T), {"exclude": Exclude.csr(torch.tensor([0, 0]), T[:0])}, "describes 1"),
        ((Q, K, T), {"tile": (0, 4)}, "at least one row"),
        ((Q, K, T), {"exclude": torch.ones(3, 5).bool()}, "must be an Exclude, got Tensor"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        rank_counts(*arguments, **options)
