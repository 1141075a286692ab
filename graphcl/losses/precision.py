"""The precision that losses are summed in."""

import torch
from torch import Tensor


def widened(*views: Tensor) -> tuple[Tensor, ...]:
    """Views in float64 where one is, in float32 otherwise: sums are not taken in half precision."""
    wide = torch.float64 if any(v.dtype == torch.float64 for v in views) else torch.float32
    return tuple(view.to(wide) for view in views)
