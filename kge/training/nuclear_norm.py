"""The nuclear 3-norm of the triples of a batch, as a penalty on their factors."""

from __future__ import annotations

import torch
from torch import Tensor


def nuclear_3_norm(*factors: Tensor) -> Tensor:
    r"""N3 (B,) of each triple: :math:`\sum_f \sum_k |f_k|^3` over its factors.

    Lacroix et al. (2018, arXiv 1806.07297): the norm of the tensor that ComplEx or CP decomposes is
    bounded through what the observed triples are made of, so that an entity is penalised as often
    as it occurs. Averaged over a batch, it estimates the penalty on all training triples.

    Args:
        factors: (B, d) each, as a rule embeddings of head, relation and tail; of complex ones the
            moduli count.
    """
    return torch.stack([_cubes(factor).sum(1) for factor in factors]).sum(0)


def _cubes(factor: Tensor) -> Tensor:
    if not factor.is_complex():
        return factor.square() * factor.abs()
    squares = squared_moduli(factor)
    return squares * (squares + torch.finfo(squares.dtype).tiny).sqrt()  # has a gradient at 0


def squared_moduli(factor: Tensor) -> Tensor:
    """Squares of numbers or, of complex ones, of their moduli."""
    if not factor.is_complex():
        return factor.square()
    return torch.view_as_real(factor).square().sum(-1)
