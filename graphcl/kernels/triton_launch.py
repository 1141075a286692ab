"""How the Triton kernels are launched: precision, tile sizes, functions made from source."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl

from graphcl.kernels.triton_support import Precision, interpreting

Shape = tuple[int, int, int, int]
"""Rows of a tile, columns of a tile, warps, stages."""

# The first that fits into shared memory is used. Compiled for compute capability 9 the first ones
# spill no registers, or a few bytes of them; none was tuned on a device. Exact products run on
# ordinary cores, where longer chunks of a row unroll into thousands of instructions and spill.
SHAPES: dict[tuple[Precision, bool], tuple[Shape, ...]] = {
    ("tf32", False): ((128, 128, 8, 2), (128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 1)),
    ("tf32", True): ((128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 1), (32, 32, 4, 1)),
    ("tf32x3", False): ((128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 1), (32, 32, 4, 1)),
    ("tf32x3", True): ((128, 32, 8, 1), (64, 32, 4, 1), (32, 32, 4, 1)),
    ("ieee", False): ((128, 64, 8, 1), (64, 32, 4, 1), (32, 32, 4, 1)),
    ("ieee", True): ((64, 32, 8, 1), (32, 32, 4, 1)),
}
"""By precision of the products, and whether gradients are formed."""
CHUNKS: dict[Precision, int] = {"tf32": 128, "tf32x3": 32, "ieee": 16}
"""Most numbers of a row that are multiplied at once."""
RANKING: tuple[Shape, ...] = ((64, 64, 8, 1), (32, 32, 4, 1))
_INTERPRETED: Shape = (16, 16, 1, 1)
FITTING: dict[Hashable, int] = {}


def matmul_precision(dtype: torch.dtype) -> Precision:
    """How rows are multiplied; for float32 that is torch's own setting."""
    if dtype != torch.float32:
        return "tf32"  # holds every digit of float16; of no effect on products of half precision
    try:
        return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    except RuntimeError:  # raised once the precision was set per backend
        return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


@lru_cache(maxsize=256)  # by source: Triton knows a function by its identity
def compiled(source: str) -> Any:
    """The Triton function of an expression; its source must be readable as that of a file."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    filename = f"<triton expression {digest}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    # A module of its own each, so that functions differ by name as well.
    names: dict[str, Any] = {"triton": triton, "tl": tl, "__name__": f"{__name__}.{digest}"}
    exec(compile(source, filename, "exec"), names)
    return names["evaluate"]


def first_that_fits(
    run: Callable[[int, int, int, int], None],
    shapes: tuple[Shape, ...],
    device: torch.device,
    kind: Hashable,
) -> None:
    """Launch with the first tile that the device has shared memory for.

    Args:
        run: launches with rows and columns of a tile, warps and stages.
        shapes: to be tried in turn.
        device: of the tensors.
        kind: what sets the memory that is needed; the choice is remembered for it.
    """
    if interpreting():
        return run(*_INTERPRETED)
    from triton.runtime.errors import OutOfResources

    key = device.index, kind
    with torch.cuda.device(device):
        for place in range(FITTING.get(key, 0), len(shapes) - 1):
            try:
                run(*shapes[place])
            except OutOfResources:
                continue
            FITTING[key] = place
            return
        FITTING[key] = len(shapes) - 1
        run(*shapes[-1])


def power_of_two(size: int, most: int) -> int:
    """The power of two from 16 (least for a matrix product) to ``most`` that covers ``size``."""
    return min(most, max(16, triton.next_power_of_2(max(1, size))))
