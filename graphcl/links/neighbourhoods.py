"""Sorted neighbour lists of an undirected graph, and what two nodes' lists have in common."""

from __future__ import annotations

import warnings
from functools import cached_property

import torch
from torch import Tensor

from graphcl.kernels.tiles import work_blocks


class Neighbourhoods:
    """Neighbour lists as sorted keys ``u * N + v``: intersections by binary search.

    Repeated edges count once and self-loops are left out. Both directions are stored, whatever the
    edge list holds.

    Args:
        edge_index: (2, E) node pairs.
        num_nodes: N.

    Attributes:
        keys: (2 M,) sorted int64 keys of the M undirected edges.
        degree: (N,) number of neighbours.

    Raises:
        ValueError: an edge list of another shape, or node ids outside 0..N-1.

    Example:
        >>> graph = Neighbourhoods(torch.tensor([[0, 1, 1], [1, 2, 1]]), 3)
        >>> graph.degree.tolist(), graph.has(torch.tensor([[0, 2], [2, 1]])).tolist()
        ([1, 2, 1], [False, True])
    """

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        u, v = self.checked(edge_index, "edge_index")
        keep = u != v
        u, v = u[keep], v[keep]
        self._index(torch.cat([u * num_nodes + v, v * num_nodes + u]).unique())

    def _index(self, keys: Tensor) -> None:
        self.keys = keys
        self.degree = torch.bincount(keys // max(self.num_nodes, 1), minlength=self.num_nodes)
        self._start = self.degree.cumsum(0) - self.degree

    def checked(self, pairs: Tensor, name: str = "pairs") -> tuple[Tensor, Tensor]:
        """Both ends (B,) int64 of pairs (2, B) of this graph's nodes, or ``ValueError``."""
        no_ids = pairs.is_floating_point() or pairs.dtype == torch.bool
        if pairs.dim() != 2 or pairs.shape[0] != 2 or no_ids:
            raise ValueError(
                f"{name} must be (2, number) node ids, got {tuple(pairs.shape)} of {pairs.dtype}"
            )
        if pairs.numel() and not 0 <= int(pairs.min()) <= int(pairs.max()) < self.num_nodes:
            raise ValueError(
                f"{name} has node ids {int(pairs.min())} to {int(pairs.max())}, but there are "
                f"{self.num_nodes} nodes"
            )
        u, v = pairs.long()
        return u, v

    @cached_property
    def edge_index(self) -> Tensor:
        """(2, 2 M) edges in both directions, sorted."""
        size = max(self.num_nodes, 1)
        return torch.stack([self.keys // size, self.keys % size])

    def has(self, pairs: Tensor) -> Tensor:
        """Whether each pair (2, B) is an edge, (B,) bool."""
        u, v = self.checked(pairs)
        return self._contains(u, v)

    def _contains(self, u: Tensor, v: Tensor) -> Tensor:
        return self._find(u, v)[1]

    def _find(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Where the keys of pairs would stand (B,), and whether they do (B,)."""
        if not self.keys.numel():
            return torch.zeros_like(u), torch.zeros_like(u, dtype=torch.bool)
        wanted = u * self.num_nodes + v
        at = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return at, self.keys[at] == wanted

    def without(self, pairs: Tensor) -> Neighbourhoods:
        """The graph less these edges (2, B), in both directions; other pairs are ignored."""
        u, v = self.checked(pairs)
        stay = torch.ones_like(self.keys, dtype=torch.bool)
        for one, other in ((u, v), (v, u)):
            at, there = self._find(one, other)
            stay[at[there]] = False
        rest = object.__new__(Neighbourhoods)
        rest.num_nodes = self.num_nodes
        rest._index(self.keys[stay])
        return rest

    def thinned(self, share: float) -> Neighbourhoods:
        """Neighbour lists that lack each entry with probability ``share``, by torch's generator.

        The two directions of an edge are drawn apart: an end may lose sight of the other alone.
        """
        if not share:
            return self
        less = object.__new__(Neighbourhoods)
        less.num_nodes = self.num_nodes
        less._index(self.keys[torch.rand(len(self.keys), device=self.keys.device) >= share])
        return less

    def common(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Common neighbours: positions of pairs (M,), ascending, and nodes (M,).

        The shorter list of each pair is walked and looked up in the longer one.
        """
        u, v = self.checked(pairs)
        swap = self.degree[u] > self.degree[v]
        pair, node = self._expand(torch.where(swap, v, u))
        kept = self._contains(torch.where(swap, u, v)[pair], node)
        return pair[kept], node[kept]

    def only_first(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours of the first node that are neither neighbours of the second nor it itself."""
        u, v = self.checked(pairs)
        pair, node = self._expand(u)
        kept = ~self._contains(v[pair], node) & (node != v[pair])
        return pair[kept], node[kept]

    def _expand(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """All neighbours of each of the nodes (B,)."""
        count = self.degree[nodes]
        position = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), count)
        first = self._start[nodes] - (count.cumsum(0) - count)
        at = torch.arange(len(position), device=nodes.device) + first[position]
        return position, self.keys[at] % max(self.num_nodes, 1)


def pool(
    pair: Tensor, node: Tensor, values: Tensor, num_pairs: int, weight: Tensor | None = None
) -> Tensor:
    """Sum of nodes' values by pair, without a (M, F) tensor.

    Args:
        pair: (M,) ascending positions below ``num_pairs``.
        node: (M,) rows of ``values``.
        values: (N, F); may require a gradient. Half precision is summed in float32.
        num_pairs: B.
        weight: (M,) weights, constants for the gradient; one by default.

    Returns:
        (B, F).
    """
    ptr = torch.zeros(num_pairs + 1, dtype=torch.long, device=pair.device)
    torch.cumsum(torch.bincount(pair, minlength=num_pairs), 0, out=ptr[1:])
    weight = torch.ones_like(node, dtype=values.dtype) if weight is None else weight.detach()
    wide = torch.promote_types(values.dtype, torch.float32)
    with warnings.catch_warnings(), torch.autocast(values.device.type, enabled=False):
        warnings.filterwarnings("ignore", "Sparse", UserWarning)
        matrix = torch.sparse_csr_tensor(
            ptr,
            node,
            weight.to(wide),
            (num_pairs, values.shape[0]),
            check_invariants=False,
        )
        summed: Tensor = matrix @ values.to(wide)
    return summed.to(values.dtype)


def common_neighbour_sum(
    graph: Neighbourhoods, pairs: Tensor, values: Tensor, *, budget: int = 1 << 22
) -> Tensor:
    """Sum of the values of the common neighbours of each pair.

    Args:
        graph: the graph.
        pairs: (2, B) node pairs.
        values: (N, F).
        budget: neighbours looked up at a time, which bounds the memory.

    Returns:
        (B, F), zero where there is no common neighbour.

    Raises:
        ValueError: pairs or values that do not fit the graph.

    Example:
        >>> path = Neighbourhoods(torch.tensor([[0, 1], [1, 2]]), 3)
        >>> common_neighbour_sum(path, torch.tensor([[0], [2]]), torch.tensor([[1.], [5.], [9.]]))
        tensor([[5.]])
    """
    if values.dim() != 2 or values.shape[0] != graph.num_nodes:
        raise ValueError(
            f"values must be ({graph.num_nodes}, F), one row per node, got {tuple(values.shape)}"
        )
    u, v = graph.checked(pairs)
    shorter = torch.minimum(graph.degree[u], graph.degree[v])
    parts = [
        pool(*graph.common(pairs[:, at]), values, at.stop - at.start)
        for at in work_blocks(shorter, budget)
    ]
    return torch.cat(parts) if parts else values.new_zeros(0, values.shape[1])
