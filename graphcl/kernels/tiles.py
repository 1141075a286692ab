"""Sizes of the tiles in which pairs of rows are visited."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

# A GPU wants much at once; other devices are given the size here, CPUs one that suits their cache.
_SIDE = {"cuda": 8192, "mps": 1024}
# Up to a few thousand rows a tile of float32 and the blocks it is made of stay in the second-level
# caches, where exponentials and sums run at the rate of the cores; beyond 256 x 256 matrix products
# run at full rate as well. For more rows the count of tiles decides, and they are as large as the
# last-level cache allows: 30 000 rows took 17 s in tiles of 560 and 12 s in tiles of 1024.
_LEAST, _MOST = 256, 1024
# A function of every pair fills a tile several times over. All of them shall stay in the second-
# level cache, and come from the heap: memory from the system costs as much as the function.
_WORKED = 384
# A product of p blocks with themselves visits (p + 1) / 2 p of its tiles.
_PIECES = 3


def tile_shape(
    num_queries: int, num_keys: int, device: torch.device, *, worked: bool = False
) -> tuple[int, int]:
    """Rows and columns of a tile for a (Q, K) problem, evenly cut so that no sliver remains.

    Args:
        num_queries: Q.
        num_keys: K.
        device: that of the tile.
        worked: whether functions of its pairs need several tiles of memory at once.
    """
    return _side(num_queries, device, worked), _side(num_keys, device, worked)


def _side(count: int, device: torch.device, worked: bool) -> int:
    fixed = _SIDE.get(device.type)
    if fixed is not None:
        return _even(count, fixed)
    if worked:
        return _even(count, _WORKED)
    if count >= _PIECES * _MOST:
        return _even(count, _MOST)
    cached = _cached_side(torch.get_num_threads())
    return _even(count, min(cached, max(_LEAST, -(-count // _PIECES))))


def _even(count: int, side: int) -> int:
    pieces = max(1, -(-count // side))
    return max(1, -(-count // pieces))


@lru_cache(maxsize=8)
def _cached_side(threads: int) -> int:
    """Side of a tile of float32 that fills 0.6 of the second-level caches of some cores."""
    try:
        size = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, OSError, ValueError):  # known to glibc alone
        size = 0
    if size <= 0:
        size = 1 << 20
    fitting = int((0.6 * size * threads / 4) ** 0.5)
    return max(_LEAST, min(fitting, _MOST))


def blocks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of ``size`` covering ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def work_blocks(work: Tensor, budget: int) -> Iterator[slice]:
    """Consecutive blocks of rows with so much ``work`` (B,) that add up to ``budget`` at most.

    A row of more work than that is a block by itself.
    """
    done = work.cumsum(0)
    start = 0
    while start < len(work):
        before = int(done[start - 1]) if start else 0
        stop = max(int(torch.searchsorted(done, before + budget, right=True)), start + 1)
        yield slice(start, stop)
        start = stop
