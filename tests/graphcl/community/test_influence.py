"""Influence: unit test T6 of PamC's specification, truncation, sampling, odd graphs."""

from typing import Any

import pytest
import torch
from torch import Tensor

import graphcl.community.influence as module
from graphcl.community import influence_pairs, sampled_influence

N = 17


def edges(count: int = 25) -> Tensor:
    drawn = torch.randint(N - 2, (2, count), generator=torch.Generator().manual_seed(1))
    return drawn[:, drawn[0] != drawn[1]]  # the last two nodes have no edge


def dense_walk(edge_index: Tensor, nodes: int = N) -> Tensor:
    matrix = torch.zeros(nodes, nodes, dtype=torch.float64)
    matrix[edge_index[0], edge_index[1]] = 1
    matrix = torch.maximum(matrix, matrix.T).fill_diagonal_(1)
    return matrix / matrix.sum(1, keepdim=True)


def dense(pairs: Tensor, weight: Tensor, nodes: int = N) -> Tensor:
    matrix = torch.zeros(nodes, nodes, dtype=torch.float64)
    matrix[pairs[0], pairs[1]] = weight.double()
    return matrix


@pytest.mark.parametrize("rows", [1, 5, 1 << 22])
@pytest.mark.parametrize("cumulative", [True, False])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_t6_sparse_powers_equal_dense_ones(
    order: int, cumulative: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROW_ENTRIES", rows * N)
    walk = dense_walk(edges())
    powers = [torch.linalg.matrix_power(walk, k) for k in range(1, order + 1)]
    wanted = sum(powers) if cumulative else powers[-1]
    pairs, weight = influence_pairs(edges(), N, order, cumulative=cumulative)
    torch.testing.assert_close(dense(pairs, weight), wanted, rtol=1e-6, atol=1e-7)
    assert bool((weight > 0).all())
    sums = torch.zeros(N).index_add(0, pairs[0], weight)
    torch.testing.assert_close(sums, torch.full((N,), float(order if cumulative else 1)))
    ids = pairs[0] * N + pairs[1]
    assert torch.equal(ids, ids.unique())


def test_repeated_edges_directions_and_self_loops_count_once() -> None:
    clean = influence_pairs(edges(), N, 3)
    loops = torch.arange(0, N, 2).expand(2, -1)
    messy = torch.cat([edges(), edges()[:, :9], edges().flip(0), loops], 1)
    for ours, theirs in zip(influence_pairs(messy, N, 3), clean, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("keep", [1, 3, 100])
def test_the_largest_of_each_row_are_kept(keep: int) -> None:
    full = dense(*influence_pairs(edges(), N, 3))
    pairs, weight = influence_pairs(edges(), N, 3, keep=keep)
    kept = dense(pairs, weight)
    for node in range(N):
        found = kept[node][kept[node] > 0].sort(descending=True).values
        wanted = full[node][full[node] > 0].sort(descending=True).values[:keep]
        torch.testing.assert_close(found, wanted)
    at = pairs[0], pairs[1]
    torch.testing.assert_close(kept[at], full[at])


def test_ties_are_not_broken_by_the_order_of_nodes() -> None:
    hub = torch.stack([torch.full((400,), 200), torch.arange(401)[torch.arange(401) != 200]])
    pairs, _ = influence_pairs(hub, 401, 1, keep=100)
    kept = pairs[1, pairs[0] == 200]
    assert len(kept) == 100
    assert abs(float(kept.double().mean()) - 200) < 40  # standard error 10
    assert torch.equal(pairs, influence_pairs(hub, 401, 1, keep=100)[0])


def test_a_graph_without_edges_is_its_own_influence() -> None:
    nothing = torch.empty(2, 0, dtype=torch.long)
    for pairs, weight in (influence_pairs(nothing, 4, 3), sampled_influence(nothing, 4, 3, 2)):
        assert torch.equal(pairs, torch.arange(4).expand(2, -1))
        assert torch.equal(weight, torch.full((4,), 3.0))


@pytest.mark.parametrize("cumulative", [True, False])
def test_walks_are_unbiased(cumulative: bool) -> None:
    wanted = dense(*influence_pairs(edges(), N, 3, cumulative=cumulative))
    generator = torch.Generator().manual_seed(0)
    walks = 4000
    pairs, weight = sampled_influence(
        edges(), N, 3, walks, cumulative=cumulative, generator=generator
    )
    found = dense(pairs, weight)
    sums = torch.zeros(N).index_add(0, pairs[0], weight)
    torch.testing.assert_close(sums, torch.full((N,), 3.0 if cumulative else 1.0))
    # Five standard deviations of a share, three steps that may all agree.
    assert float((found - wanted).abs().max()) < 5 * 3 * 0.5 / walks**0.5 * 0.6
    few = torch.zeros(N, N, dtype=torch.float64)
    for _ in range(400):
        few += dense(*sampled_influence(edges(), N, 3, 5, cumulative=cumulative)) / 400
    assert float((few - wanted).abs().max()) < 0.12


def test_walks_repeat_with_their_generator() -> None:
    draws = [
        sampled_influence(edges(), N, 2, 3, generator=torch.Generator().manual_seed(s))
        for s in (0, 0, 1)
    ]
    assert torch.equal(draws[0][0], draws[1][0])
    assert draws[0][0].shape != draws[2][0].shape or not torch.equal(draws[0][0], draws[2][0])


def test_order_four_is_never_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """At mean degree 8 the fourth power of 20000 nodes has tens of millions of entries."""
    nodes, held = 20_000, []
    monkeypatch.setattr(module, "_ROW_ENTRIES", 1 << 20)
    real = module._largest

    def noting(matrix: Any, *settings: Any) -> Any:
        held.append(matrix.nnz)
        return real(matrix, *settings)

    monkeypatch.setattr(module, "_largest", noting)
    drawn = torch.randint(nodes, (2, 2 * nodes), generator=torch.Generator().manual_seed(0))
    pairs, _ = influence_pairs(drawn, nodes, 4, keep=16)
    assert pairs.shape[1] <= 16 * nodes
    assert max(held) <= 1 << 20
    assert sum(held) > 4_000_000


def test_sampling_at_scale_allocates_for_walks_alone(largest: Any) -> None:
    nodes = 100_000

    with largest:
        sampled_influence(torch.randint(nodes, (2, 2 * nodes)), nodes, 3, 2)
    assert largest.entries <= 2 * 2 * 3 * nodes


def test_too_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAIRS", 50)
    with pytest.raises(ValueError, match=r"more than 50 pairs.*keep=64"):
        influence_pairs(edges(), N, 4)
    assert influence_pairs(edges(), N, 4, keep=2)[0].shape[1] <= 50


def test_errors() -> None:
    for call, words in (
        (lambda: influence_pairs(edges()[0], N, 1), "edge_index"),
        (lambda: influence_pairs(edges(), 3, 1), "num_nodes is 3"),
        (lambda: influence_pairs(edges() - 5, N, 1), "node ids -"),
        (lambda: influence_pairs(edges().double(), N, 1), "float64: give integers"),
        (lambda: influence_pairs(edges() > 0, N, 1), "bool: give integers"),
        (lambda: influence_pairs(edges(), N, 0), "order=0"),
        (lambda: influence_pairs(edges(), 0, 1), "num_nodes=0"),
        (lambda: influence_pairs(edges(), N, 1, keep=0), "keep"),
        (lambda: sampled_influence(edges(), N, 1, 0), "walks"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
