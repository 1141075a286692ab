"""Lines below and above an activation on an interval, as in CROWN (Zhang et al., 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from graphcl.pot.adjacency import Interval


class Lines(NamedTuple):
    """``slope t + lower <= σ(t) <= slope t + upper`` on an interval; both share the slope."""

    slope: Tensor
    lower: Tensor
    upper: Tensor


def activation_lines(interval: Interval, slope: Tensor) -> Lines:
    """Lines of ``σ(t) = t`` (t >= 0), ``slope t`` (t < 0) on every interval.

    Where the interval has zero inside, one line is the chord and the other its parallel through the
    origin: the chord is above for ``slope <= 1`` (σ is convex) and below for ``slope > 1``.
    Elsewhere both are σ itself. Any slope is allowed, negative ones too.

    Args:
        interval: of t.
        slope: of σ below zero, broadcast against the interval.

    Example:
        >>> import torch
        >>> interval = Interval(torch.tensor(-1.0), torch.tensor(3.0))
        >>> lines = activation_lines(interval, torch.tensor(0.0))
        >>> [round(float(x), 2) for x in lines]
        [0.75, 0.0, 0.75]
    """
    # The chord's slope is the mean of 1 and ``slope`` by the parts above and below zero; without
    # one of the parts it is σ's own, to the last digit: a rest of 1e-30 there would reach weights
    # as subnormal gradients, which cost a CPU ten times the time. ``where`` is slower than a sum.
    above, below = F.relu(interval.high), F.relu(-interval.low)
    width = above + below
    point = (width == 0).to(width.dtype)  # both ends are zero: slope 1
    tilt = (above + slope * below + point) / (width + point)
    offset = (1 - tilt) * above
    return Lines(tilt, offset.clamp(max=0), offset.clamp(min=0))
