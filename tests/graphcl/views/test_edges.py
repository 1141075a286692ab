from collections import Counter

import pytest
import torch
from torch import Tensor

from graphcl.views.edges import check_edge_index, drop_edges, edge_mask, undirected_edge_ids


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(edge_index: Tensor) -> list[tuple[int, int]]:
    return [(int(u), int(v)) for u, v in edge_index.T]


def symmetric_graph(num_nodes: int = 40, num_edges: int = 300) -> Tensor:
    """Random multigraph, both directions stored, with copies and self loops, shuffled."""
    generator = seeded(11)
    one_way = torch.randint(num_nodes, (2, num_edges), generator=generator)
    both = torch.cat([one_way, one_way.flip(0), one_way[:, :50]], dim=1)
    return both[:, torch.randperm(both.size(1), generator=generator)]


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_identity_and_empty(undirected: bool, as_tensor: bool) -> None:
    edges = symmetric_graph()
    none, all_ = 0.0, 1.0
    if as_tensor:
        none, all_ = torch.zeros(edges.size(1)), torch.ones(edges.size(1))
    assert torch.equal(drop_edges(edges, none, undirected=undirected), edges)
    assert drop_edges(edges, all_, undirected=undirected).shape == (2, 0)


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("p", [0.3, torch.empty(0)])
def test_no_edges(undirected: bool, p: float | Tensor) -> None:
    edges = torch.empty(2, 0, dtype=torch.long)
    assert drop_edges(edges, p, undirected=undirected).shape == (2, 0)


@pytest.mark.parametrize("undirected", [False, True])
def test_seed_decides(undirected: bool) -> None:
    edges = symmetric_graph()
    view = drop_edges(edges, 0.4, undirected=undirected, generator=seeded(5))
    same = drop_edges(edges, 0.4, undirected=undirected, generator=seeded(5))
    other = drop_edges(edges, 0.4, undirected=undirected, generator=seeded(6))
    assert torch.equal(view, same)
    assert view.shape != other.shape or not torch.equal(view, other)


def test_input_is_left_alone_and_order_kept() -> None:
    edges = symmetric_graph()
    before = edges.clone()
    mask = edge_mask(edges, 0.5, generator=seeded(1))
    assert torch.equal(drop_edges(edges, 0.5, generator=seeded(1)), edges[:, mask])
    assert torch.equal(edges, before)


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_directed_rate_and_independence(p: float) -> None:
    edges = torch.tensor([[0, 1], [1, 0]]).repeat(1, 10_000)
    keep = edge_mask(edges, p, generator=seeded()).double()
    std = (p * (1 - p) / keep.numel()) ** 0.5
    assert abs(keep.mean() - (1 - p)) < 4 * std
    forward, backward = keep[0::2], keep[1::2]
    both = (forward * backward).mean()
    assert abs(both - (1 - p) ** 2) < 4 * ((1 - p) ** 2 / forward.numel()) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_undirected_rate(p: float) -> None:
    num_nodes = 400
    one_way = torch.combinations(torch.arange(num_nodes)).T[:, ::4]
    edges = torch.cat([one_way, one_way.flip(0)], dim=1)
    keep = edge_mask(edges, p, undirected=True, generator=seeded()).double()
    count = one_way.size(1)
    assert torch.equal(keep[:count], keep[count:])
    assert abs(keep[:count].mean() - (1 - p)) < 4 * (p * (1 - p) / count) ** 0.5


@pytest.mark.parametrize("seed", range(5))
def test_undirected_keeps_all_copies_together(seed: int) -> None:
    edges = symmetric_graph()
    before = Counter(pairs(edges))
    after = Counter(pairs(drop_edges(edges, 0.5, undirected=True, generator=seeded(seed))))
    assert 0 < len(after) < len(before)
    for (u, v), copies in after.items():
        assert copies == before[u, v]
        assert after[v, u] == before[v, u]


def test_directed_breaks_symmetry() -> None:
    after = set(pairs(drop_edges(symmetric_graph(), 0.5, generator=seeded())))
    assert any((v, u) not in after for u, v in after)


def test_undirected_does_not_depend_on_storage_order() -> None:
    edges = symmetric_graph()
    shuffled = edges[:, torch.randperm(edges.size(1), generator=seeded(2))]
    one, two = (drop_edges(e, 0.5, undirected=True, generator=seeded(7)) for e in (edges, shuffled))
    assert Counter(pairs(one)) == Counter(pairs(two))


def test_undirected_averages_the_two_directions() -> None:
    # Rates 1 and 0 for the directions of one edge: it goes half the time, as a whole.
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 0, 3, 2, 4]])
    p = torch.tensor([1.0, 0.0, 0.2, 0.6, 0.9])
    draws = 3000
    generator = seeded()
    kept = torch.stack(
        [edge_mask(edges, p, undirected=True, generator=generator) for _ in range(draws)]
    ).double()
    expected = 1 - torch.tensor([0.5, 0.5, 0.4, 0.4, 0.9])
    assert ((kept.mean(0) - expected).abs() < 4 * (expected * (1 - expected) / draws).sqrt()).all()
    assert torch.equal(kept[:, 0], kept[:, 1])
    assert torch.equal(kept[:, 2], kept[:, 3])


def test_one_way_edges_may_be_dropped_undirected() -> None:
    edges = torch.tensor([[0, 5, 3], [1, 2, 3]])
    view = drop_edges(edges, torch.tensor([0.0, 1.0, 0.0]), undirected=True)
    assert pairs(view) == [(0, 1), (3, 3)]


def test_undirected_edge_ids_by_hand() -> None:
    edges = torch.tensor([[2, 0, 1, 1, 0, 2], [0, 1, 1, 0, 1, 1]])
    ids, count = undirected_edge_ids(edges)
    assert count == 4
    # (0, 1) < (0, 2) < (1, 1) < (1, 2)
    assert ids.tolist() == [1, 0, 2, 0, 0, 3]


def test_ids_survive_32_bit_node_numbers() -> None:
    edges = torch.tensor([[99_999, 70_000], [70_000, 99_999]], dtype=torch.int32)
    far = torch.tensor([[99_998], [0]], dtype=torch.int32)
    ids, count = undirected_edge_ids(torch.cat([edges, far], dim=1))
    assert count == 2
    assert ids.tolist() == [1, 1, 0]


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("p", [-0.01, 1.01, float("nan"), torch.tensor([0.1, float("nan")])])
def test_bad_probability(p: float | Tensor, undirected: bool) -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        drop_edges(edges, p, undirected=undirected)
    with pytest.raises(ValueError, match="shape"):
        drop_edges(edges, torch.full((3,), 0.5), undirected=undirected)


@pytest.mark.parametrize(
    "edges", [torch.zeros(3, 2, dtype=torch.long), torch.zeros(2, dtype=torch.long)]
)
def test_bad_edge_shape(edges: Tensor) -> None:
    with pytest.raises(ValueError, match="give \\(2, E\\)"):
        drop_edges(edges, 0.5)


def test_bad_edge_type_and_range() -> None:
    with pytest.raises(ValueError, match=r"torch\.float32"):
        drop_edges(torch.zeros(2, 3), 0.5)
    with pytest.raises(ValueError, match="num_nodes is 3"):
        check_edge_index(torch.tensor([[0], [3]]), num_nodes=3)
    with pytest.raises(ValueError, match="ids -1"):
        check_edge_index(torch.tensor([[0], [-1]]), num_nodes=3)
