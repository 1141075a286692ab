"""Batches hold what they say: true edges, the right neighbours, seeds first."""

from typing import Any

import networkx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.encoders.message_passing import GCNEncoder, SAGEEncoder
from graphcl.minibatch import (
    BatchSource,
    ClusterSource,
    NeighbourSource,
    WholeGraph,
    batch_source,
)
from graphcl.minibatch.incoming import IncomingEdges, distinct_numbers
from graphcl.minibatch.options import Batching
from graphcl.minibatch.pyg_neighbours import PygNeighbourSource, pyg_can_sample

needs_sampler = pytest.mark.skipif(not pyg_can_sample(), reason="needs pyg-lib or torch-sparse")
NEIGHBOURS = [NeighbourSource, pytest.param(PygNeighbourSource, marks=needs_sampler)]


def check_batch(batch: Data, graph: Data, seeds: Tensor) -> None:
    """What holds for every batch."""
    assert batch.batch_size == len(seeds)
    assert torch.equal(batch.n_id[: len(seeds)], seeds)
    assert len(batch.n_id.unique()) == len(batch.n_id)
    assert torch.equal(batch.x, graph.x[batch.n_id])
    assert torch.equal(batch.n_id[batch.edge_index], graph.edge_index[:, batch.e_id])
    assert (batch.e_id.diff() > 0).all()


@pytest.mark.parametrize("kind", NEIGHBOURS)
@pytest.mark.parametrize("fan_out", [(3,), (2, 4), (-1, 2), (5, 1, 2)])
def test_neighbours_are_drawn_hop_by_hop(kind: Any, fan_out: tuple[int, ...], graph: Data) -> None:
    source = kind(graph, fan_out)
    seeds = torch.tensor([7, 59, 3, 20])
    for seed in range(5):
        batch = source.sample(seeds, seed)
        check_batch(batch, graph, seeds)
        into = torch.bincount(batch.edge_index[1], minlength=len(batch.n_id))
        degree = torch.bincount(graph.edge_index[1], minlength=60)[batch.n_id]
        frontier, seen = set(range(4)), set(range(4))
        for count in fan_out:
            reached = set()
            for node in frontier:
                drawn = min(int(degree[node]), count if count >= 0 else 60)
                assert int(into[node]) == drawn
                reached |= set(batch.edge_index[0, batch.edge_index[1] == node].tolist())
            frontier = reached - seen
            seen |= reached
        assert seen == set(range(len(batch.n_id)))
        assert all(int(into[node]) == 0 for node in frontier)  # found in the last hop


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_all_neighbours_are_those_within_so_many_hops(kind: Any, graph: Data) -> None:
    reverse: Any = networkx.DiGraph()
    reverse.add_nodes_from(range(60))
    reverse.add_edges_from(graph.edge_index.flip(0).T.tolist())
    for node in (0, 13, 59):
        batch = kind(graph, (-1, -1)).sample(torch.tensor([node]), 0)
        near = networkx.single_source_shortest_path_length(reverse, node, cutoff=2)
        assert set(batch.n_id.tolist()) == set(near)


def test_samples_are_a_function_of_the_seed(graph: Data) -> None:
    source, seeds = NeighbourSource(graph, (2, 2)), torch.arange(10)
    first = source.sample(seeds, 1)
    torch.manual_seed(99)
    assert torch.equal(source.sample(seeds, 1).e_id, first.e_id)
    assert not torch.equal(source.sample(seeds, 2).e_id, first.e_id)


def test_draws_are_uniform_and_without_replacement() -> None:
    generator = torch.Generator().manual_seed(0)
    edges = IncomingEdges(torch.stack([torch.arange(1, 7), torch.zeros(6).long()]), 7)
    times = torch.zeros(7)
    for _ in range(3000):
        drawn = edges.source[edges.draw(torch.tensor([0]), 2, generator)]
        assert len(set(drawn.tolist())) == 2
        times[drawn] += 1
    # 1000 expected each, with a standard deviation of 26.
    assert ((times[1:] - 1000).abs() < 130).all()


def test_every_subset_is_equally_likely() -> None:
    found = distinct_numbers(torch.full((6000,), 4), 2, torch.Generator().manual_seed(1))
    code = found.sort(1).values @ torch.tensor([4, 1])
    counts = torch.unique(code, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 1000).abs() < 150).all()
    everything = distinct_numbers(torch.full((50,), 5), 5, torch.Generator())
    assert torch.equal(everything.sort(1).values, torch.arange(5).expand(50, 5))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_clusters_hold_all_edges_among_their_nodes(graph: Data, sparse: bool) -> None:
    dense = graph.x
    if sparse:
        graph.x = dense.to_sparse_csr()
    seeds = torch.tensor([5, 1, 30, 31, 32, 59, 8])
    batch = ClusterSource(graph).sample(seeds, 0)
    inside = torch.isin(graph.edge_index, seeds).all(0).nonzero()[:, 0]
    assert torch.equal(batch.e_id, inside)
    assert batch.x.layout == graph.x.layout
    graph.x, batch.x = dense, batch.x.to_dense()
    check_batch(batch, graph, seeds)


def test_the_whole_graph_comes_with_the_seeds_first(graph: Data) -> None:
    source = WholeGraph(graph)
    for seeds in (torch.arange(60), torch.arange(20, 40)):
        batch = source.sample(seeds, 0)
        check_batch(batch, graph, seeds)
        assert torch.equal(batch.e_id, torch.arange(graph.num_edges))
    assert torch.equal(source.sample(torch.arange(60), 0).edge_index, graph.edge_index)


def exact(source: BatchSource, encoder: Any, graph: Data) -> bool:
    """Whether the seeds' embeddings are those in the whole graph."""
    seeds = torch.tensor([4, 33, 59, 12])
    batch = source.sample(seeds, 0)
    wanted = encoder(graph.x.double(), graph.edge_index)[seeds]
    found = encoder(batch.x.double(), batch.edge_index)[:4]
    return bool(torch.allclose(found, wanted))


def test_enough_hops_give_the_true_embeddings(graph: Data) -> None:
    sage, gcn = SAGEEncoder(2, [8, 4]).double(), GCNEncoder(2, [8, 4]).double()
    assert exact(NeighbourSource(graph, (-1, -1)), sage, graph)
    assert not exact(NeighbourSource(graph, (-1,)), sage, graph)
    # A GCN weighs a neighbour by its degree: one hop more.
    assert exact(NeighbourSource(graph, (-1, -1, -1)), gcn, graph)
    assert not exact(NeighbourSource(graph, (-1, -1)), gcn, graph)


def test_the_source_that_is_asked_for(graph: Data) -> None:
    assert type(batch_source(graph, Batching())) is WholeGraph
    assert type(batch_source(graph, Batching("cluster"))) is ClusterSource
    neighbours = PygNeighbourSource if pyg_can_sample() else NeighbourSource
    assert type(batch_source(graph, Batching("neighbor"))) is neighbours


@pytest.mark.skipif(pyg_can_sample(), reason="a sampler is installed")
def test_pyg_without_a_sampler_says_so(graph: Data) -> None:
    with pytest.raises(ImportError, match="pyg-lib or torch-sparse"):
        PygNeighbourSource(graph, (2,))


def test_edges_to_nowhere(graph: Data) -> None:
    graph.edge_index = graph.edge_index + 30
    with pytest.raises(ValueError, match="num_nodes is 60"):
        WholeGraph(graph)
