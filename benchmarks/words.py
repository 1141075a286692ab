"""Figures as the tables write them."""

from __future__ import annotations

from collections.abc import Mapping


def percent(value: Mapping[str, float], digits: int = 2) -> str:
    """Mean and standard deviation of a share, in percent."""
    return f"{100 * value['mean']:.{digits}f} ± {100 * value['std']:.{digits}f}"
