"""Sizes of tiles: they cover everything evenly, suit the caches and follow N."""

import os

import pytest
import torch

from graphcl.kernels import tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 300, 769, 1000, 2000, 10_000, 169_343])
def test_cpu_tiles_are_even_and_within_bounds(count: int) -> None:
    side, other = tiles.tile_shape(count, 2 * count, CPU)
    assert 1 <= side <= tiles._MOST
    assert other == tiles.tile_shape(2 * count, 1, CPU)[0]
    pieces = list(tiles.blocks(count, side))
    assert sum(p.stop - p.start for p in pieces) == count
    if pieces:
        last = pieces[-1].stop - pieces[-1].start
        assert side - last < len(pieces)  # no sliver
        # Small problems are cut as well, unless the pieces become too small for their products.
        assert len(pieces) >= tiles._PIECES or count <= tiles._PIECES * tiles._LEAST


@pytest.mark.parametrize(
    ("size", "threads", "side"),
    [(1 << 20, 1, 396), (1 << 20, 2, 560), (1 << 16, 1, 256), (1 << 30, 8, 1024), (0, 1, 396)],
)
def test_the_side_follows_the_caches(
    size: int, threads: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown size (0) counts as one MiB."""
    monkeypatch.setattr(os, "sysconf", lambda name: size)
    tiles._cached_side.cache_clear()
    assert tiles._cached_side(threads) == side
    tiles._cached_side.cache_clear()


@pytest.mark.parametrize("count", [1, 384, 385, 10_000])
def test_tiles_that_functions_work_on_are_small(count: int) -> None:
    side, _ = tiles.tile_shape(count, count, CPU, worked=True)
    pieces = -(-count // tiles._WORKED)
    assert side == -(-count // pieces)


def test_other_devices_have_a_fixed_side() -> None:
    assert tiles.tile_shape(10_000, 8192, torch.device("cuda")) == (5000, 8192)
