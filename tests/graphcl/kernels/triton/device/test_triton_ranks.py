"""Rank counts by the Triton kernel against the definition: equal, whatever ties there are."""

import pytest
import torch
import triton
import triton.language as tl

from graphcl.kernels import Exclude, NonFiniteScores, rank_counts, triton_ranks
from graphcl.kernels.pair_scores import SCORES
from graphcl.kernels.triton_rank_fold import _far

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def problem(q, k, d, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(q, d, generator=generator).to(dtype)
    keys = torch.randn(k, d, generator=generator).to(dtype)
    keys[k - k // 3 :] = keys[: k // 3]  # exact ties, far apart
    target = torch.randint(k, (q,), generator=generator)
    return queries.to(device), keys.to(device), target.to(device)


def exclusions(q, k, device):
    generator = torch.Generator().manual_seed(1)
    counts = torch.randint(5, (q,), generator=generator)
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    listed = Exclude.csr(ptr, torch.randint(k, (int(ptr[-1]),), generator=generator))
    label = [torch.randint(-1, 3, (n,), generator=generator).to(device) for n in (q, k)]
    return {
        "none": None,
        "diagonal": Exclude.diagonal(3),
        "csr": listed,
        "group": Exclude.same_group(*label),
        "union": Exclude.diagonal() | listed.to(device),
    }


def same(mine, wanted):
    return all(torch.equal(a, b) for a, b in zip(mine, wanted, strict=True))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("exclusion", ["none", "diagonal", "csr", "group", "union"])
def test_equals_the_definition(exclusion, dtype, score, device):
    queries, keys, target = problem(17, 35, 6, device, dtype)
    options = {"score": score, "exclude": exclusions(17, 35, device)[exclusion]}
    if dtype == torch.float32:
        options["key_bias"] = torch.linspace(-1, 1, 35, device=device).round(decimals=1)
    mine = rank_counts(queries, keys, target, impl="triton", **options)
    assert same(mine, rank_counts(queries, keys, target, impl="reference", **options))


@pytest.mark.parametrize("score", SCORES)
def test_several_targets_of_one_query(score, device):
    queries, keys, _ = problem(5, 33, 40, device)
    index = torch.tensor([0, 0, 2, 2, 2, 4], device=device)
    target = torch.tensor([1, 32, 7, 7, 0, 31], device=device)
    options = {"score": score, "query_index": index, "exclude": exclusions(5, 33, device)["csr"]}
    mine = rank_counts(queries, keys, target, impl="triton", **options)
    assert same(mine, rank_counts(queries, keys, target, impl="reference", **options))


@pytest.mark.parametrize("score", SCORES)
def test_all_pairs_undecided(score, device, monkeypatch):
    """A collapsed model: every pair is decided in float64, a few at a time."""
    monkeypatch.setattr(triton_ranks, "_UNDECIDED", 40)
    queries, keys = torch.ones(9, 4, device=device), torch.ones(20, 4, device=device)
    keys[7] += 1e-7  # more than float64's rounding, less than the kernel's
    target = torch.arange(9, device=device)
    mine = rank_counts(queries, keys, target, score=score, impl="triton")
    assert same(mine, rank_counts(queries, keys, target, score=score, impl="reference"))
    assert int(mine.equal.sum()) > 9 * 10


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38])
def test_a_score_that_is_not_finite_names_its_query(value, score, device):
    queries, keys, target = problem(4, 9, 4, device)
    queries[2] = value
    wanted = pytest.raises(NonFiniteScores, match="query 2")
    if score == "dot" and value == 3e38:
        keys.abs_().add_(1.0)
    with wanted as error:
        rank_counts(queries, keys, target, score=score, impl="triton")
    assert error.value.row == 2


@triton.jit
def place_of_a_row(out_ptr, row, stride):
    tl.store(out_ptr, _far(row, stride))


@pytest.mark.parametrize(("row", "stride"), [(3, 7), (511, 4_600_000), (2047, 2**31 - 1)])
def test_rows_of_distances_lie_as_far_as_they_are(row, stride, device):
    """Beyond 32 bits: of 4.6 million keys the 512th component does."""
    out = torch.zeros(1, dtype=torch.int64, device=device)
    place_of_a_row[(1,)](out, row, stride)
    assert int(out) == row * stride
