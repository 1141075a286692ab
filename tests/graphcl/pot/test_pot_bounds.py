"""T1: no view in the budget leaves the bounds of the adjacency or of the pre-activations."""

from typing import Any

import pytest
import torch

from graphcl.pot import adjacency_bounds, edge_budgets
from graphcl.pot.adjacency import Interval, check_view
from graphcl.pot.intervals import activate, affine, clean_products, masked_products
from graphcl.views import drop_edges

SLACK = 1e-12


def inside(value: torch.Tensor, interval: Interval) -> bool:
    return bool(((value >= interval.low - SLACK) & (value <= interval.high + SLACK)).all())


def test_bounds_are_those_of_the_definition(problem: Any) -> None:
    one = problem(3)
    bounds = one.bounds()
    degree = torch.bincount(one.edge_index[1], minlength=one.nodes)
    joined = {(int(a), int(b)) for a, b in one.edge_index.T}
    assert len(bounds.source) == len(joined) + one.nodes
    for k, (j, i) in enumerate(zip(bounds.source.tolist(), bounds.target.tolist(), strict=True)):
        assert i == j or (j, i) in joined
        q_i, q_j = int(one.budget[i]), int(one.budget[j])
        clean = 1 / float((degree[i] + 1) * (degree[j] + 1)) ** 0.5
        upper = 1 / float((degree[i] + 1 - q_i) * (degree[j] + 1 - q_j)) ** 0.5
        fixed = i == j or q_i == 0 or q_j == 0
        assert float(bounds.clean[k]) == pytest.approx(clean)
        assert float(bounds.upper[k]) == pytest.approx(upper)
        assert float(bounds.lower[k]) == pytest.approx(clean if fixed else 0.0)
        assert bool(bounds.droppable[k]) != fixed
    assert int(bounds.droppable.sum()) > 20


@pytest.mark.parametrize("slope", [0.0, 0.25, -0.5, 1.5])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_t1_views_in_the_budget_stay_inside(
    depth: int, slope: float, problem: Any, dense: Any
) -> None:
    for seed in range(3):
        one = problem(seed, depth=depth, slope=slope)
        bounds = one.bounds()
        lower, upper = (
            bounds.matrix(bounds.lower).to_dense(),
            bounds.matrix(bounds.upper).to_dense(),
        )
        intervals = one.intervals()
        for _ in range(40):
            view = one.sample()
            check_view(one.edge_index, view, one.budget)
            adjacency = dense(view, one.nodes)
            assert inside(adjacency, Interval(lower, upper))
            hidden = one.x
            for layer, interval in zip(one.layers, intervals, strict=True):
                before = adjacency @ (hidden @ layer.weight) + layer.bias
                assert inside(before, interval)
                hidden = layer.activate(before)
        widths = [float((high - low).mean()) for low, high in intervals]
        assert min(widths) > 0.1  # the samples had room


def test_views_leave_the_clean_intervals_and_bernoulli_views_the_budget(
    problem: Any, dense: Any
) -> None:
    """What the release does, as a check that the tests above can fail."""
    one = problem(0, nodes=40, p=0.4)
    low, high = one.intervals(sound=False)[1]
    left = 0
    for _ in range(20):
        adjacency = dense(one.sample(), one.nodes)
        first, second = one.layers
        hidden = first.activate(adjacency @ (one.x @ first.weight) + first.bias)
        before = adjacency @ (hidden @ second.weight) + second.bias
        left += int(((before < low - SLACK) | (before > high + SLACK)).sum())
    assert left > 0
    with pytest.raises(ValueError, match="edges from node"):
        check_view(one.edge_index, drop_edges(one.edge_index, 0.9, undirected=True), one.budget)
    with pytest.raises(ValueError, match="without its reverse"):
        check_view(one.edge_index, drop_edges(one.edge_index, 0.4), one.budget)


def test_a_rewired_view_is_told() -> None:
    """As many edges at every node as in the graph, but other ones."""
    square = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
    other = torch.tensor([[0, 2, 2, 1, 1, 3, 3, 0], [2, 0, 1, 2, 3, 1, 0, 3]])
    with pytest.raises(ValueError, match=r"has the edge \(0, 2\), which the graph has not"):
        check_view(square, other, torch.ones(4).long())


