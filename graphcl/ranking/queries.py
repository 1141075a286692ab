"""Test triples grouped by the query that they answer, so that each query is scored once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from graphcl.kernels.tiles import blocks
from graphcl.ranking.ranks import SIDES, Side


@dataclass(frozen=True)
class QueryBlock:
    """Some triples whose ``side`` is ranked, in the order of their queries.

    Attributes:
        rows: (B,) places of the triples in the list that was given.
        target: (B,) ids to be ranked.
        queries: (U, 3) one triple for each distinct query; its ``side`` is one of the targets.
        index: (B,) query of each triple, not decreasing.
        first: (U,) the first of ``rows`` of each query.
    """

    rows: Tensor
    target: Tensor
    queries: Tensor
    index: Tensor
    first: Tensor


def query_blocks(triples: Tensor, side: Side, size: int) -> Iterator[QueryBlock]:
    """Cut (n, 3) triples into blocks of at most ``size``, triples of one query side by side."""
    column = SIDES.index(side)
    a, b = (triples[:, c] for c in range(3) if c != column)
    order = torch.argsort(b, stable=True)
    order = order[torch.argsort(a[order], stable=True)]
    for part in blocks(len(order), size):
        rows = order[part]
        block = triples[rows]
        pair = torch.stack((a[rows], b[rows]), 1)
        begins = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        begins[1:] = (pair[1:] != pair[:-1]).any(1)
        yield QueryBlock(
            rows=rows,
            target=block[:, column],
            queries=block[begins],
            index=begins.cumsum(0) - 1,
            first=rows[begins],
        )
