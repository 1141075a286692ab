"""PathSim, and the nearest neighbours of each node under it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphcl.metapaths.composition import MetaPath
from graphcl.metapaths.neighbours import NeighbourGraph
from graphcl.views.pair_keys import TieKey, random_key

Ties = Literal["random", "value", "index"]
TIES = get_args(Ties)
_PIECE = 1 << 17


def path_sim(counts: sp.csr_matrix, own: np.ndarray, first: int = 0) -> sp.csr_matrix:
    r"""PathSim (Sun et al., 2011): :math:`2 C_{ij} / (C_{ii} + C_{jj})` on the nonzeros of C.

    Args:
        counts: instances of a round-trip meta-path, rows ``first`` and following.
        own: (N,) the diagonal of all of C.
        first: number of the first row.

    Raises:
        ValueError: a pair of which neither node has an instance that leads back to itself.

    Example:
        >>> c = sp.csr_matrix([[4.0, 1.0], [1.0, 1.0]])
        >>> path_sim(c, c.diagonal()).toarray().tolist()
        [[1.0, 0.4], [0.4, 1.0]]
    """
    row = np.repeat(np.arange(first, first + counts.shape[0]), np.diff(counts.indptr))
    both = own[row] + own[counts.indices]
    if not both.all():
        lost = int(np.argmin(both != 0))
        raise ValueError(
            f"PathSim of nodes {row[lost]} and {counts.indices[lost]} is not defined: the path "
            "joins them, but leads neither back to itself. Give a path there and back, such as "
            "PAP, or keep all neighbours (n=None)"
        )
    values = 2 * counts.data / both
    return sp.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)


def top_neighbours(
    path: MetaPath,
    n: int | None = None,
    *,
    ties: Ties = "random",
    seed: int = 0,
    features: Tensor | None = None,
) -> NeighbourGraph:
    """Join each node with its ``n`` most similar ones by PathSim, itself among them.

    A pair is joined when either end chooses it, and keeps the number of its path instances as
    weight. Every node keeps its self loop (of weight 1 where the path does not lead back to it).
    Rows are visited in blocks, so that what is cut off is never held at once.

    PathSim ties often (two papers of one subject under paper-subject-paper always do). Which of
    the equals are kept is decided

    - ``random``: by a number drawn for each pair from ``seed``;
    - ``value``: by the cosine of their features, the nearer first, then as in ``random``. Renaming
      the nodes renames the graph, unless features tie as well;
    - ``index``: the higher node number first. Where files list nodes sorted by class this hands
      labels to the model. For reproducing MEOW's release only, whose other departures come along:
      self loops compete like any other entry, and the graph is directed against the choice.

    Args:
        path: a meta-path that ends where it starts.
        n: neighbours of a node, at least 1; ``None`` keeps all.
        ties: ``random``, ``value`` or ``index``.
        seed: of ``random``.
        features: (N, F) of the nodes, for ``value``; dense or CSR.

    Raises:
        ValueError: the path is no round trip, ``n`` is below 1, an unknown rule for ties, ``value``
            without features, or a similarity that is not defined, see :func:`path_sim`.
    """
    path.check_round_trip()
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1 (a node is its own neighbour), got {n}")
    if ties not in TIES:
        raise ValueError(f"unknown ties {ties!r}; choose from {', '.join(TIES)}")
    if n is not None and not path.there_and_back():
        raise ValueError(
            f"PathSim of meta-path {path.name!r} is not defined: its way back is not the way there "
            "reversed. Give a path there and back, such as PAP, or keep all neighbours (n=None)"
        )
    own = path.diagonal()
    keys: list[TieKey] = [random_key(len(own), seed)]
    if ties == "value":
        if features is None:
            raise ValueError("ties='value' compares features, but the nodes have none")
        keys.insert(0, _feature_key(features))
    elif ties == "index":
        keys = [lambda row, column: -column.astype(np.float64)]
    rows, columns, weights = [], [], []
    for start, counts in path.blocks():
        kept: slice | np.ndarray = slice(None)
        if n is not None:
            kept = _best(path_sim(counts, own, start), start, n, keys, ties != "index")
        row = np.repeat(np.arange(start, start + counts.shape[0]), np.diff(counts.indptr))
        rows.append(row[kept])
        columns.append(counts.indices[kept])
        weights.append(counts.data[kept])
    build = NeighbourGraph.directed if ties == "index" else NeighbourGraph.undirected
    return build(np.concatenate(rows), np.concatenate(columns), np.concatenate(weights), len(own))


def _best(
    similarity: sp.csr_matrix, first: int, n: int, keys: list[TieKey], loops: bool
) -> np.ndarray:
    """Mask of the entries of a block that are among the best ``n`` of their row."""
    sizes = np.diff(similarity.indptr)
    local = np.repeat(np.arange(len(sizes)), sizes)
    column, value = similarity.indices, similarity.data.copy()
    if loops:
        value[column == local + first] = np.inf  # they come first
    order = np.lexsort((-value, local))
    # Entries sit row by row: the n-th best of a long row is its threshold.
    long = sizes > n
    threshold = np.full(len(sizes), -np.inf)
    threshold[long] = value[order[similarity.indptr[:-1][long] + n - 1]]
    above, level = value > threshold[local], value == threshold[local]
    kept: np.ndarray = above | (level & ~long[local])
    tied = np.flatnonzero(level & long[local])
    if tied.size:
        room = n - np.bincount(local[above], minlength=len(sizes))
        rank_by = [key(local[tied] + first, column[tied]) for key in keys]
        order = np.lexsort((*reversed(rank_by), local[tied]))
        tied = tied[order]
        begin = np.searchsorted(local[tied], np.arange(len(sizes)))
        place = np.arange(len(tied)) - begin[local[tied]]
        kept[tied[place < room[local[tied]]]] = True
    return kept


def _feature_key(features: Tensor) -> TieKey:
    """Minus the cosine of the features of two nodes."""
    if features.layout == torch.sparse_csr:
        parts = (features.values(), features.col_indices(), features.crow_indices())
        x = sp.csr_matrix(tuple(part.cpu().numpy() for part in parts), shape=features.shape)
    else:
        x = sp.csr_matrix(features.cpu().numpy())
    x = x.astype(np.float64)
    norm = np.sqrt(x.multiply(x).sum(1)).A1
    x = sp.diags(1 / np.where(norm > 0, norm, 1)) @ x

    def key(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        cosine = np.empty(len(row))
        for start in range(0, len(row), _PIECE):
            piece = slice(start, start + _PIECE)
            cosine[piece] = x[row[piece]].multiply(x[column[piece]]).sum(1).A1
        # Rounding differs with the order of the summands; equal cosines must stay equal.
        return -cosine.round(10)

    return key
