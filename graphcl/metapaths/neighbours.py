"""A graph between nodes of one type, and the matrices that are made from it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graphcl.views.coins import flip_coins


@dataclass(frozen=True)
class NeighbourGraph:
    """Neighbour lists with path counts; every node has its self loop.

    Attributes:
        ptr: (N + 1,) int64.
        column: (E,) int64, ascending within a row.
        weight: (E,) float32 number of path instances.
        pair: (E,) int64 number of the edge, the same in both directions, -1 for a self loop.
        is_undirected: whether every entry has its transpose.
    """

    ptr: Tensor
    column: Tensor
    weight: Tensor
    pair: Tensor
    is_undirected: bool = True

    @classmethod
    def undirected(
        cls, row: np.ndarray, column: np.ndarray, weight: np.ndarray, num_nodes: int
    ) -> NeighbourGraph:
        """The graph of these entries, of their transposes and of all self loops (maximum)."""
        key = row.astype(np.int64) * num_nodes + column
        back = column.astype(np.int64) * num_nodes + row
        loops = np.arange(num_nodes, dtype=np.int64) * (num_nodes + 1)
        keys = np.concatenate([key, back, loops])
        values = np.concatenate([weight, weight, np.ones(num_nodes)])
        return cls._merged(keys, values, num_nodes, True)

    @classmethod
    def directed(
        cls, row: np.ndarray, column: np.ndarray, weight: np.ndarray, num_nodes: int
    ) -> NeighbourGraph:
        """The transposes of these entries; self loops that are not among them weigh nothing."""
        back = column.astype(np.int64) * num_nodes + row
        loops = np.arange(num_nodes, dtype=np.int64) * (num_nodes + 1)
        values = np.concatenate([weight, np.zeros(num_nodes)])
        return cls._merged(np.concatenate([back, loops]), values, num_nodes, False)

    @classmethod
    def _merged(
        cls, keys: np.ndarray, values: np.ndarray, num_nodes: int, is_undirected: bool
    ) -> NeighbourGraph:
        keys, where = np.unique(keys, return_inverse=True)
        most = np.zeros(len(keys))
        np.maximum.at(most, where, values)
        row, column = np.divmod(keys, num_nodes)
        if is_undirected:
            low, high = np.minimum(row, column), np.maximum(row, column)
            _, pair = np.unique(low * num_nodes + high, return_inverse=True)
        else:
            pair = np.arange(len(keys))
        pair = np.where(row == column, -1, pair)
        ptr = np.searchsorted(row, np.arange(num_nodes + 1))
        return cls(
            torch.from_numpy(ptr).long(),
            torch.from_numpy(column).long(),
            torch.from_numpy(most).float(),
            torch.from_numpy(pair).long(),
            is_undirected,
        )

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.ptr.numel() - 1

    @property
    def row(self) -> Tensor:
        """(E,) row of each entry."""
        return torch.arange(self.num_nodes, device=self.ptr.device).repeat_interleave(
            self.ptr.diff()
        )

    @property
    def edge_index(self) -> Tensor:
        """(2, E), self loops included."""
        return torch.stack([self.row, self.column])

    def to(self, device: torch.device | str) -> NeighbourGraph:
        """The same graph on a device."""
        ptr, column = self.ptr.to(device), self.column.to(device)
        weight, pair = self.weight.to(device), self.pair.to(device)
        return NeighbourGraph(ptr, column, weight, pair, self.is_undirected)

    def adjacency(self, *, binary: bool = False) -> Tensor:
        r"""CSR matrix :math:`D^{-1/2} C D^{-1/2}`, of counts or of ones where there are any."""
        weight = torch.ones_like(self.weight) if binary else self.weight
        return _normalized(self.ptr, self.column, weight)

    def masked(self, rate: float) -> Tensor:
        r"""CSR matrix :math:`D^{-1/2} (A + I) D^{-1/2}` with a share of the pairs left out.

        Counts become ones. Both directions of a pair share a coin of torch's global generator.
        """
        if not rate:
            return self.adjacency(binary=True)
        pairs = int(self.pair.max()) + 1
        dropped = flip_coins(rate, max(pairs, 1), device=self.pair.device)
        kept = ~dropped[self.pair.clamp_min(0)] | (self.pair < 0)
        total = torch.cat([self.ptr.new_zeros(1), kept.cumsum(0)])
        column = self.column[kept]
        return _normalized(total[self.ptr], column, torch.ones_like(column, dtype=torch.float32))


def mean_adjacency(graphs: tuple[NeighbourGraph, ...]) -> Tensor:
    """CSR mean of the normalised adjacencies of several graphs on the same nodes."""
    nodes = graphs[0].num_nodes
    keys = torch.cat([g.row * nodes + g.column for g in graphs])
    values = torch.cat([g.adjacency().values() for g in graphs]) / len(graphs)
    keys, where = torch.unique(keys, return_inverse=True)
    summed = values.new_zeros(len(keys)).index_add_(0, where, values)
    ptr = torch.searchsorted(keys // nodes, torch.arange(nodes + 1, device=keys.device))
    return csr_matrix(ptr, keys % nodes, summed, (nodes, nodes))


def csr_matrix(ptr: Tensor, column: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR tensor whose parts are trusted; 32-bit indices, which products take as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)
        return torch.sparse_csr_tensor(
            ptr.int(), column.int(), values, shape, check_invariants=False
        )


def _normalized(ptr: Tensor, column: Tensor, weight: Tensor) -> Tensor:
    nodes, sizes = ptr.numel() - 1, ptr.diff()
    row = torch.arange(nodes, device=ptr.device).repeat_interleave(sizes)
    # Rows of a directed graph are transposed: its degrees are sums over columns.
    degree = weight.new_zeros(nodes).index_add_(0, column, weight)
    scale = torch.where(degree > 0, degree.rsqrt(), 0.0)
    return csr_matrix(ptr, column, weight * scale[row] * scale[column], (nodes, nodes))
