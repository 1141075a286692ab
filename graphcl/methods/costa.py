"""COSTA: contrast of random sketches of the embeddings instead of the embeddings."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from graphcl.losses.infonce import InfoNCE
from graphcl.methods.grace import GRACE
from graphcl.views.sketch import SketchKind, sketch_rows


class COSTA(GRACE):
    """COSTA (Zhang et al., 2022, arXiv 2206.04726): covariance-preserving feature augmentation.

    Embeddings of two views are sketched along nodes by one random matrix, ``P z1`` and ``P z2``
    with ``ratio * N`` rows, which keeps their covariance on average; row by row the sketches go
    through the head into an inter-view InfoNCE. P is drawn anew in every step and never held.

    Args:
        in_channels: F.
        hidden: width D of the embeddings.
        tau: temperature.
        views: ``multi``, two corrupted graphs; or ``single``, one corrupted graph (by the first
            rates) that is contrasted with itself, at half the encoding: the paper's trivial case of
            two equal views, where only the spread of the sketched rows is trained.
        ratio: rows of the sketch per node.
        sketch: ``gaussian`` or ``sparse``, see :func:`~graphcl.views.sketch_rows`.
        nonzeros: per node, of a sparse sketch.
        **options: as in :class:`GRACE`.

    Raises:
        ValueError: settings out of range.

    Example:
        >>> method = COSTA(8, hidden=4)
        >>> method(torch.rand(6, 8), torch.tensor([[0, 1, 2], [1, 0, 3]])).shape
        torch.Size([])
    """

    paper: ClassVar[str] = "COSTA, Zhang et al., 2022, arXiv 2206.04726"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 256,
        *,
        tau: float = 0.4,
        views: Literal["multi", "single"] = "multi",
        ratio: float = 0.5,
        sketch: SketchKind = "gaussian",
        nonzeros: int = 1,
        **options: Any,
    ) -> None:
        if views not in ("multi", "single"):
            raise ValueError(f"unknown views {views!r}; choose multi or single")
        if sketch not in ("gaussian", "sparse"):
            raise ValueError(f"unknown sketch {sketch!r}; choose gaussian or sparse")
        if not (ratio > 0 and math.isfinite(ratio)):
            raise ValueError(f"ratio must be positive and finite, got {ratio}")
        if nonzeros < 1:
            raise ValueError(f"nonzeros must be at least 1, got {nonzeros}")
        options["loss"] = options.get("loss") or InfoNCE(tau=tau, intra_view=False)
        super().__init__(in_channels, hidden, tau=tau, **options)
        self.views, self.ratio = views, ratio
        self.kind: SketchKind = sketch
        self.nonzeros = nonzeros

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        z1 = z2 = self.encode(*self.view(x, edge_index, 0))
        if self.views == "multi":
            z2 = self.encode(*self.view(x, edge_index, 1))
        first, second = self.sketch(z1, z2)
        return self.contrast(self.head(first), self.head(second))

    def sketch(self, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        """Sketches (k, D) of both views by one P; of a single view, one sketch twice."""
        rows = max(2, int(len(z1) * self.ratio))
        together = z1 if z2 is z1 else torch.cat([z1, z2], 1)
        found = sketch_rows(together, rows, kind=self.kind, nonzeros=self.nonzeros)
        if z2 is z1:
            return found, found
        first, second = found.chunk(2, 1)
        return first, second
