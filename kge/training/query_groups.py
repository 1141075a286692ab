"""Which rows a batch asks from, and those that ask the same: scored once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from kge.sides import COLUMN, Side


class Queries(NamedTuple):
    """The distinct queries of a batch.

    Attributes:
        rows: (Q,) a row of each query.
        of: (B,) the query of each row.
    """

    rows: Tensor
    of: Tensor

    def to(self, device: torch.device) -> Queries:
        """The same on a device."""
        return Queries(self.rows.to(device), self.of.to(device))


def distinct_queries(triples: Tensor, side: Side) -> Queries:
    """The distinct (h, r, ?) or (?, r, t) of (B, 3) triples.

    Example:
        >>> distinct_queries(torch.tensor([[0, 0, 1], [0, 0, 2], [3, 0, 2]]), "tail").of.tolist()
        [0, 0, 1]
    """
    given = triples[:, [column for column in range(3) if column != COLUMN[side]]]
    key = given[:, 0] * (given[:, 1].max() + 1) + given[:, 1] if len(given) else given[:, 0]
    distinct, of = key.unique(return_inverse=True)
    rows = torch.empty(len(distinct), dtype=torch.int64, device=triples.device)
    rows[of] = torch.arange(len(triples), device=triples.device)
    return Queries(rows, of)


class SideRows(Sampler[Tensor]):
    """Batches of rows for each side that is asked for; randomness from torch's global generator.

    Grouped, the rows of a query follow each other, the queries come in random order, and the
    batches are cut from that, so that all but the last have the same size and a query is split at
    most where one batch ends.

    Args:
        triples: (n, 3).
        batch_size: rows a batch.
        drop_last: leave out a last, smaller batch.
        paired: both sides ask from the same rows, where batches are not grouped.
        grouped: whether batches are grouped, asked at the start of each epoch.
    """

    def __init__(
        self,
        triples: Tensor,
        batch_size: int,
        *,
        drop_last: bool = False,
        paired: bool = False,
        grouped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rows, self.batch_size, self.drop_last = len(triples), batch_size, drop_last
        self.paired, self.grouped = paired, grouped
        self._query = [distinct_queries(triples, side).of for side in COLUMN]

    def __len__(self) -> int:
        return self.rows // self.batch_size if self.drop_last else -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """Row numbers (2, B), for heads and for tails, or (B,) for both."""
        if self.grouped():
            order = torch.stack([_in_groups(query) for query in self._query])
        elif self.paired:
            order = torch.randperm(self.rows)
        else:
            order = torch.stack([torch.randperm(self.rows) for _ in COLUMN])
        # Groups of one size lie anywhere: batches need no shuffle of their own.
        yield from order.split(self.batch_size, dim=-1)[: len(self)]


def _in_groups(group: Tensor) -> Tensor:
    """A random order of rows in which those of a group, numbered from 0, follow each other."""
    place = torch.randperm(int(group.max()) + 1 if len(group) else 0)
    return place[group].argsort()
