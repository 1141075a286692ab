"""Composition, PathSim, truncation and ties; unit test T6 of the specification."""

import warnings
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import AddMetaPaths

from graphcl.metapaths import NeighbourGraph, compose, path_sim, top_neighbours
from graphcl.metapaths.neighbours import mean_adjacency

PAPERS, AUTHORS, SUBJECTS = 30, 12, 3


def academic(seed: int = 0, papers: int = PAPERS) -> HeteroData:
    """Papers with one to three authors and one subject each; the last paper has no author."""
    rng = np.random.default_rng(seed)
    data = HeteroData()
    data["paper"].x = torch.from_numpy(rng.normal(size=(papers, 6))).float()
    data["author"].x = torch.from_numpy(rng.normal(size=(AUTHORS, 4))).float()
    data["subject"].num_nodes = SUBJECTS
    pairs = [
        (paper, author)
        for paper in range(papers - 1)
        for author in rng.choice(AUTHORS, rng.integers(1, 4), replace=False)
    ]
    data["paper", "to", "author"].edge_index = torch.tensor(pairs).T.contiguous()
    subjects = torch.from_numpy(rng.integers(SUBJECTS, size=papers))
    data["paper", "to", "subject"].edge_index = torch.stack([torch.arange(papers), subjects])
    return data


def relabelled(data: HeteroData, order: torch.Tensor) -> HeteroData:
    """Paper ``order[i]`` becomes paper i."""
    moved, place = data.clone(), torch.argsort(order)
    moved["paper"].x = data["paper"].x[order]
    for kind in ("author", "subject"):
        edges = data["paper", "to", kind].edge_index.clone()
        edges[0] = place[edges[0]]
        moved["paper", "to", kind].edge_index = edges[:, torch.randperm(edges.shape[1])]
    return moved


def test_counts_are_walks_of_the_type_sequence() -> None:
    data = academic()
    graph = nx.Graph()
    graph.add_nodes_from(("p", i) for i in range(PAPERS))
    for p, a in data["paper", "to", "author"].edge_index.T.tolist():
        graph.add_edge(("p", p), ("a", a))
    counts = compose(data, "PAP").counts().toarray()
    for i in range(PAPERS):
        for j in range(PAPERS):
            joint = set(graph[("p", i)]) & set(graph[("p", j)])
            assert counts[i, j] == len(joint)


def test_counts_equal_those_of_pyg() -> None:
    data = academic()
    types = [("paper", "author"), ("author", "paper")]
    both = data.clone()
    both["author", "to", "paper"].edge_index = data["paper", "to", "author"].edge_index.flip(0)
    theirs = AddMetaPaths([types], weighted=True)(both)["paper", "metapath_0", "paper"]
    dense = np.zeros((PAPERS, PAPERS))
    dense[tuple(theirs.edge_index.numpy())] = theirs.edge_weight.numpy()
    assert np.array_equal(compose(both, types).counts().toarray(), dense)


def test_strings_names_and_edge_types_say_the_same() -> None:
    data = academic()
    wanted = compose(data, "PAPSP").counts().toarray()
    triples = [
        ("paper", "to", "author"),
        ("author", "to", "paper"),
        ("paper", "to", "subject"),
        ("subject", "to", "paper"),
    ]
    for path in ("paper-author-paper-subject-paper", triples, [(a, b) for a, _, b in triples]):
        assert np.array_equal(compose(data, path).counts().toarray(), wanted)
    assert compose(data, "pas"[:2]).types == ("paper", "author")


