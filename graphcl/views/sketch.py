"""Random sketches of the rows of a matrix, which keep its covariance on average."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

SketchKind = Literal["gaussian", "sparse"]

# Entries of a block of the random matrix that exist at one time, about 16 MB in float32.
_BLOCK_ENTRIES = 2**22


def sketch_rows(
    z: Tensor,
    k: int,
    *,
    kind: SketchKind = "gaussian",
    nonzeros: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Random combinations of rows :math:`P z` with :math:`E[P^\top P] = I`.

    Hence :math:`E[(P z)^\top (P z)] = z^\top z`: COSTA's augmentation (Zhang et al., 2022, arXiv
    2206.04726). The (k, N) matrix P is never held: Gaussian entries are drawn in blocks of rows and
    drawn again, from the same seed, for the gradient; a sparse P is a sum of row scatters.

    Args:
        z: (N, D). Sketch several matrices side by side, (N, D1 + D2), to give them one P.
        k: number of rows of the sketch.
        kind: ``gaussian``, entries N(0, 1 / k), O(k N D) operations; or ``sparse``: every node is
            added to ``nonzeros`` random rows with random signs, O(N D). With one that is the
            CountSketch (Charikar et al., 2002).
        nonzeros: per node, of a sparse P.
        generator: source of the seed (CPU); torch's global one if None.

    Returns:
        (k, D) with gradients to ``z``.

    Raises:
        ValueError: ``z`` is not a floating-point matrix, ``k`` or ``nonzeros`` is below 1, or the
            kind is unknown.

    Example:
        >>> z = torch.eye(3).double()
        >>> sketched = sketch_rows(z, 4000, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(sketched.T @ sketched, z, atol=0.1)
        True
    """
    if z.dim() != 2 or not z.is_floating_point():
        raise ValueError(f"z must be a floating-point (N, D), got {tuple(z.shape)} of {z.dtype}")
    if k < 1 or nonzeros < 1:
        raise ValueError(f"k and nonzeros must be at least 1, got k={k}, nonzeros={nonzeros}")
    seed = int(torch.randint(2**62, (), generator=generator))
    if kind == "gaussian":
        sketched: Tensor = _GaussianSketch.apply(z, k, seed)
        return sketched
    if kind != "sparse":
        raise ValueError(f"unknown sketch {kind!r}; choose gaussian or sparse")
    source = _source(z, seed)
    total = z.new_zeros(k, z.shape[1])
    for _ in range(nonzeros):
        row = torch.randint(k, (len(z),), generator=source, device=z.device)
        coin = torch.randint(2, (len(z), 1), generator=source, device=z.device)
        total = total.index_add(0, row, z * (2 * coin - 1).to(z.dtype))
    return total / nonzeros**0.5


class _GaussianSketch(torch.autograd.Function):
    """``P z``, with P drawn in blocks in both passes."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, k: int, seed: int) -> Tensor:
        ctx.nodes, ctx.k, ctx.seed = len(z), k, seed
        out = z.new_empty(k, z.shape[1])
        for rows, block in _gaussian_blocks(z, len(z), k, seed):
            out[rows] = block @ z
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        found = grad.new_zeros(ctx.nodes, grad.shape[1])
        for rows, block in _gaussian_blocks(grad, ctx.nodes, ctx.k, ctx.seed):
            found.addmm_(block.T, grad[rows])
        return found, None, None


def _gaussian_blocks(like: Tensor, nodes: int, k: int, seed: int) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of a (k, N) matrix of N(0, 1 / k), in their order, always the same."""
    source = _source(like, seed)
    size = max(1, _BLOCK_ENTRIES // max(1, nodes))
    for start in range(0, k, size):
        high = min(size, k - start)
        block = torch.randn(high, nodes, generator=source, dtype=like.dtype, device=like.device)
        yield slice(start, start + high), block.div_(k**0.5)


def _source(like: Tensor, seed: int) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(seed)
