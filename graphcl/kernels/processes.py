"""Rows and sums across the processes of ``torch.distributed``; with one process, nothing happens.

Gathering, summing and broadcasting are collectives: all processes call them, in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """Number of processes that train or rank together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if _together() else 1


def process_index() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _together() else 0


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def gather_rows(rows: Tensor) -> tuple[Tensor, slice]:
    """Rows of all processes, in their order, and which of them are this process's own.

    The number of rows may differ. A gradient that reaches the gathered rows on any process flows
    back to the process they came from, where those of all processes are summed: with the mean over
    processes that :class:`torch.nn.parallel.DistributedDataParallel` takes of the parameters'
    gradients, the losses of local anchors against all candidates train like the mean loss of one
    process that holds everything.

    Args:
        rows: (B, ...) of this process; the same trailing shape and dtype everywhere.

    Returns:
        (sum of B, ...) and the slice of the own rows.
    """
    if process_count() == 1:
        return rows, slice(0, rows.shape[0])
    own = torch.tensor([rows.shape[0]], device=rows.device)
    every = [torch.empty_like(own) for _ in range(process_count())]
    dist.all_gather(every, own)
    sizes = [int(size) for size in every]
    start = sum(sizes[: process_index()])
    gathered: Tensor = _GatherRows.apply(rows, sizes, start)
    return gathered, slice(start, start + rows.shape[0])


def sum_over_processes(values: Tensor) -> Tensor:
    """Elementwise sum of one tensor per process, without a gradient; a new tensor."""
    total = values.detach().clone()
    if process_count() > 1:
        dist.all_reduce(total)
    return total


def from_first_process(value: Any) -> Any:
    """What the first process passed, on all of them; small plain data only."""
    held = [value]
    if process_count() > 1:
        dist.broadcast_object_list(held, src=0)
    return held[0]


class _GatherRows(torch.autograd.Function):
    """All rows forwards, the sum of all gradients of the own rows backwards."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int], start: int) -> Tensor:
        ctx.own = slice(start, start + rows.shape[0])
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.own], None, None
