"""Sizes of the tiles in which pairs of rows are visited."""

from __future__ import annotations

from collections.abc import Iterator

import torch

# Tiles of about 1000 x 1000 float32 (4 MB) keep a tile and its operands in the last-level cache of
# a CPU while each matrix product stays large enough to run at full rate; a GPU wants more at once.
_SIDE = {"cpu": 1024, "cuda": 8192}


def tile_shape(num_queries: int, num_keys: int, device: torch.device) -> tuple[int, int]:
    """Rows and columns of a tile for a (Q, K) problem, evenly cut so that no sliver remains."""
    side = _SIDE.get(device.type, 1024)
    return _even(num_queries, side), _even(num_keys, side)


def _even(count: int, side: int) -> int:
    pieces = max(1, -(-count // side))
    return max(1, -(-count // pieces))


def blocks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of ``size`` covering ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
