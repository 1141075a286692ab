"""Node centralities: degree, PageRank and eigenvector, each in O(E) per iteration."""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from graphcl.views.edges import check_edge_index


def centrality(name: str, edge_index: Tensor, num_nodes: int, **options: float) -> Tensor:
    """Centrality (N,) by name: "degree", "pagerank" (or "pr"), "eigenvector" (or "evc").

    Args:
        name: Which centrality.
        edge_index: Edges (2, E) from row 0 to row 1.
        num_nodes: Number of nodes N, isolated ones counted.
        **options: Keywords of the named function, such as ``damping`` or ``tol``.

    Raises:
        ValueError: If the name is unknown, or as the named function does.

    Example:
        >>> centrality("degree", torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
        tensor([1., 1., 0.])
    """
    check_centrality(name)
    return CENTRALITIES[name](edge_index, num_nodes, **options)


def check_centrality(name: str) -> str:
    """The name; ``ValueError`` if no centrality has it."""
    if name not in CENTRALITIES:
        raise ValueError(f"unknown centrality {name!r}: choose from {', '.join(CENTRALITIES)}")
    return name


def degree_centrality(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Number of edges into each node (N,), which is the degree where both directions are stored.

    Every stored edge counts, copies and self loops too.

    Raises:
        ValueError: If ``edge_index`` is not (2, E) integers below ``num_nodes``.
    """
    check_edge_index(edge_index, num_nodes)
    return torch.bincount(edge_index[1], minlength=num_nodes).to(torch.get_default_dtype())


def pagerank_centrality(
    edge_index: Tensor,
    num_nodes: int,
    damping: float = 0.85,
    iterations: int = 200,
    tol: float = 1e-10,
) -> Tensor:
    """PageRank (N,), summing to one, by power iteration.

    A surfer follows a random stored edge with probability ``damping`` and jumps to a random node
    otherwise; from a node without outgoing edges the surfer always jumps. The GCA release instead
    runs a lazy random walk without jumps, which tends to the degree and is not reproduced here.

    Args:
        edge_index: Edges (2, E) from row 0 to row 1; copies count as parallel edges.
        num_nodes: Number of nodes N, isolated ones counted.
        damping: Probability of following an edge, in [0, 1).
        iterations: Largest number of iterations; a warning tells if they do not suffice.
        tol: Stop once the sum of absolute changes is below this.

    Raises:
        ValueError: If ``damping`` is outside [0, 1), ``iterations`` is not positive, or
            ``edge_index`` is not (2, E) integers below ``num_nodes``.
    """
    check_edge_index(edge_index, num_nodes)
    _check_iterations(iterations)
    if not 0 <= damping < 1:
        raise ValueError(f"damping={damping} is not in [0, 1)")
    if num_nodes == 0:
        return torch.zeros(0, device=edge_index.device)
    source, target = edge_index.long()
    out_degree = torch.bincount(source, minlength=num_nodes)
    dangling = out_degree == 0
    share = 1 / out_degree.clamp_min(1).double()
    rank = torch.full_like(share, 1 / num_nodes)
    change = math.inf
    for _ in range(iterations):
        followed = torch.zeros_like(rank).index_add_(0, target, (rank * share)[source])
        jumping = (1 - damping) + damping * rank[dangling].sum()
        updated = damping * followed + jumping / num_nodes
        change = float((updated - rank).abs().sum())
        rank = updated
        if change < tol:
            break
    else:
        _warn_unconverged("pagerank_centrality", iterations, change, tol)
    return (rank / rank.sum()).to(torch.get_default_dtype())


def eigenvector_centrality(
    edge_index: Tensor, num_nodes: int, iterations: int = 1000, tol: float = 1e-9
) -> Tensor:
    """Eigenvector centrality (N,), non-negative and of unit Euclidean norm, by power iteration.

    Iterates ``x <- (A + I) x`` over incoming edges from the uniform vector; the shift by ``I``
    leaves the eigenvectors as they are and makes the iteration converge on bipartite graphs too.
    On a disconnected graph the result lives on the component with the largest eigenvalue (spread
    over all of them if several tie) and decays to zero elsewhere, so ranks between nodes of the
    other components mean nothing. Meant for graphs with both directions stored.

    Args:
        edge_index: Edges (2, E) from row 0 to row 1; copies count as parallel edges.
        num_nodes: Number of nodes N, isolated ones counted.
        iterations: Largest number of iterations; a warning tells if they do not suffice.
        tol: Stop once the Euclidean norm of the change is below this.

    Raises:
        ValueError: If ``iterations`` is not positive, or ``edge_index`` is not (2, E) integers
            below ``num_nodes``.
    """
    check_edge_index(edge_index, num_nodes)
    _check_iterations(iterations)
    if num_nodes == 0:
        return torch.zeros(0, device=edge_index.device)
    source, target = edge_index.long()
    x = torch.full((num_nodes,), num_nodes**-0.5, dtype=torch.double, device=edge_index.device)
    change = math.inf
    for _ in range(iterations):
        updated = x.index_add(0, target, x[source])
        updated = updated / updated.norm()
        change = float((updated - x).norm())
        x = updated
        if change < tol:
            break
    else:
        _warn_unconverged("eigenvector_centrality", iterations, change, tol)
    return x.to(torch.get_default_dtype())


CENTRALITIES: dict[str, Callable[..., Tensor]] = {
    "degree": degree_centrality,
    "pagerank": pagerank_centrality,
    "pr": pagerank_centrality,
    "eigenvector": eigenvector_centrality,
    "evc": eigenvector_centrality,
}


def _check_iterations(iterations: int) -> None:
    if iterations < 1:
        raise ValueError(f"iterations={iterations} is not positive")


def _warn_unconverged(function: str, iterations: int, change: float, tol: float) -> None:
    warnings.warn(
        f"{function} still changed by {change:.1e} in iteration {iterations} (tol={tol:.1e}): "
        "the result is approximate, raise iterations or tol",
        RuntimeWarning,
        stacklevel=3,
    )
