"""The one check of temperatures that all losses share."""

from __future__ import annotations

import math


def check_tau(tau: float) -> float:
    """The temperature; ``ValueError`` when it is not positive and finite."""
    if not (tau > 0 and math.isfinite(tau)):
        raise ValueError(f"tau must be positive and finite, got {tau}")
    return tau
