"""The two sides of a triple that are asked for or replaced, and their columns."""

from __future__ import annotations

from typing import Literal

Side = Literal["head", "tail"]

HEAD, TAIL = 0, 2
COLUMN: dict[Side, int] = {"head": HEAD, "tail": TAIL}
"""Column of a triple that belongs to a side."""

TAIL_FIRST: tuple[Side, Side] = ("tail", "head")
"""Order in which samplers and drawn candidates use up random numbers."""
