"""Binary discrimination of true and corrupted pairs (Deep Graph Infomax)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy over true and corrupted logits, each half of the mean.

    DGI (Velickovic et al., 2019, arXiv 1809.10341); twice it minus ``2 log 2`` is the
    Jensen-Shannon form. A discriminator that always answers 0 gives ``log 2``.

    Args:
        positive: (P,) logits of true pairs.
        negative: (M,) logits of corrupted pairs.

    Returns:
        Scalar.

    Raises:
        ValueError: no true or no corrupted pair.

    Example:
        >>> import torch
        >>> round(float(discriminator_loss(torch.zeros(3), torch.zeros(3))), 4)
        0.6931
    """
    if not positive.numel() or not negative.numel():
        raise ValueError(
            f"the loss needs true and corrupted pairs, got {positive.numel()} and "
            f"{negative.numel()}"
        )
    return (F.softplus(-positive).mean() + F.softplus(negative).mean()) / 2
