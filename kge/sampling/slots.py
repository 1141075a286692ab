"""Places of a batch's negatives, by the side that they replace."""

from __future__ import annotations

from torch import Tensor

from kge.sides import COLUMN, Side


def most_slots(columns: Tensor, side: Side) -> int:
    """How many of the (B, N) slots of one row at most replace the side."""
    return int((columns == COLUMN[side]).sum(1).max()) if columns.numel() else 0


def fill_slots(target: Tensor, columns: Tensor, side: Side, values: Tensor, found: Tensor) -> int:
    """Write (B, K) values, where found, into a side's slots of (B, N), in order; in place.

    Returns:
        how many slots were written.
    """
    ours = columns == COLUMN[side]
    rank = (ours.cumsum(1) - 1).clamp(min=0)
    ours &= rank < values.shape[1]
    rank = rank.clamp(max=values.shape[1] - 1)
    ours &= found.gather(1, rank)
    target[ours] = values.gather(1, rank)[ours]
    return int(ours.sum())
