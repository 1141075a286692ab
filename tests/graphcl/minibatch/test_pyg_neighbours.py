"""PyG's loader as a source, with a stand-in for the compiled sampler where none is installed."""

from typing import Any

import pytest
import torch
import torch_geometric.typing
from torch import Tensor
from torch_geometric.data import Data

from graphcl.minibatch import Batching, batch_source
from graphcl.minibatch.pyg_neighbours import PygNeighbourSource


def first_neighbours(
    colptr: Tensor, row: Tensor, seed: Tensor, fan_out: list[int], replace: bool, directed: bool
) -> tuple[Tensor, ...]:
    """What ``torch_sparse.neighbor_sample`` returns, but the first edges, not random ones."""
    assert not replace
    assert directed
    nodes, edges, frontier = seed.tolist(), [], seed.tolist()
    for count in fan_out:
        reached: list[int] = []
        for node in frontier:
            start, stop = int(colptr[node]), int(colptr[node + 1])
            for edge in range(start, stop if count < 0 else min(stop, start + count)):
                source = int(row[edge])
                edges.append((source, node, edge))
                if source not in nodes:
                    nodes.append(source)
                    reached.append(source)
        frontier = reached
    place = {node: i for i, node in enumerate(nodes)}
    ends = torch.tensor([[place[s], place[t], e] for s, t, e in edges]).view(-1, 3)
    return torch.tensor(nodes), ends[:, 0], ends[:, 1], ends[:, 2]


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_geometric.typing, "WITH_PYG_LIB", False)
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SPARSE", True)
    sampler: Any = torch.ops.torch_sparse
    monkeypatch.setattr(sampler, "neighbor_sample", first_neighbours, raising=False)


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.filterwarnings("ignore:Using 'NeighborSampler' without a 'pyg-lib'")
def test_pygs_batches_are_batches_of_the_graph(graph: Data) -> None:
    source = batch_source(graph, Batching("neighbor", 8, (2, 1)))
    assert type(source) is PygNeighbourSource
    seeds = torch.tensor([7, 59, 3, 20])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    batch = source.sample(seeds, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert batch.batch_size == 4
    assert torch.equal(batch.n_id[:4], seeds)
    assert torch.equal(batch.x, graph.x[batch.n_id])
    assert torch.equal(batch.n_id[batch.edge_index], graph.edge_index[:, batch.e_id])
    assert (batch.e_id.diff() > 0).all()
    degree = torch.bincount(graph.edge_index[1], minlength=60)
    drawn = torch.bincount(batch.edge_index[1], minlength=len(batch.n_id))
    assert torch.equal(drawn[:4], degree[seeds].clamp(max=2))