def test_intervals_are_points_without_a_budget(problem: Any) -> None:
    one = problem(1, budget=torch.zeros(20, dtype=torch.long))
    products = clean_products(one.layers, one.x, one.bounds())
    first = one.bounds().clean_matrix @ products[0] + one.layers[0].bias
    for (low, high), wanted in zip(one.intervals(), (first, None), strict=True):
        torch.testing.assert_close(low, high, rtol=0, atol=1e-14)
        if wanted is not None:
            torch.testing.assert_close(low, wanted)


@pytest.mark.parametrize("slope", [-2.0, -0.5, 0.0, 0.3, 1.0, 3.0])
def test_activation_and_affine_map_are_exact_at_their_corners(slope: float) -> None:
    low = torch.tensor([-2.0, -1.0, 0.0, -3.0, 1.0, 0.0, -1.0], dtype=torch.double)
    high = torch.tensor([-1.0, 2.0, 0.0, 0.0, 4.0, 2.0, -1.0], dtype=torch.double)
    found = activate(Interval(low, high), torch.tensor(slope, dtype=torch.double))
    grid = low + torch.linspace(0, 1, 3001, dtype=torch.double)[:, None] * (high - low)
    values = torch.where(grid < 0, slope * grid, grid)
    torch.testing.assert_close(found.low, values.amin(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(found.high, values.amax(0))
    assert bool((found.low <= values.amin(0) + SLACK).all())
    weight = torch.randn(7, 3, dtype=torch.double)
    mapped = affine(Interval(low[None], high[None]), weight)
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)
    torch.testing.assert_close(mapped.low, (low @ positive + high @ negative)[None])
    torch.testing.assert_close(mapped.high, (high @ positive + low @ negative)[None])


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_masked_products_are_exact_over_all_masks(layout: str, block: int) -> None:
    from itertools import combinations

    x = torch.randn(7, 6, dtype=torch.double) * (torch.rand(7, 6) < 0.7)
    x[2] = 0
    given = x.to_sparse_csr() if layout == "csr" else x
    weight = torch.randn(6, 4, dtype=torch.double)
    for columns in (1, 2, 6, 9):
        values = []
        for size in range(min(columns, 6) + 1):
            for gone in combinations(range(6), size):
                kept = x.clone()
                kept[:, list(gone)] = 0
                values.append(kept @ weight)
        low, high = masked_products(given, weight, columns, block=block)
        torch.testing.assert_close(low, torch.stack(values).amin(0))
        torch.testing.assert_close(high, torch.stack(values).amax(0))
    assert masked_products(given, weight, 0).known
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        masked_products(given, weight, -1)
    assert torch.equal(masked_products(x * 0, weight, 2).high, torch.zeros(7, 4).double())


def test_masked_products_pass_gradients() -> None:
    x = torch.randn(5, 4, dtype=torch.double)
    weight = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    for side in (0, 1):
        assert torch.autograd.gradcheck(
            lambda w, side=side: masked_products(x, w, 2, block=24)[side], (weight,)
        )


def test_bad_budgets() -> None:
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    for budget, words in (
        (torch.tensor([0, 2, 0]), "budget 2 of node 1 with 2 edges"),
        (torch.tensor([0, -1, 0]), "budget -1 of node 1"),
        (torch.zeros(3), "torch.float32"),
        (torch.zeros(2, 2).long(), r"\(2, 2\)"),
        (torch.zeros(2).long(), "node ids 0 to 2, num_nodes is 2"),
    ):
        with pytest.raises(ValueError, match=words):
            adjacency_bounds(path, budget)


def test_a_graph_without_edges_and_isolated_nodes() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    bounds = adjacency_bounds(none, torch.zeros(3).long())
    for value in (bounds.clean, bounds.lower, bounds.upper):
        assert torch.equal(value, torch.ones(3))
    path = torch.tensor([[0, 1, 2, 2], [1, 0, 2, 2]])  # with two copies of a self loop
    bounds = adjacency_bounds(path, edge_budgets(path, 0.9, 4))
    assert bounds.target.tolist() == [0, 0, 1, 1, 2, 3]
    assert bounds.clean.tolist() == pytest.approx([0.5] * 4 + [1, 1])
