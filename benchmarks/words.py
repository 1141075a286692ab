"""Figures as the tables write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def percent(value: Mapping[str, Any], digits: int = 2) -> str:
    """Mean of a share in percent, with the standard deviation unless there is one value alone."""
    mean = f"{100 * value['mean']:.{digits}f}"
    alone = len(value.get("values", ())) == 1
    return mean if alone else f"{mean} ± {100 * value['std']:.{digits}f}"
