"""Subgraphs around seeds, as PyG ``Data`` with ``n_id``, ``e_id`` and ``batch_size``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.minibatch.incoming import IncomingEdges
from graphcl.views.edges import check_edge_index
from graphcl.views.features import select_rows


class BatchSource(ABC):
    """Makes a batch from its seeds.

    A batch has ``x`` and ``edge_index`` of a subgraph, its nodes' global ids ``n_id``, its edges'
    places ``e_id`` in the whole graph, ascending, and ``batch_size``: the first so many nodes are
    the seeds. Edges keep the order of the whole graph, so that a batch that holds the whole graph
    draws the same views.

    Args:
        data: the whole graph on the CPU, ``x`` (N, F) dense or in CSR layout and ``edge_index``
            (2, E).

    Raises:
        ValueError: an edge names a node that does not exist.
    """

    def __init__(self, data: Data) -> None:
        self.data, self.num_nodes = data, int(data.x.shape[0])
        check_edge_index(data.edge_index, self.num_nodes)
        self._place = torch.full((self.num_nodes,), -1, dtype=torch.int64)

    @abstractmethod
    def sample(self, seeds: Tensor, seed: int) -> Data:
        """The batch of distinct ``seeds`` (B,); ``seed`` decides what is drawn."""

    def batch(self, nodes: Tensor, edges: Tensor, batch_size: int) -> Data:
        """The subgraph of ``nodes`` and of those ``edges`` (places, in any order) among them."""
        self._place[nodes] = torch.arange(len(nodes))
        edges = edges.sort().values
        ends = self._place[self.data.edge_index[:, edges]]
        self._place[nodes] = -1
        kept = (ends >= 0).all(0)
        return Data(
            x=select_rows(self.data.x, nodes),
            edge_index=ends[:, kept],
            n_id=nodes,
            e_id=edges[kept],
            batch_size=batch_size,
        )


class WholeGraph(BatchSource):
    """The whole graph in every batch, seeds first."""

    _last: Data | None = None

    def sample(self, seeds: Tensor, seed: int) -> Data:
        """See :meth:`BatchSource.sample`; the last batch is kept for the same seeds."""
        if self._last is None or not torch.equal(self._last.n_id[: self._last.batch_size], seeds):
            rest = torch.ones(self.num_nodes, dtype=torch.bool)
            rest[seeds] = False
            nodes = torch.cat([seeds, rest.nonzero()[:, 0]])
            everything = torch.arange(self.data.edge_index.shape[1])
            self._last = self.batch(nodes, everything, len(seeds))
        return self._last.clone()


class ClusterSource(BatchSource):
    """The seeds and all edges among them (Cluster-GCN, Chiang et al., 2019, arXiv 1905.07953).

    Seeds are meant to be one or more clusters, see :func:`~graphcl.minibatch.partition_nodes`.
    PyG's ``ClusterLoader`` makes such subgraphs too, without the nodes' ids.
    """

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._incoming = IncomingEdges(data.edge_index, self.num_nodes)

    def sample(self, seeds: Tensor, seed: int) -> Data:
        """See :meth:`BatchSource.sample`."""
        return self.batch(seeds, self._incoming.edge[self._incoming.every(seeds)], len(seeds))


class NeighbourSource(BatchSource):
    """Seeds and, hop by hop, sampled in-neighbours (GraphSAGE, Hamilton et al., 2017).

    As in PyG's ``NeighborLoader``, whose place it takes where no compiled sampler is installed: of
    every node, once, ``fan_out`` incoming edges are drawn without replacement, in the hop after the
    one that found it. An encoder of L layers sees the seeds' true surroundings for L fan-outs of
    -1; one whose weights depend on the neighbours' degrees, as a GCN's do, for L + 1 of them.

    Args:
        data: the whole graph, see :class:`BatchSource`.
        fan_out: edges per node, one number per hop; -1 takes all.
    """

    def __init__(self, data: Data, fan_out: Sequence[int]) -> None:
        super().__init__(data)
        self.fan_out = tuple(fan_out)
        self._incoming = IncomingEdges(data.edge_index, self.num_nodes)

    def sample(self, seeds: Tensor, seed: int) -> Data:
        """See :meth:`BatchSource.sample`."""
        generator = torch.Generator().manual_seed(seed)
        found = torch.zeros(self.num_nodes, dtype=torch.bool)
        found[seeds] = True
        nodes, edges, frontier = [seeds], [], seeds
        for count in self.fan_out:
            drawn = self._incoming.draw(frontier, count, generator)
            edges.append(self._incoming.edge[drawn])
            near = self._incoming.source[drawn]
            frontier = near[~found[near]].unique()
            found[frontier] = True
            nodes.append(frontier)
        return self.batch(torch.cat(nodes), torch.cat(edges), len(seeds))
