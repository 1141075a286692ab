"""The batches of one process, epoch after epoch, which can be continued at any of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch_geometric.data import Data

from graphcl.kernels.processes import process_index
from graphcl.minibatch.options import Batching
from graphcl.minibatch.partition import partition_nodes
from graphcl.minibatch.pyg_neighbours import PygNeighbourSource, pyg_can_sample
from graphcl.minibatch.seeds import SeedOrder, stream_seed
from graphcl.minibatch.sources import BatchSource, ClusterSource, NeighbourSource, WholeGraph


def batch_source(data: Data, batching: Batching) -> BatchSource:
    """The source that ``batching`` asks for.

    Neighbourhoods are sampled by PyG's ``NeighborLoader`` where pyg-lib or torch-sparse is
    installed, in plain torch otherwise.
    """
    if batching.loader == "full":
        return WholeGraph(data)
    if batching.loader == "cluster":
        return ClusterSource(data)
    kind = PygNeighbourSource if pyg_can_sample() else NeighbourSource
    return kind(data, batching.fan_out)


class BatchLoader:
    """Iterates over the batches of an epoch; what it yields depends on the place in the run alone.

    A batch also carries ``share``, its number of seeds relative to the mean over processes. Hand it
    to :class:`lightning.Trainer`, which tells it the epoch and stores its place in checkpoints, or
    call :meth:`set_epoch` before each pass.

    Args:
        source: makes a batch from its seeds.
        order: tells the seeds.

    Example:
        >>> import torch
        >>> graph = Data(x=torch.eye(6), edge_index=torch.tensor([[0, 1], [1, 0]]))
        >>> loader = BatchLoader(NeighbourSource(graph, [2]), SeedOrder(6, batch_size=3))
        >>> [batch.batch_size for batch in loader]
        [3, 3]
    """

    def __init__(self, source: BatchSource, order: SeedOrder) -> None:
        self.source, self.order = source, order
        self.epoch = self.position = self._start = 0

    @property
    def sampler(self) -> BatchLoader:
        """Where Lightning looks for :meth:`set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.order.steps

    def __iter__(self) -> Iterator[Data]:
        process = process_index()
        first, self._start = self._start, 0  # a pass that was given up is not continued
        for step in range(first, len(self)):
            seeds = self.order.seeds(self.epoch, step, process)
            stream = stream_seed(self.order.seed, self.epoch, step, process)
            batch = self.source.sample(seeds, stream)
            batch.share = self.order.share(step, process)
            self.position = step + 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the epoch were handed out."""
        return {"position": self.position % len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue there."""
        self.position = self._start = state["position"] % len(self)


def make_loader(
    data: Data, batching: Batching, *, seed: int = 0, processes: int = 1
) -> BatchLoader:
    """Batches of a graph as ``batching`` asks for, for one of several processes.

    Args:
        data: the whole graph, on the CPU.
        batching: see there.
        seed: of the order and of what is sampled.
        processes: how many there are.
    """
    nodes = int(data.x.shape[0])
    full = batching.loader == "full"
    size = -(-nodes // processes) if full else batching.batch_size
    order = SeedOrder(nodes, size, seed, processes=processes, shuffle=not full)
    if batching.loader == "cluster":
        parts = batching.clusters or max(1, round(4 * nodes / batching.batch_size))
        order.regroup(
            partition_nodes(
                data.edge_index, nodes, min(parts, nodes), method=batching.partition, seed=seed
            )
        )
    return BatchLoader(batch_source(data, batching), order)
