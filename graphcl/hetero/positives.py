"""Positive pairs by the number of meta-paths that join two nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graphcl.metapaths.composition import MetaPath
from graphcl.views.pair_keys import random_key


def positive_pairs(paths: Sequence[MetaPath], threshold: int, *, seed: int = 0) -> Tensor:
    """The ``threshold`` nodes that are joined to each node by most meta-paths (HeCo).

    A node is its own first positive. Among nodes joined by equally many, those come first whose
    paths start at fewer neighbours (the sum of 1 / degree over paths, by which the released pairs
    were chosen), then a number drawn for each pair decides, not the order of nodes.

    Args:
        paths: round-trip meta-paths of one node type.
        threshold: positives of a node at most, itself among them.
        seed: of the ties.

    Returns:
        (2, P) int64 pairs, rows ascending.

    Raises:
        ValueError: no path, or a threshold below 1.
    """
    if not paths or threshold < 1:
        raise ValueError(
            f"{len(paths)} meta-paths with threshold {threshold}; give one and 1 at least"
        )
    for path in paths:
        path.check_round_trip()
    key = random_key(paths[0].num_nodes, seed)
    rows, columns = [], []
    for start in range(0, paths[0].num_nodes, 1024):
        joined = None
        for path in paths:
            counts = path.counts(slice(start, start + 1024))
            degree = np.diff(counts.indptr)
            counts.data = 1 + 1 / np.repeat(degree, degree) / (len(paths) + 1)
            joined = counts if joined is None else joined + counts
        assert joined is not None
        row = np.repeat(np.arange(joined.shape[0]), np.diff(joined.indptr)) + start
        own = np.arange(joined.shape[0]) + start
        row, column = np.concatenate([own, row]), np.concatenate([own, joined.indices])
        weight = np.concatenate([np.full(len(own), np.inf), joined.data])
        weight[len(own) :][row[len(own) :] == column[len(own) :]] = -np.inf  # the loops are there
        order = np.lexsort((key(row, column), -weight.round(12), row))
        row, column, weight = row[order], column[order], weight[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = (place < threshold) & (weight > -np.inf)
        rows.append(row[kept])
        columns.append(column[kept])
    return torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)])).long()
