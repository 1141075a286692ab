"""Entropy of a distribution of which only a sample is seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def entropy_bits(counts: Tensor, group: Tensor | None = None) -> Tensor:
    """Entropy in bits of what was drawn ``counts`` times (Chao, Wang and Jost, 2013).

    The plain entropy of a sample is too small where many outcomes were not drawn yet. Here what is
    missing is estimated from how many were drawn once and twice: for draws that are nearly uniform
    over thousands of outcomes, a thousand suffice.

    Args:
        counts: (n,) how often each outcome was drawn; zeros do not matter.
        group: (n,) the distribution each outcome belongs to, from 0; by default one for all.

    Returns:
        (groups,) float64, or a scalar without ``group``; 0 for a group without draws.

    Example:
        >>> round(entropy_bits(torch.full((8,), 1000)).item(), 2)
        3.0
    """
    from scipy.special import digamma

    count = counts.numpy().astype(np.float64)
    index = np.zeros(len(count), dtype=np.int64) if group is None else group.numpy()
    count, index = count[count > 0], index[count > 0]
    number = int(index.max()) + 1 if len(index) else 1
    total = np.bincount(index, count, number)
    seen = count / total[index] * (digamma(total[index]) - digamma(count))
    once = np.bincount(index, count == 1, number)
    twice = np.bincount(index, count == 2, number)
    nats = np.bincount(index, seen, number) + _unseen(total, once, twice)
    bits = torch.from_numpy(nats / math.log(2))
    return bits[0] if group is None else bits


def _unseen(total: np.ndarray, once: np.ndarray, twice: np.ndarray) -> np.ndarray:
    """What outcomes that were not drawn add to the entropy, in nats.

    With n draws it is f1 / n (1 - A)^(1 - n) sum_{r >= n} (1 - A)^r / r, where A estimates the mean
    share of outcomes drawn once. The sum is an exponential integral, to third order in 1 / n.
    """
    from scipy.special import hyperu

    rest = np.maximum(total - 1, 0)
    share = np.where(
        twice > 0,
        2 * twice / np.maximum(rest * once + 2 * twice, 1),
        2 / (rest * np.maximum(once - 1, 0) + 2),
    )
    known = (once > 0) & (share < 1)
    share, n = np.where(known, share, 0.5), np.maximum(total, 1)
    a = -np.log1p(-share)
    # hyperu(1, 1, z) is exp(z) times the exponential integral of z.
    tail = hyperu(1, 1, a * n) + 1 / (2 * n) + (a / n + 1 / n**2) / 12
    return np.where(known, once / n * np.exp(-a) * tail, 0.0)
