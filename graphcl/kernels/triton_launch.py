"""How the Triton kernels are launched: precision, tile sizes, functions made from source."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl

from graphcl.kernels.triton_support import Precision, interpreting

# Rows of a tile, columns of a tile, warps, stages: the first that fits into shared memory is used.
_SHAPES = ((128, 128, 8, 2), (128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 1), (32, 32, 4, 1))
_INTERPRETED = (16, 16, 1, 1)
_FITTING: dict[Hashable, int] = {}


def matmul_precision() -> Precision:
    """How float32 rows are multiplied, from torch's own setting."""
    try:
        return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    except RuntimeError:  # raised once the precision was set per backend
        return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


@lru_cache(maxsize=256)  # by source: Triton knows a function by its identity
def compiled(source: str) -> Any:
    """The Triton function of an expression; its source must be readable as that of a file."""
    filename = f"<triton expression {hash(source):x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names: dict[str, Any] = {"triton": triton, "tl": tl, "__name__": __name__}
    exec(compile(source, filename, "exec"), names)
    return names["evaluate"]


def first_that_fits(
    run: Callable[[int, int, int, int], None], device: torch.device, kind: Hashable
) -> None:
    """Launch with the largest tile that the device has shared memory for.

    Args:
        run: launches with rows and columns of a tile, warps and stages.
        device: of the tensors.
        kind: what sets the memory that is needed; the choice is remembered for it.
    """
    if interpreting():
        return run(*_INTERPRETED)
    from triton.runtime.errors import OutOfResources

    key = device.index, kind
    with torch.cuda.device(device):
        for place in range(_FITTING.get(key, 0), len(_SHAPES) - 1):
            try:
                run(*_SHAPES[place])
            except OutOfResources:
                continue
            _FITTING[key] = place
            return
        run(*_SHAPES[-1])


def power_of_two(size: int, most: int) -> int:
    """The power of two from 16 (least for a matrix product) to ``most`` that covers ``size``."""
    return min(most, max(16, triton.next_power_of_2(max(1, size))))
