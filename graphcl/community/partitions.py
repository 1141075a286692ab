"""Louvain and Leiden: partitions of high modularity, by networkx and igraph."""

from __future__ import annotations

import random
from typing import Any, Literal

import torch
from torch import Tensor

from graphcl.views.edges import check_edge_index


def louvain(
    edge_index: Tensor,
    num_nodes: int,
    *,
    resolution: float = 1.0,
    seed: int = 0,
    backend: Literal["networkx", "igraph"] = "networkx",
) -> Tensor:
    """Communities by Louvain's method, Blondel et al., 2008, arXiv 0803.0476.

    Args:
        edge_index: (2, E); directions and copies of an edge are one edge, self loops are left out.
        num_nodes: N.
        resolution: larger values give more and smaller communities.
        seed: of the order in which nodes are visited.
        backend: ``networkx``, or ``igraph``, which is much faster and needs that package.

    Returns:
        (N,) int64 labels from 0, the largest community first; an isolated node is one of its own.

    Raises:
        ValueError: edges, resolution or backend that make no sense.
        ImportError: ``igraph`` is not installed.

    Example:
        >>> louvain(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), 4).tolist()
        [0, 0, 1, 1]
    """
    edges = _undirected(edge_index, num_nodes, resolution)
    if backend == "igraph":
        with _Seeded(seed) as igraph:
            graph = igraph.Graph(n=num_nodes, edges=edges)
            found = graph.community_multilevel(resolution=resolution)
            return ordered_labels(torch.tensor(found.membership, dtype=torch.long))
    if backend != "networkx":
        raise ValueError(f"unknown backend {backend!r}; choose networkx or igraph")
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges)
    sets = networkx.community.louvain_communities(graph, resolution=resolution, seed=seed)
    label = torch.empty(num_nodes, dtype=torch.long)
    for number, members in enumerate(sets):
        label[list(members)] = number
    return ordered_labels(label)


def leiden(
    edge_index: Tensor,
    num_nodes: int,
    *,
    resolution: float = 1.0,
    seed: int = 0,
    iterations: int = 10,
) -> Tensor:
    """Communities by the Leiden method, Traag et al., 2019, arXiv 1810.08473, by igraph.

    Every community is connected, which Louvain's need not be. Arguments, result and errors are
    those of :func:`louvain`.

    Args:
        edge_index: (2, E).
        num_nodes: N.
        resolution: of the modularity.
        seed: of the method.
        iterations: at most so many passes; it stops where one changes nothing.
    """
    edges = _undirected(edge_index, num_nodes, resolution)
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    with _Seeded(seed) as igraph:
        graph = igraph.Graph(n=num_nodes, edges=edges)
        found = graph.community_leiden(
            objective_function="modularity", resolution=resolution, n_iterations=iterations
        )
        return ordered_labels(torch.tensor(found.membership, dtype=torch.long))


def ordered_labels(label: Tensor) -> Tensor:
    """Rename communities by size, the largest 0; of equal ones the one with the first node.

    Example:
        >>> ordered_labels(torch.tensor([5, 2, 2, 7])).tolist()
        [1, 0, 0, 2]
    """
    _, compact, size = torch.unique(label, return_inverse=True, return_counts=True)
    first = torch.full_like(size, len(label)).scatter_reduce(
        0, compact, torch.arange(len(label), device=label.device), "amin"
    )
    order = sorted(range(len(size)), key=lambda k: (-int(size[k]), int(first[k])))
    place = torch.empty_like(size)
    place[torch.tensor(order, dtype=torch.long)] = torch.arange(len(size), device=label.device)
    return place[compact]


def _undirected(edge_index: Tensor, num_nodes: int, resolution: float) -> list[tuple[int, int]]:
    """Every edge once, lower end first, in sorted order."""
    if num_nodes < 1:
        raise ValueError(f"num_nodes must be at least 1, got {num_nodes}")
    if not resolution > 0:
        raise ValueError(f"resolution must be positive, got {resolution}")
    check_edge_index(edge_index, num_nodes)
    edges = edge_index.cpu().long()
    low, high = edges.amin(0), edges.amax(0)
    keys = torch.unique(low * num_nodes + high)
    low, high = keys // num_nodes, keys % num_nodes
    apart = low != high
    return list(zip(low[apart].tolist(), high[apart].tolist(), strict=True))


class _Seeded:
    """igraph, drawing from a generator of its own; Python's global one is given back after."""

    def __init__(self, seed: int) -> None:
        try:
            import igraph
        except ImportError as error:
            raise ImportError(
                "Leiden, and Louvain with backend='igraph', need the package igraph: "
                "pip install 'graphcl-kge[community]'; louvain() by networkx needs nothing"
            ) from error
        self.igraph, self.seed = igraph, seed

    def __enter__(self) -> Any:
        self.igraph.set_random_number_generator(random.Random(self.seed))
        return self.igraph

    def __exit__(self, *_: object) -> None:
        self.igraph.set_random_number_generator(random)
