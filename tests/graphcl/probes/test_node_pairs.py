"""Pair numbers and sampled non-edges against enumeration."""

from itertools import combinations

import pytest
import torch

from graphcl.probes.pairs import (
    pair_number,
    pair_of_number,
    sample_non_edges,
    undirected_pairs,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pairs_are_numbered_densely():
    pairs = torch.tensor(list(combinations(range(23), 2))).T
    numbers = pair_number(pairs[0], pairs[1])
    assert sorted(numbers.tolist()) == list(range(23 * 22 // 2))
    assert torch.equal(pair_of_number(numbers), pairs)


@pytest.mark.parametrize("v", [1, 2, 3, 94_906_266, 2_000_000_011])
def test_large_pair_numbers_are_inverted_exactly(v):
    u = torch.tensor([0, 1, v // 2, v - 1])
    u = torch.unique(u[u < v])
    pairs = torch.stack([u, torch.full_like(u, v)])
    assert torch.equal(pair_of_number(pair_number(*pairs)), pairs)


def test_undirected_pairs_drop_directions_repeats_and_loops():
    edge_index = torch.tensor([[2, 0, 3, 3, 0, 1], [0, 2, 3, 1, 2, 3]])
    assert pair_of_number(undirected_pairs(edge_index, 4)).T.tolist() == [[0, 2], [1, 3]]


def test_all_non_edges_of_a_graph_are_found():
    edges = {(0, 3), (1, 2), (4, 5), (0, 1)}
    edge_index = torch.tensor(sorted(edges)).T
    pairs = sample_non_edges(edge_index, 6, 11, generator=generator())
    assert set(map(tuple, pairs.T.tolist())) == set(combinations(range(6), 2)) - edges
    with pytest.raises(ValueError, match=r"12 non-edges asked for.*6 nodes and 4 edges leave 11"):
        sample_non_edges(edge_index, 6, 12, generator=generator())


@pytest.mark.parametrize("count", [1, 10])
def test_non_edges_are_uniform(count):
    # 52 of 105 pairs are left: a count of 1 draws and rejects repeats, a count of 10 permutes.
    edges = set(list(combinations(range(15), 2))[::2])
    edge_index = torch.tensor(sorted(edges)).T
    rng = generator()
    draws = 4000 // count
    seen = {}
    for _ in range(draws):
        pairs = list(map(tuple, sample_non_edges(edge_index, 15, count, generator=rng).T.tolist()))
        assert len(set(pairs)) == count
        for pair in pairs:
            seen[pair] = seen.get(pair, 0) + 1
    assert set(seen) == set(combinations(range(15), 2)) - edges
    # Expected 4000 / 52 = 77, deviation 8.7.
    assert max(seen.values()) < 77 + 44
    assert min(seen.values()) > 77 - 44


def test_order_is_random():
    pairs = sample_non_edges(torch.empty(2, 0, dtype=torch.int64), 300, 500, generator=generator())
    numbers = pair_number(pairs[0], pairs[1]).double()
    assert torch.corrcoef(torch.stack([numbers, torch.arange(500.0)]))[0, 1].abs() < 0.2


def test_no_pair_of_a_complete_graph_and_none_asked_for():
    edge_index = torch.tensor(list(combinations(range(5), 2))).T
    assert sample_non_edges(edge_index, 5, 0, generator=generator()).shape == (2, 0)
    with pytest.raises(ValueError, match="leave 0"):
        sample_non_edges(edge_index, 5, 1, generator=generator())


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.tensor([[0], [5]]), r"nodes 0..5, expected 0\.\.4"),
        (torch.tensor([[-1], [2]]), r"nodes -1\.\.2"),
        (torch.tensor([0, 1]), r"\(2, E\)"),
        (torch.rand(2, 3), r"integer tensor"),
    ],
)
def test_bad_edges_are_named(edge_index, message):
    with pytest.raises(ValueError, match=message):
        sample_non_edges(edge_index, 5, 1, generator=generator())