def test_blocks_and_diagonal_are_those_of_the_whole() -> None:
    path = compose(academic(), "PAPAP")
    whole = path.counts()
    parts = sp.vstack([block for _, block in path.blocks(7)])
    assert np.array_equal(parts.toarray(), whole.toarray())
    assert np.array_equal(path.diagonal(), whole.diagonal())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("PAS", "does not compose: no relations join 'author' and 'subject'"),
        ("PXP", "'X' in meta-path 'PXP' stands for no of the node types"),
        ("P", "has no hop"),
        ("", "has no hop"),
        ([], "has no hop"),
        ([("paper", "author"), ("subject", "paper")], "hop 0 ends at 'author', hop 1 starts at"),
        ([("paper", "cites", "author")], "under the name 'cites'"),
        ([("paper",)], "give \\(source, target\\)"),
    ],
)
def test_a_path_that_does_not_compose(path: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compose(academic(), path)


def test_what_is_ambiguous_or_out_of_range_is_told() -> None:
    data = academic()
    data["person"].num_nodes = 3
    with pytest.raises(ValueError, match="'P' in meta-path 'PAP' stands for several"):
        compose(data, "PAP")
    data["paper", "edited", "author"].edge_index = torch.zeros(2, 1, dtype=torch.long)
    with pytest.raises(ValueError, match="several relations join 'paper' and 'author'"):
        compose(data, "paper-author-paper")
    assert compose(data, [("paper", "edited", "author")]).counts().sum() == 1
    data["paper", "edited", "author"].edge_index += 99
    with pytest.raises(ValueError, match=r"name 'paper' nodes 99\.\.99, but there are 30"):
        compose(data, [("paper", "edited", "author")])
    with pytest.raises(ValueError, match="leads from 'paper' to 'author'"):
        top_neighbours(compose(data, [("paper", "to", "author")]), 3)
    path = compose(data, "paper-subject-paper")
    for options, words in (
        ({"n": 0}, "n must be at least 1"),
        ({"n": 2, "ties": "first"}, "unknown ties 'first'"),
        ({"n": 2, "ties": "value"}, "the nodes have none"),
    ):
        with pytest.raises(ValueError, match=words):
            top_neighbours(path, **options)  # type: ignore[arg-type]


def test_t6_path_sim_is_symmetric_and_one_on_the_diagonal() -> None:
    path = compose(academic(), "PAP")
    counts = path.counts()
    found = path_sim(counts, path.diagonal()).toarray()
    dense = counts.toarray()
    for i, j in zip(*counts.nonzero(), strict=True):
        assert found[i, j] == 2 * dense[i, j] / (dense[i, i] + dense[j, j])
    assert np.array_equal(found, found.T)
    assert (found[:-1, :-1].diagonal() == 1).all()
    assert found[-1].sum() == 0  # no author, no instance


def loops_and_pairs(graph: NeighbourGraph) -> set[tuple[int, int]]:
    return set(map(tuple, graph.edge_index.T.tolist()))


@pytest.mark.parametrize("n", [1, 2, 5, 100, None])
@pytest.mark.parametrize("ties", ["random", "value"])
@pytest.mark.parametrize("name", ["PAP", "PSP", "PAPAP"])
def test_top_n_by_a_loop(n: int | None, ties: Any, name: str) -> None:
    data = academic()
    path = compose(data, name)
    similarity = path_sim(path.counts(), path.diagonal()).toarray()
    graph = top_neighbours(path, n, ties=ties, seed=3, features=data["paper"].x)
    found = loops_and_pairs(graph)
    assert {(j, i) for i, j in found} == found
    assert {(i, i) for i in range(PAPERS)} <= found
    counts = path.counts().toarray()
    for (i, j), weight in zip(graph.edge_index.T.tolist(), graph.weight.tolist(), strict=True):
        assert weight == (counts[i, j] or 1)
    unit = torch.nn.functional.normalize(data["paper"].x.double()).numpy()
    chosen = set()
    for i in range(PAPERS):
        others = [j for j in similarity[i].nonzero()[0] if j != i]
        room = len(others) if n is None else n - 1
        others.sort(key=lambda j: (-similarity[i, j], -(unit[i] @ unit[j])))
        if ties == "value":
            chosen |= {(i, j) for j in others[:room]}
        elif room < len(others):  # what is strictly better than the last one kept is kept
            least = similarity[i, others[room - 1]] if room else np.inf
            chosen |= {(i, j) for j in others if similarity[i, j] > least}
            worse = {(i, j) for j in others if similarity[i, j] < least}
            mine = {(j, i) for j in range(PAPERS) if (j, i) in found}
            assert len(mine - {(i, i)} - worse) >= room
        else:
            chosen |= {(i, j) for j in others}
    chosen |= {(j, i) for i, j in chosen} | {(i, i) for i in range(PAPERS)}
    assert chosen <= found
    if ties == "value":
        assert chosen == found


def test_copies_of_edges_count_once() -> None:
    once, twice = academic(), academic()
    for kind in twice.edge_types:
        twice[kind].edge_index = twice[kind].edge_index.repeat(1, 2)
    for name in ("PAP", "PSPAP"):
        found = [compose(data, name).counts().toarray() for data in (once, twice)]
        assert (found[0] == found[1]).all()


def test_random_ties_keep_n_of_a_row_and_follow_the_seed() -> None:
    path = compose(academic(papers=300), "PSP")
    graphs = [top_neighbours(path, 8, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(graphs[0].column, graphs[1].column)
    assert not torch.equal(graphs[0].ptr, graphs[2].ptr)
    # Every node chooses 8; a pair is kept when either chooses it.
    sizes = graphs[0].ptr.diff()
    assert int(sizes.min()) >= 8
    assert int(sizes.sum()) <= 2 * 8 * 300
    # Nodes at the end of the list are not chosen more often than those at its head.
    assert abs(float(sizes[:150].float().mean() - sizes[150:].float().mean())) < 2


@pytest.mark.parametrize("ties", ["value", "random"])
def test_t6_renaming_the_nodes_renames_the_graph(ties: Any) -> None:
    """Exactly where features decide, or no tie is there; the release fails this."""
    data, order = academic(), torch.randperm(PAPERS)
    moved = relabelled(data, order)
    name, n = ("PSP", 5) if ties == "value" else ("PAPAP", 1000)
    before, after = (
        top_neighbours(compose(d, name), n, ties=ties, features=d["paper"].x) for d in (data, moved)
    )
    place = torch.argsort(order).tolist()
    assert {(place[i], place[j]) for i, j in loops_and_pairs(before)} == loops_and_pairs(after)


def test_ties_by_index_depend_on_the_order_as_in_the_release() -> None:
    data, order = academic(), torch.arange(PAPERS).flip(0)
    before, after = (
        loops_and_pairs(top_neighbours(compose(d, "PSP"), 3, ties="index"))
        for d in (data, relabelled(data, order))
    )
    assert {(PAPERS - 1 - i, PAPERS - 1 - j) for i, j in before} != after
    # The last papers of a subject are everybody's neighbours: rows hold who chose them.
    subject = data["paper", "to", "subject"].edge_index[1]
    last = [max(i for i in range(PAPERS) if subject[i] == s) for s in range(SUBJECTS)]
    assert {j for i, j in before if i == last[0]} >= set(
        (subject == 0).nonzero().flatten().tolist()
    )


def test_leak_of_ties_by_index() -> None:
    """Papers sorted by class within one subject: the order of nodes tells the class."""
    data = HeteroData()
    data["paper"].num_nodes, data["subject"].num_nodes = 200, 1
    edges = torch.stack([torch.arange(200), torch.zeros(200, dtype=torch.long)])
    data["paper", "to", "subject"].edge_index = edges
    y = torch.arange(200) // 100
    homophily = {}
    for ties in ("random", "index"):
        graph = top_neighbours(compose(data, "PSP"), 20, ties=ties)  # type: ignore[arg-type]
        chosen, _ = graph.edge_index if ties == "index" else graph.edge_index.flip(0)
        homophily[ties] = float(y[chosen].float().mean())
    assert homophily["index"] > 0.9 > 0.6 > homophily["random"] > 0.4


def test_adjacency_is_the_dense_one() -> None:
    graph = top_neighbours(compose(academic(), "PAPAP"), 6, seed=1)
    dense = torch.zeros(PAPERS, PAPERS)
    dense[tuple(graph.edge_index)] = graph.weight
    for binary in (False, True):
        c = (dense > 0).float() if binary else dense
        d = c.sum(1).rsqrt()
        torch.testing.assert_close(
            graph.adjacency(binary=binary).to_dense(), d[:, None] * c * d[None]
        )
    other = top_neighbours(compose(academic(), "PSP"), 4)
    torch.testing.assert_close(
        mean_adjacency((graph, other)).to_dense(),
        (graph.adjacency().to_dense() + other.adjacency().to_dense()) / 2,
    )


def test_the_directed_graph_is_normalised_as_released() -> None:
    graph = top_neighbours(compose(academic(), "PSP"), 3, ties="index")
    chosen = torch.zeros(PAPERS, PAPERS)
    chosen[graph.column, graph.row] = graph.weight  # C; the graph holds its transpose
    d = chosen.sum(1).rsqrt()
    torch.testing.assert_close(graph.adjacency().to_dense(), d[:, None] * chosen.T * d[None])
    assert not graph.is_undirected


def test_masks_drop_both_directions_and_no_loop() -> None:
    graph = top_neighbours(compose(academic(papers=200), "PAP"))
    full = graph.masked(0.0).to_dense() > 0
    kept = graph.masked(0.4).to_dense()
    assert torch.equal(kept, kept.T)
    assert bool((kept.diagonal() > 0).all())
    share = float(((kept > 0) & full).sum() - 200) / float(full.sum() - 200)
    assert 0.5 < share < 0.7
    assert not torch.equal(graph.masked(0.4).to_dense(), kept)
    alone = graph.masked(1.0).to_dense()
    torch.testing.assert_close(alone, torch.eye(200))


def test_no_edges_leave_the_loops() -> None:
    data = HeteroData()
    data["paper"].num_nodes, data["author"].num_nodes = 5, 2
    data["paper", "to", "author"].edge_index = torch.empty(2, 0, dtype=torch.long)
    graph = top_neighbours(compose(data, "PAP"), 3)
    assert loops_and_pairs(graph) == {(i, i) for i in range(5)}
    torch.testing.assert_close(graph.adjacency().to_dense(), torch.eye(5))
    torch.testing.assert_close(graph.masked(0.5).to_dense(), torch.eye(5))


@pytest.mark.real_data
def test_acm_paths_are_the_published_ones(data_root: Any) -> None:
    from graphcl.data import load_dataset

    data = load_dataset("acm", data_root)
    for name in ("pap", "psp"):
        published = sp.load_npz(data_root / "Hetero" / "acm" / f"{name}.npz").tocsr()
        ours = compose(data, name).counts()
        assert (ours.astype(bool) != published.astype(bool)).nnz == 0


def test_a_path_that_does_not_lead_back_has_no_similarity() -> None:
    """Citations go one way: no paper is two citations from itself."""
    data = HeteroData()
    data["paper"].num_nodes = 4
    data["paper", "cites", "paper"].edge_index = torch.tensor([[1, 2, 3], [0, 1, 2]])
    path = compose(data, [("paper", "cites", "paper")] * 2)
    with pytest.raises(ValueError, match=r"PathSim of meta-path .* is not defined"):
        top_neighbours(path, 5)
    counts = path.counts()
    with pytest.raises(ValueError, match="PathSim of nodes 2 and 0 is not defined"):
        path_sim(counts, counts.diagonal())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = top_neighbours(path)  # all are kept: nothing is compared
    assert loops_and_pairs(graph) == {(i, i) for i in range(4)} | {(0, 2), (2, 0), (1, 3), (3, 1)}
