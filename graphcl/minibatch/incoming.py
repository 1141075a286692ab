"""Edges by the node they lead to, and random draws of them."""

from __future__ import annotations

import torch
from torch import Tensor


class IncomingEdges:
    """The incoming edges of every node, in O(E + N) memory.

    Args:
        edge_index: (2, E) edges from row 0 to row 1.
        num_nodes: N.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        source, target = edge_index
        self.edge = torch.argsort(target, stable=True)
        """(E,) places of the edges in ``edge_index``, by target."""
        self.source = source[self.edge]
        """(E,) where the edges come from, by target."""
        self._ptr = torch.zeros(num_nodes + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(target, minlength=num_nodes), 0, out=self._ptr[1:])

    def every(self, nodes: Tensor) -> Tensor:
        """Places, in the lists by target, of all edges into ``nodes`` (M,)."""
        start = self._ptr[nodes]
        degree = self._ptr[nodes + 1] - start
        first = degree.cumsum(0) - degree
        within = torch.arange(int(degree.sum())) - first.repeat_interleave(degree)
        return start.repeat_interleave(degree) + within

    def draw(self, nodes: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Places of ``count`` random edges into each node, without replacement; of all if fewer.

        O(edges drawn x count) time, whatever the degrees are.

        Args:
            nodes: (M,) node ids.
            count: edges per node; -1 takes all.
            generator: source of randomness.
        """
        degree = self._ptr[nodes + 1] - self._ptr[nodes]
        many = degree > count if count >= 0 else torch.zeros_like(degree, dtype=torch.bool)
        chosen = distinct_numbers(degree[many], max(count, 0), generator)
        drawn = (self._ptr[nodes[many], None] + chosen).flatten()
        return torch.cat([self.every(nodes[~many]), drawn])


def distinct_numbers(below: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each of (R,) limits, a random set of ``count`` different numbers below it.

    Floyd's algorithm (Bentley and Floyd, 1987) on all rows at once: every subset is equally likely,
    at O(R count^2) and no cost for large limits.

    Args:
        below: (R,) int64, each at least ``count``.
        count: size of the sets.
        generator: source of randomness.

    Returns:
        (R, count) int64.
    """
    chosen = torch.empty(len(below), count, dtype=torch.int64)
    for step in range(count):
        last = below - count + step
        uniform = torch.rand(len(below), dtype=torch.float64, generator=generator)
        number = (uniform * (last + 1)).long()
        taken = (chosen[:, :step] == number[:, None]).any(1)
        chosen[:, step] = torch.where(taken, last, number)
    return chosen
