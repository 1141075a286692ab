"""Nodes that compete with an anchor's positive without being anchors themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Nodes in both views that compete with an anchor's positive.

    Args:
        z1: (M, D) in view 1.
        z2: (M, D) in view 2.
        ids: (M,) int64 global node ids; a candidate never competes with an anchor of its own id.

    Raises:
        ValueError: shapes that do not fit.
    """

    z1: Tensor
    z2: Tensor
    ids: Tensor

    def __post_init__(self) -> None:
        if self.z1.dim() != 2 or self.z1.shape != self.z2.shape:
            raise ValueError(
                f"candidates must be (M, D) in both views, got {tuple(self.z1.shape)} and "
                f"{tuple(self.z2.shape)}"
            )
        if self.ids.shape != self.z1.shape[:1] or self.ids.dtype != torch.int64:
            raise ValueError(
                f"ids must be {self.z1.shape[0]} int64 numbers, got {tuple(self.ids.shape)} of "
                f"{self.ids.dtype}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def cat(parts: Sequence[Candidates]) -> Candidates:
        """All candidates of one or more sets."""
        return Candidates(
            torch.cat([part.z1 for part in parts]),
            torch.cat([part.z2 for part in parts]),
            torch.cat([part.ids for part in parts]),
        )
