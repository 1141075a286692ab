"""Rates of corruption."""

from __future__ import annotations

from typing import Any


def view_rates(name: str, rates: Any) -> tuple[float, float]:
    """Check the two rates of a setting.

    Args:
        name: of the setting, for the message.
        rates: one share in [0, 1] per view.

    Raises:
        ValueError: not two numbers in [0, 1].
    """
    pair = tuple(rates) if isinstance(rates, (tuple, list)) else ()
    if len(pair) != 2 or not all(_is_share(rate) for rate in pair):
        raise ValueError(f"{name} needs two rates in [0, 1], one per view, got {rates!r}")
    return pair[0], pair[1]


def check_rate(name: str, rate: Any) -> float:
    """Check one rate.

    Raises:
        ValueError: not a number in [0, 1].
    """
    if not _is_share(rate):
        raise ValueError(f"{name} must be a rate in [0, 1], got {rate!r}")
    return float(rate)


def _is_share(rate: Any) -> bool:
    return isinstance(rate, (int, float)) and 0 <= rate <= 1
