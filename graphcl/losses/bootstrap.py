"""The bootstrap loss: predict the other view's target embedding, without negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
            ValueError: shapes differ.
        """
        shapes = {tuple(t.shape) for t in (prediction1, prediction2, target1, target2)}
        if len(shapes) != 1:
            raise ValueError(f"predictions and targets must share one shape, got {sorted(shapes)}")
        # In half precision the smallest norm that is divided by would be zero.
        with torch.autocast(prediction1.device.type, enabled=False):
            online1, online2 = widened(prediction1, prediction2)
            constant1, constant2 = widened(target1.detach(), target2.detach())
            first = F.cosine_similarity(online1, constant2, dim=-1)
            second = F.cosine_similarity(online2, constant1, dim=-1)
            return 2 - first.mean() - second.mean()
