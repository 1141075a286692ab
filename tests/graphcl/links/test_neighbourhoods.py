"""Neighbour lists, heuristics and unit tests T1, T4 and T5 of NCN's specification."""

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from graphcl.data import load_dataset
from graphcl.data.ogbl_ddi import read_ogbl_ddi
from graphcl.links import Neighbourhoods, adamic_adar, common_neighbours, resource_allocation
from graphcl.links.heuristics import heuristic_scores
from graphcl.links.neighbourhoods import common_neighbour_sum, pool
from graphcl.ranking.ogb import ogb_hits_at_k

N = 17


def drawn(seed: int = 0, count: int = 40) -> Tensor:
    return torch.randint(N, (2, count), generator=torch.Generator().manual_seed(seed))


def dense(graph: Neighbourhoods) -> Tensor:
    found = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    found[tuple(graph.edge_index)] = 1
    return found


def test_repeated_edges_count_once_and_loops_not_at_all() -> None:
    graph = Neighbourhoods(torch.tensor([[0, 1, 0, 2, 2], [1, 0, 1, 2, 3]]), 5)
    assert graph.edge_index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert graph.degree.tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("budget", [1, 7, 1000])
def test_t1_pooled_common_neighbours_equal_the_dense_sum(budget: int) -> None:
    graph, pairs = Neighbourhoods(drawn(), N), drawn(1, 30)
    a = dense(graph)
    x = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    got = common_neighbour_sum(graph, pairs, x, budget=budget)
    want = (a[pairs[0]] * a[pairs[1]]) @ x
    torch.testing.assert_close(got, want)
    up = torch.randn_like(want)
    ours, theirs = (torch.autograd.grad(one, x, up)[0] for one in (got, want))
    torch.testing.assert_close(ours, theirs)


def test_one_sided_neighbours_equal_their_definition() -> None:
    graph, pairs = Neighbourhoods(drawn(), N), drawn(1, 30)
    a = dense(graph)
    mine = a[pairs[0]] * (1 - a[pairs[1]])
    mine[torch.arange(30), pairs[1]] = 0
    got = pool(*graph.only_first(pairs), torch.eye(N, dtype=torch.float64), 30)
    torch.testing.assert_close(got, mine)


def test_t4_targets_leave_in_both_directions_and_nothing_else() -> None:
    graph = Neighbourhoods(drawn(), N)
    targets = torch.cat([graph.edge_index[:, ::5], torch.tensor([[3], [3]])], dim=1)
    rest = graph.without(targets)
    gone = {frozenset(pair) for pair in targets.T.tolist()}
    wanted = [pair for pair in graph.edge_index.T.tolist() if frozenset(pair) not in gone]
    assert rest.edge_index.T.tolist() == wanted
    assert not rest.has(targets).any()
    assert not rest.has(targets.flip(0)).any()
    assert int(rest.degree.sum()) == len(wanted)


def test_t5_heuristics_equal_networkx() -> None:
    graph = Neighbourhoods(drawn(), N)
    other = nx.Graph()
    other.add_nodes_from(range(N))
    other.add_edges_from(graph.edge_index.T.tolist())
    pairs = drawn(1, 60)
    pairs = pairs[:, pairs[0] != pairs[1]]
    ebunch = [tuple(pair) for pair in pairs.T.tolist()]
    count = [float(len(list(nx.common_neighbors(other, u, v)))) for u, v in ebunch]
    assert common_neighbours(graph, pairs).tolist() == count
    assert max(count) > 1
    for ours, theirs in (
        (adamic_adar, nx.adamic_adar_index),
        (resource_allocation, nx.resource_allocation_index),
    ):
        wanted = [score for _, _, score in theirs(other, ebunch)]
        assert ours(graph, pairs).tolist() == pytest.approx(wanted)


def test_adamic_adar_is_the_pooled_weight_of_neighbours() -> None:
    path = Neighbourhoods(torch.tensor([[0, 1], [1, 2]]), 3)
    assert adamic_adar(path, torch.tensor([[0], [2]])).item() == pytest.approx(1 / math.log(2))


def test_a_pair_of_a_node_with_itself_has_its_own_neighbours() -> None:
    star = Neighbourhoods(torch.tensor([[0, 1, 1], [1, 2, 3]]), 4)
    assert resource_allocation(star, torch.tensor([[1], [1]])).tolist() == [3.0]
    assert common_neighbours(star, torch.tensor([[1], [1]])).tolist() == [3.0]


def test_no_edges_and_no_pairs() -> None:
    empty = Neighbourhoods(torch.empty(2, 0, dtype=torch.long), 3)
    assert common_neighbours(empty, torch.tensor([[0, 1], [1, 2]])).tolist() == [0, 0]
    none = torch.empty(2, 0, dtype=torch.long)
    assert common_neighbour_sum(empty, none, torch.ones(3, 2)).shape == (0, 2)


def test_bad_input_is_named() -> None:
    graph = Neighbourhoods(drawn(), N)
    with pytest.raises(ValueError, match="node ids 0 to 9, but there are 3 nodes"):
        Neighbourhoods(torch.tensor([[0], [9]]), 3)
    with pytest.raises(ValueError, match="pairs must be"):
        graph.common(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"torch\.bool"):
        graph.common(torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="one row per node"):
        common_neighbour_sum(graph, drawn(), torch.ones(2, 2))


FILE = Path("LinkPrediction/ogbl-ddi/ogbl_ddi.npz")


def written(root: Path, **changes: np.ndarray) -> Path:
    arrays = {
        "num_nodes": np.array(5),
        "train": np.array([[0, 1], [1, 2]], dtype=np.uint16),
        **{name: np.array([[0, 3]], dtype=np.uint16) for name in ("valid", "valid_neg")},
        **{
            name: np.array([[0, 4], [1, 4], [2, 4]], dtype=np.uint16)
            for name in ("test", "test_neg")
        },
        **changes,
    }
    path = root / FILE
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)
    return root


def test_ddi_file(tmp_path: Path) -> None:
    data = read_ogbl_ddi(written(tmp_path) / FILE)
    assert data.num_nodes == 5
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]
    assert data.test_pairs.tolist() == [[0, 1, 2], [4, 4, 4]]


def test_ddi_file_errors(tmp_path: Path) -> None:
    root = written(tmp_path, valid=np.array([[0, 9]]))
    with pytest.raises(ValueError, match=r"valid of .* outside 0..4"):
        read_ogbl_ddi(root / FILE)
    (root / FILE).write_bytes((root / FILE).read_bytes()[:300])
    with pytest.raises(ValueError, match="is no npz file, or damaged"):
        read_ogbl_ddi(root / FILE)


@pytest.mark.real_data
def test_published_hits_on_ogbl_ddi(data_root: Path) -> None:
    if not (data_root / FILE).is_file():
        pytest.skip(f"no {FILE.as_posix()} under the data root")
    data = load_dataset("ogbl-ddi", data_root)
    graph = Neighbourhoods(data.edge_index, data.num_nodes)
    for split, figures in (("valid", (9.47, 9.66, 7.25)), ("test", (17.73, 18.61, 6.23))):
        positive, negative = (
            heuristic_scores(graph, data[f"{split}{kind}_pairs"]).T for kind in ("", "_neg")
        )
        for k, figure in enumerate(figures):  # OGB's leaderboard, Hits@20 in percent
            found = ogb_hits_at_k(positive[k].contiguous(), negative[k].contiguous(), 20)
            assert round(100 * found, 2) == figure
