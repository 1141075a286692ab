"""Exclusions: definitions, evaluation tile by tile, unions, symmetry, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.kernels import Exclude, negative_logsumexp
from graphcl.kernels.tiles import blocks

Hidden = Callable[[int, int], bool]
SIZES = [(1, 1), (2, 1), (1, 5), (7, 12), (23, 9), (63, 127)]


def diagonal(offset: int) -> Callable[[int, int], tuple[Exclude, Hidden]]:
    return lambda q, k: (Exclude.diagonal(offset), lambda i, j: j == i + offset)


def csr(num_queries: int, num_keys: int) -> tuple[Exclude, Hidden]:
    lists = [
        torch.randint(num_keys, (int(torch.randint(2 * num_keys, ())),)).tolist()
        for _ in range(num_queries)
    ]
    lists[0] = []
    if num_queries > 2:
        lists[2] = [*range(num_keys), 0]
    ptr = torch.tensor([0, *map(len, lists)]).cumsum(0)
    index = torch.tensor([j for found in lists for j in found], dtype=torch.long)
    return Exclude.csr(ptr, index), lambda i, j: j in lists[i]


def group(num_queries: int, num_keys: int) -> tuple[Exclude, Hidden]:
    rows, columns = torch.randint(-2, 3, (num_queries,)), torch.randint(-2, 3, (num_keys,))
    return (
        Exclude.same_group(rows, columns),
        lambda i, j: int(rows[i]) >= 0 and int(rows[i]) == int(columns[j]),
    )


def union(num_queries: int, num_keys: int) -> tuple[Exclude, Hidden]:
    parts = [build(num_queries, num_keys) for build in (diagonal(3), group, csr)]
    return (
        parts[0][0] | parts[1][0] | parts[2][0],
        lambda i, j: any(hidden(i, j) for _, hidden in parts),
    )


BUILDERS: dict[str, Callable[[int, int], tuple[Exclude, Hidden]]] = {
    "diagonal": diagonal(0),
    "above": diagonal(2),
    "below": diagonal(-3),
    "beyond": diagonal(1000),
    "csr": csr,
    "group": group,
    "union": union,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BUILDERS)
def test_dense_and_tiles_equal_loops(name: str, size: tuple[int, int]) -> None:
    exclude, hidden = BUILDERS[name](*size)
    wanted = torch.tensor([[hidden(i, j) for j in range(size[1])] for i in range(size[0])])
    assert torch.equal(exclude.dense(*size), wanted)
    for height, width in [(1, 4), (5, 3), (16, 50), (1000, 1000)]:
        whole = torch.full(size, torch.nan)  # whatever was there is overwritten
        for rows in blocks(size[0], height):
            hide = exclude.rows(rows.start, rows.stop)
            for columns in blocks(size[1], width):
                hide(whole[rows, columns], columns.start, columns.stop)
        assert torch.equal(whole == -torch.inf, wanted)
        assert bool(whole[~wanted].isnan().all())


@pytest.mark.parametrize("name", ["diagonal", "above", "group"])
@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_empty_sizes(name: str, size: tuple[int, int]) -> None:
    exclude, _ = BUILDERS[name](*size)
    assert exclude.dense(*size).shape == size
    nothing = torch.zeros(size[0] + 1, dtype=torch.long)
    csr = Exclude.csr(nothing, torch.zeros(0, dtype=torch.long))
    assert (csr | exclude).dense(*size).shape == size


def test_hand_written() -> None:
    exclude = Exclude.csr(torch.tensor([0, 2, 2, 3]), torch.tensor([3, 0, 1]))
    assert exclude.dense(3, 4).int().tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    labels = torch.tensor([0, -1, 1])
    assert Exclude.same_group(labels, labels).dense(3, 3).int().tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 0, 1],
    ]
    assert Exclude.diagonal(1).dense(2, 3).int().tolist() == [[0, 1, 0], [0, 0, 1]]
    assert Exclude.diagonal(-1).dense(3, 2).int().tolist() == [[0, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8, torch.int64])
def test_integer_types(kind: torch.dtype) -> None:
    ptr, index = torch.tensor([0, 2, 3]), torch.tensor([2, 0, 1])
    wanted = Exclude.csr(ptr, index).dense(2, 3)
    assert torch.equal(Exclude.csr(ptr.to(kind), index.to(kind)).dense(2, 3), wanted)
    rows, columns = torch.tensor([0, 1]), torch.tensor([1, 0, 2])
    wanted = Exclude.same_group(rows, columns).dense(2, 3)
    assert torch.equal(Exclude.same_group(rows.to(kind), columns.to(kind)).dense(2, 3), wanted)


def test_strided_labels_and_ids() -> None:
    labels = torch.tensor([0, 9, 1, 9, 0, 9])[::2]
    assert torch.equal(
        Exclude.same_group(labels, labels).dense(3, 3),
        Exclude.same_group(labels.contiguous(), labels.contiguous()).dense(3, 3),
    )
    ptr, index = torch.tensor([0, 9, 1, 9, 2])[::2], torch.tensor([1, 9, 0, 9])[::2]
    assert Exclude.csr(ptr, index).dense(2, 2).int().tolist() == [[0, 1], [1, 0]]


def test_union_is_a_set() -> None:
    one, other = csr(9, 14)[0], group(9, 14)[0]
    wanted = one.dense(9, 14) | other.dense(9, 14)
    for exclude in (one | other, other | one, one | one | other, (one | other) | (other | one)):
        assert torch.equal(exclude.dense(9, 14), wanted)
    with pytest.raises(TypeError):
        one | torch.zeros(9, 14, dtype=torch.bool)


def test_symmetry_is_claimed_only_where_it_holds() -> None:
    labels = torch.randint(3, (9,))
    symmetric = [
        Exclude.diagonal(),
        Exclude.same_group(labels, labels),
        Exclude.diagonal() | Exclude.same_group(labels, labels),
    ]
    for exclude in symmetric:
        assert exclude.symmetric
        mask = exclude.dense(9, 9)
        assert torch.equal(mask, mask.T)
    others = [Exclude.diagonal(1), csr(9, 9)[0], group(9, 9)[0], symmetric[2] | Exclude.diagonal(2)]
    for exclude in others:
        assert not exclude.symmetric
        mask = exclude.dense(9, 9)
        assert not torch.equal(mask, mask.T)


@pytest.mark.parametrize("name", BUILDERS)
def test_moving_keeps_the_pairs(name: str) -> None:
    exclude, _ = BUILDERS[name](9, 14)
    moved = exclude.to(torch.device("cpu"))
    assert moved.symmetric == exclude.symmetric
    assert torch.equal(moved.dense(9, 14), exclude.dense(9, 14))


def test_shards_of_queries_use_the_offset(small_tiles: Any) -> None:
    """Two halves of the queries, each with its own offset, give what all of them give."""
    z = torch.randn(41, 3)
    whole = negative_logsumexp(z, z, exclude=Exclude.diagonal())
    halves = [
        negative_logsumexp(z[:17], z, exclude=Exclude.diagonal(0)),
        negative_logsumexp(z[17:], z, exclude=Exclude.diagonal(17)),
    ]
    torch.testing.assert_close(torch.cat(halves), whole)


def test_excluded_pairs_may_hold_anything(small_tiles: Any) -> None:
    """A similarity that overflows at an excluded pair does not show."""
    z = torch.randn(20, 3)
    z[4] = 1e30
    hidden = torch.full((20,), 4)
    out = negative_logsumexp(z[:4], z, exclude=Exclude.csr(torch.arange(5), hidden[:4]))
    keep = torch.arange(20) != 4
    torch.testing.assert_close(out, negative_logsumexp(z[:4], z[keep]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("name", BUILDERS)
def test_on_cuda(name: str, where: str, impl: str) -> None:
    exclude, _ = BUILDERS[name](23, 37)
    queries, keys = torch.randn(23, 4), torch.randn(37, 4)
    wanted = negative_logsumexp(queries, keys, exclude=exclude)
    moved = exclude.to(torch.device(where, 0) if where == "cuda" else torch.device(where))
    got = negative_logsumexp(queries.cuda(), keys.cuda(), exclude=moved, impl=impl)
    torch.testing.assert_close(got.cpu(), wanted)


def apply(exclude: Exclude) -> Tensor:
    return negative_logsumexp(torch.zeros(2, 2), torch.zeros(3, 2), exclude=exclude)


def ids(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: Exclude.csr(ids(0, 1)[None], ids(0)), r"\(1, 2\)"),
        (lambda: Exclude.csr(ids(0, 1), ids(0)[None]), r"\(1, 1\)"),
        (lambda: Exclude.csr(ids(), ids()), r"\(0,\)"),
        (lambda: Exclude.csr(ids(0, 1).float(), ids(0)), "float32"),
        (lambda: Exclude.csr(ids(0, 1), ids(0).double()), "float64"),
        (lambda: Exclude.csr(ids(1, 2), ids(0, 1)), "starts at 1"),
        (lambda: Exclude.csr(ids(0, 3), ids(0, 1)), "= 2.* ends at 3"),
        (lambda: Exclude.csr(ids(0, 2, 1, 2), ids(0, 1)), "decreases"),
        (lambda: apply(Exclude.csr(ids(0, 1), ids(0))), "1 queries.* 2"),
        (lambda: apply(Exclude.csr(ids(0, 1, 2), ids(0, 3))), "key 3.*0 to 2"),
        (lambda: apply(Exclude.csr(ids(0, 1, 2), ids(0, -1))), "key -1"),
        (lambda: Exclude.same_group(ids(0, 1).float(), ids(0)), "query_group.*float32"),
        (lambda: Exclude.same_group(ids(0, 1), ids(0)[None]), r"key_group.*\(1, 1\)"),
        (lambda: apply(Exclude.same_group(ids(0, 1), ids(0, 1))), "2 and 2 labels.* 3 keys"),
        (
            lambda: apply(Exclude.diagonal() | Exclude.same_group(ids(0), ids(0, 1, 2))),
            "1 and 3 labels.* 2",
        ),
        (lambda: Exclude.same_group(ids(0), ids(0, 1)).dense(2, 2), "1 and 2 labels"),
    ],
)
def test_errors_name_the_value(call: Callable[[], Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        call()
