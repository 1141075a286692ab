"""Feature masking: whole columns set to zero for all nodes."""

import torch
from torch import Tensor

from graphcl.views.coins import flip_coins


def mask_features(
    x: Tensor, p: float | Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """Set each feature column to zero with probability ``p``, the same columns for all nodes.

    The masking of GRACE (Zhu et al., 2020, arXiv:2006.04131). Kept values are not rescaled.

    Args:
        x: Node features (N, F); left as they are.
        p: Masking probability, or one per column (F,).
        generator: Source of randomness; torch's global one if None.

    Returns:
        Masked copy (N, F).

    Raises:
        ValueError: If ``x`` is not a matrix, or a probability is NaN, outside [0, 1] or of the
            wrong shape.

    Example:
        >>> mask_features(torch.ones(2, 3), torch.tensor([0.0, 1.0, 0.0]))
        tensor([[1., 0., 1.],
                [1., 0., 1.]])
    """
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}: give (N, F)")
    return x.masked_fill(flip_coins(p, x.size(1), device=x.device, generator=generator), 0)
