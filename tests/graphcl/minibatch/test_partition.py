"""Clusters of a graph: every node has one, and few edges are cut."""

import pytest
import torch
import torch_geometric.typing
from torch import Tensor

from graphcl.minibatch import partition_nodes
from graphcl.minibatch.options import Partition

METHODS = ["louvain", "bandwidth"]
if torch_geometric.typing.WITH_METIS:
    METHODS.append("metis")


def blocks(count: int, size: int) -> Tensor:
    """A ring of complete graphs, renamed at random."""
    place = torch.randperm(count * size, generator=torch.Generator().manual_seed(0))
    block = torch.arange(count * size) // size
    edges = (block[:, None] == block).fill_diagonal_(False).nonzero().T
    first = torch.arange(count) * size
    ring = torch.stack([first, first.roll(1)])
    return place[torch.cat([edges, ring, ring.flip(0)], 1)]


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_complete_blocks_stay_together(method: Partition) -> None:
    edges = blocks(6, 8)
    labels = partition_nodes(edges, 48, 6, method=method)
    assert labels.shape == (48,)
    assert labels.dtype == torch.int64
    cut = float((labels[edges[0]] != labels[edges[1]]).double().mean())
    # Parts at random would cut five edges of six; only the ring need be cut.
    assert cut <= (0.5 if method == "bandwidth" else 12 / edges.shape[1] + 1e-9)
    assert torch.equal(labels, partition_nodes(edges, 48, 6, method=method))


def test_equal_parts_of_the_band() -> None:
    labels = partition_nodes(blocks(5, 4), 22, 4, method="bandwidth")  # two nodes are isolated
    assert torch.bincount(labels).tolist() == [6, 5, 6, 5]


def test_isolated_nodes_have_a_cluster_too() -> None:
    labels = partition_nodes(torch.empty(2, 0, dtype=torch.int64), 5, 2, method="louvain")
    assert (labels >= 0).all()


def test_what_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="between 1 and 20 nodes, got 21"):
        partition_nodes(blocks(5, 4), 20, 21)


@pytest.mark.skipif(torch_geometric.typing.WITH_METIS, reason="METIS is installed")
def test_metis_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="choose louvain or bandwidth"):
        partition_nodes(blocks(5, 4), 20, 2, method="metis")
