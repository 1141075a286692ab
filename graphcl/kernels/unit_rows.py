"""Rows of unit length."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-12


def unit_rows(rows: Tensor) -> Tensor:
    """Rows (N, D) divided by their lengths.

    As :func:`torch.nn.functional.normalize`, but a row of zeros, which has no direction, gets no
    gradient in place of one of 1e12 times that of the unit row.
    """
    length = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp_min(_LEAST).masked_fill(length == 0, torch.inf)
