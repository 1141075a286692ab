"""Budgets: their formula, their quantile against the exact distribution, and bad graphs."""

import itertools
import math

import pytest
import torch

from graphcl.pot import edge_budgets

STAR = torch.tensor([[0, 1, 0, 2, 0, 3, 0, 4], [1, 0, 2, 0, 3, 0, 4, 0]])


def complete(nodes: int) -> torch.Tensor:
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    return torch.tensor(pairs).T


def test_mean_budget_is_the_rounded_rate_and_spares_the_last_edge() -> None:
    for degree, p in itertools.product((1, 2, 5, 9), (0.0, 0.1, 0.4, 0.5, 1.0)):
        found = edge_budgets(complete(degree + 1), p, degree + 1)
        assert found.tolist() == [min(degree - 1, round(p * degree))] * (degree + 1)


def test_rates_by_edge_are_summed_over_the_edges_into_a_node() -> None:
    p = torch.tensor([0.1, 0.3, 0.1, 0.5, 0.1, 0.4, 0.1, 0.7])
    # Into node 0 come the odd places: 1.9; into every leaf one edge, which it keeps.
    assert edge_budgets(STAR, p, 6).tolist() == [2, 0, 0, 0, 0, 0]
    order = torch.randperm(8)
    assert edge_budgets(STAR[:, order], p[order], 6).tolist() == [2, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("degree", [1, 2, 5, 10, 30])
def test_quantile_is_exceeded_with_probability_at_most_delta(degree: int) -> None:
    p, delta = 0.4, 0.05
    budget = int(edge_budgets(complete(degree + 1), p, degree + 1, delta=delta)[0])

    def tail(limit: int) -> float:
        return sum(
            math.comb(degree, k) * p**k * (1 - p) ** (degree - k)
            for k in range(limit + 1, degree + 1)
        )

    assert tail(budget) <= delta or budget == degree - 1
    assert budget == 0 or tail(budget - 1) > delta
    assert {10: 7, 30: 16}.get(degree, budget) == budget  # by hand


def test_quantile_of_unequal_rates_covers_their_exact_distribution() -> None:
    nodes, delta = 9, 0.1
    edges = complete(nodes)
    p = torch.rand(edges.shape[1])
    budget = edge_budgets(edges, p, nodes, delta=delta)
    rates = torch.zeros(nodes, nodes, dtype=torch.double)
    rates[edges[0], edges[1]] = p.double()
    rates = (rates + rates.T) / 2  # of the coins of undirected edges
    for node in range(nodes):
        chance = torch.ones(1, dtype=torch.double)
        for rate in rates[edges[0, edges[1] == node], node]:
            kept = torch.cat([chance * (1 - rate), torch.zeros(1)])
            chance = kept + torch.cat([torch.zeros(1), chance * rate])
        tail = float(chance[int(budget[node]) + 1 :].sum())
        assert tail <= delta or int(budget[node]) == nodes - 2


def test_quantile_counts_both_directions_of_an_edge() -> None:
    """Only the way out of the hub has a rate, but the coin takes the edge from both ends."""
    p = torch.tensor([0.8, 0.0]).repeat(4)
    assert edge_budgets(STAR, p, 5).tolist() == [0] * 5
    wanted = edge_budgets(STAR, 0.4, 5, delta=0.1)
    assert edge_budgets(STAR, p, 5, delta=0.1).tolist() == wanted.tolist() == [3, 0, 0, 0, 0]


def test_isolated_nodes_self_loops_and_no_edges() -> None:
    loops = torch.cat([STAR, torch.tensor([[0, 5, 5], [0, 5, 5]])], 1)
    assert torch.equal(edge_budgets(loops, 0.5, 7), edge_budgets(STAR, 0.5, 7))
    rates = torch.cat([torch.full((8,), 0.5), torch.ones(3)])
    assert torch.equal(edge_budgets(loops, rates, 7), edge_budgets(STAR, 0.5, 7))
    assert edge_budgets(torch.empty(2, 0, dtype=torch.long), 0.5, 3).tolist() == [0, 0, 0]
    assert edge_budgets(torch.empty(2, 0, dtype=torch.long), 0.5, 3, delta=0.1).tolist() == [0] * 3


def test_bad_graphs_and_rates() -> None:
    cases = (
        (torch.tensor([[0, 1, 0], [1, 0, 1]]), 0.5, 2, None, r"edge \(0, 1\) more than once"),
        (torch.tensor([[0, 1, 1], [1, 0, 2]]), 0.5, 3, None, r"\(1, 2\) without its reverse"),
        (STAR, 0.5, 4, None, "node ids 0 to 4, num_nodes is 4"),
        (STAR.float(), 0.5, 5, None, "dtype torch.float32"),
        (STAR, 1.5, 5, None, "probability 1.5 is not in"),
        (STAR, torch.rand(3), 5, None, r"shape \(3,\)"),
        (STAR, 0.5, 5, 0.0, r"delta must lie in \(0, 1\), got 0.0"),
    )
    for edges, p, nodes, delta, words in cases:
        with pytest.raises(ValueError, match=words):
            edge_budgets(edges, p, nodes, delta=delta)


def test_equal_rates_by_edge_are_one_rate() -> None:
    star = torch.tensor([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]])
    for delta in (0.05, 0.5, 0.9):
        one = edge_budgets(star, 0.4, 4, delta=delta)
        assert torch.equal(edge_budgets(star, torch.full((6,), 0.4), 4, delta=delta), one)
    rates = torch.tensor([0.2, 0.2, 0.4, 0.4, 0.6, 0.6])  # a mean of 0.4: at least 3 * 0.4
    assert edge_budgets(star, rates, 4, delta=0.5).tolist() == [2, 0, 0, 0]
