"""The budgeted sampler: equal to visits one by one, never beyond a budget, unbiased without one."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from graphcl.views import drop_edges_within
from graphcl.views.budgeted import _first_come

TRIANGLE = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])


def random_graph(nodes: int, density: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    joined = (torch.rand(nodes, nodes, generator=generator) < density).triu(1)
    return (joined | joined.T).nonzero().T.contiguous()


def degrees(edges: Tensor, nodes: int) -> Tensor:
    return torch.bincount(edges[1, edges[0] != edges[1]], minlength=nodes)


def one_by_one(low: Tensor, high: Tensor, left: Tensor) -> list[bool]:
    """The definition."""
    left, taken = left.clone(), []
    for a, b in zip(low.tolist(), high.tolist(), strict=True):
        taken.append(bool(left[a] > 0 and left[b] > 0))
        if taken[-1]:
            left[a] -= 1
            left[b] -= 1
    return taken


@pytest.mark.parametrize("seed", range(20))
def test_rounds_decide_as_visits_one_by_one(seed: int) -> None:
    torch.manual_seed(seed)
    nodes = 4 + seed
    edges = random_graph(nodes, 0.5, seed)
    low, high = edges[:, edges[0] < edges[1]]
    order = torch.randperm(len(low))
    low, high = low[order], high[order]
    left = torch.randint(0, 4, (nodes,))
    assert _first_come(low, high, left).tolist() == one_by_one(low, high, left)


def test_long_chains_of_decisions() -> None:
    """A path visited from one end: every decision hangs on the one before."""
    low = torch.arange(300)
    for budget in (1, 2):
        left = torch.full((301,), budget)
        found = _first_come(low, low + 1, left)
        assert found.tolist() == one_by_one(low, low + 1, left)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0])
def test_no_node_loses_more_than_its_budget_nor_its_last_edge(p: float) -> None:
    for seed in range(5):
        edges = random_graph(30, 0.2, seed)
        before = degrees(edges, 30)
        budget = torch.randint(0, 6, (30,))
        kept = drop_edges_within(edges, p, budget)
        lost = before - degrees(kept, 30)
        assert bool((lost <= budget).all())
        assert bool((degrees(kept, 30)[before > 0] > 0).all())
        assert {*map(tuple, kept.T.tolist())} == {*map(tuple, kept.flip(0).T.tolist())}
        assert bool(lost.any()) == (p > 0)
        # What p = 1 leaves cannot be dropped any further.
        if p == 1:
            room = (lost < budget) & (degrees(kept, 30) > 1)
            low, high = kept
            assert not bool((room[low] & room[high]).any())


def test_without_a_limit_each_edge_falls_with_its_probability() -> None:
    edges = random_graph(12, 0.9, 0)
    budget = degrees(edges, 12)
    p = torch.rand(edges.shape[1]) * 0.4
    wanted = torch.zeros(12, 12)
    wanted[edges[0], edges[1]] = p
    wanted = (wanted + wanted.T) / 2
    found, draws = torch.zeros(12, 12), 1500
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        kept = drop_edges_within(edges, p, budget, generator=generator)
        found[edges[0], edges[1]] += 1
        found[kept[0], kept[1]] -= 1
    assert float((found / draws - wanted).abs().max()) < 5 * (0.25 / draws) ** 0.5


def test_every_edge_of_a_tight_budget_is_equally_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    counts: Counter[tuple[int, int]] = Counter()
    for _ in range(600):
        kept = drop_edges_within(TRIANGLE, 1.0, torch.ones(3).long(), generator=generator)
        left = {tuple(sorted(pair)) for pair in kept.T.tolist()}
        (gone,) = {(0, 1), (1, 2), (0, 2)} - left
        counts[gone] += 1
    assert min(counts.values()) > 150


def test_self_loops_stay_and_copies_fall_together() -> None:
    extra = torch.tensor([[0, 1, 1, 2, 3], [0, 1, 0, 1, 3]])
    edges = torch.cat([TRIANGLE, extra], 1)
    for _ in range(10):
        kept = drop_edges_within(edges, 1.0, torch.full((4,), 5))
        loops = kept[:, kept[0] == kept[1]]
        assert loops.tolist() == [[0, 1, 3], [0, 1, 3]]
        pairs = Counter(tuple(sorted(pair)) for pair in kept.T.tolist() if pair[0] != pair[1])
        # One edge at least stays at every node; with all its copies.
        assert all(n == {(0, 1): 3, (1, 2): 3, (0, 2): 2}[pair] for pair, n in pairs.items())
        assert {node for pair in pairs for node in pair} == {0, 1, 2}


def test_a_seeded_generator_repeats_and_no_edges_are_fine() -> None:
    edges = random_graph(20, 0.3, 1)
    budget = torch.full((20,), 2)
    first, second = (
        drop_edges_within(edges, 0.5, budget, generator=torch.Generator().manual_seed(4))
        for _ in range(2)
    )
    assert torch.equal(first, second)
    none = torch.empty(2, 0, dtype=torch.long)
    assert drop_edges_within(none, 0.5, torch.ones(3).long()).shape == (2, 0)


def test_what_is_refused() -> None:
    for budget, words in (
        (torch.ones(3), "torch.float32"),
        (torch.tensor([1, -1, 1]), ">= 0"),
        (torch.ones(2).long(), "node ids 0 to 2, num_nodes is 2"),
        (torch.ones(3, 1).long(), r"\(3, 1\)"),
    ):
        with pytest.raises(ValueError, match=words):
            drop_edges_within(TRIANGLE, 0.5, budget)
    with pytest.raises(ValueError, match="probability 2"):
        drop_edges_within(TRIANGLE, 2.0, torch.ones(3).long())
