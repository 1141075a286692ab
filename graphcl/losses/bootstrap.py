"""The bootstrap loss: predict the other view's target embedding, without negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphcl.kernels.unit_rows import unit_rows
from graphcl.losses.precision import widened


class BootstrapLoss(nn.Module):
    """Cosine bootstrap loss of BGRL (Thakoor et al., 2022, arXiv 2102.06514).

    ``2 - mean_i cos(p1_i, t2_i) - mean_i cos(p2_i, t1_i)``, in [0, 4]; smaller is better. Targets
    are constants. Memory O(N D): the diagonal is computed, not a matrix.

    Example:
        >>> import torch
        >>> z = torch.eye(3)
        >>> float(BootstrapLoss()(z, z, z, z))
        0.0
    """

    def forward(
        self, prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            prediction1: (N, D) predictor output of the online encoder on view 1.
            prediction2: (N, D) the same on view 2.
            target1: (N, D) target encoder on view 1.
            target2: (N, D) target encoder on view 2.

        Raises:
            ValueError: shapes differ, or are not (N, D) with N > 0.
        """
        shapes = {tuple(t.shape) for t in (prediction1, prediction2, target1, target2)}
        if len(shapes) != 1:
            raise ValueError(f"predictions and targets must share one shape, got {sorted(shapes)}")
        if prediction1.dim() != 2 or not len(prediction1):
            raise ValueError(
                f"predictions and targets must be rows (N, D), got {tuple(prediction1.shape)}"
            )
        with torch.autocast(prediction1.device.type, enabled=False):
            online1, online2 = widened(prediction1, prediction2)
            constant1, constant2 = widened(target1.detach(), target2.detach())
            first = (unit_rows(online1) * unit_rows(constant2)).sum(1)
            second = (unit_rows(online2) * unit_rows(constant1)).sum(1)
            return 2 - first.mean() - second.mean()
