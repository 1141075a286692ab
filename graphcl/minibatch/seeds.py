"""Which nodes are the anchors of which batch, the same on every process and after a restart."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def stream_seed(*place: int) -> int:
    """Seed of an independent stream of random numbers for every place in a run."""
    text = "/".join(("batches", *map(str, place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


class SeedOrder:
    """Every node once per epoch, in an order that depends on nothing but ``seed`` and the epoch.

    The order is cut evenly into one piece per step and process, at most ``batch_size`` long, so
    that no batch is a sliver. With ``labels``, nodes of one label follow each other: the clusters
    come in random order, and so do the nodes inside of each.

    Args:
        num_nodes: N.
        batch_size: most seeds of a batch on each process.
        seed: of the order.
        processes: W.
        shuffle: otherwise nodes come by their ids.

    Raises:
        ValueError: fewer than two nodes for each process.
    """

    def __init__(
        self,
        num_nodes: int,
        batch_size: int,
        seed: int = 0,
        *,
        processes: int = 1,
        shuffle: bool = True,
    ) -> None:
        if num_nodes < 2 * processes:
            raise ValueError(
                f"{num_nodes} nodes are too few for {processes} processes with two seeds each"
            )
        self.num_nodes, self.seed, self.processes = num_nodes, seed, processes
        self.shuffle = shuffle
        steps = -(-num_nodes // (batch_size * processes))
        self.steps = min(steps, num_nodes // (2 * processes))  # two seeds at least
        self.labels: Tensor | None = None
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def seeds(self, epoch: int, step: int, process: int = 0) -> Tensor:
        """Anchors (B,) of one process in one step."""
        piece = step * self.processes + process
        return self.order(epoch)[self._cut(piece) : self._cut(piece + 1)]

    def share(self, step: int, process: int = 0) -> float:
        """Anchors of a process relative to the mean over processes, about 1."""
        first, piece = step * self.processes, step * self.processes + process
        everyone = self._cut(first + self.processes) - self._cut(first)
        return (self._cut(piece + 1) - self._cut(piece)) * self.processes / everyone

    def order(self, epoch: int) -> Tensor:
        """All nodes (N,) in the order of an epoch."""
        if self._epoch != epoch:
            self._epoch, self._order = epoch, self._draw(epoch)
        return self._order

    def regroup(self, labels: Tensor | None) -> None:
        """Order by these labels (N,), int64, from now on; ``None`` for none."""
        if labels is not None and labels.shape != (self.num_nodes,):
            raise ValueError(
                f"there are {self.num_nodes} nodes, but labels have shape {tuple(labels.shape)}"
            )
        self.labels, self._epoch = labels, -1

    def _cut(self, piece: int) -> int:
        return piece * self.num_nodes // (self.steps * self.processes)

    def _draw(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.num_nodes)
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch))
        order = torch.randperm(self.num_nodes, generator=generator)
        if self.labels is None:
            return order
        _, label = torch.unique(self.labels, return_inverse=True)
        place = torch.randperm(int(label.max()) + 1, generator=generator)
        return order[torch.argsort(place[label[order]], stable=True)]
