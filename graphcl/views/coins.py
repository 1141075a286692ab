"""Independent biased coins: the only source of randomness of the views."""

import torch
from torch import Tensor


def flip_coins(
    p: float | Tensor,
    count: int,
    *,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Flip ``count`` independent coins that show True with probability ``p``.

    The coins are drawn on the generator's device (``device`` without one) and then moved, so a CPU
    generator gives the same coins for data on every device.

    Args:
        p: One probability for all coins, or a tensor (count,) of them.
        count: Number of coins.
        device: Where the result lives.
        generator: Source of randomness; torch's global one if None.

    Returns:
        Boolean tensor (count,).

    Raises:
        ValueError: If ``p`` has another shape, or a probability is NaN or outside [0, 1].
    """
    check_probabilities(p, count)
    source = device if generator is None else generator.device
    # rand is in [0, 1), so p = 0 never and p = 1 always succeeds.
    return torch.rand(count, device=source, generator=generator).to(device) < p


def check_probabilities(p: float | Tensor, count: int) -> None:
    """Raise ValueError unless ``p`` is one probability or a tensor of ``count`` of them."""
    if isinstance(p, Tensor) and p.dim() > 0:
        if p.shape != (count,):
            raise ValueError(
                f"probabilities have shape {tuple(p.shape)}: give one number or shape ({count},)"
            )
        wrong = ~((p >= 0) & (p <= 1))
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise ValueError(f"probability {p[first].item()} at {first} is not in [0, 1]")
    elif not 0 <= float(p) <= 1:
        raise ValueError(f"probability {float(p)} is not in [0, 1]")
