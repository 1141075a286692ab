"""The knowledge graphs of OGB that are known by name, with their published counts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Counts(NamedTuple):
    """Published counts of a graph."""

    entities: int
    relations: int
    train: int
    valid: int
    test: int


OGB_COUNTS = {
    "ogbl-biokg": Counts(93_773, 51, 4_762_678, 162_886, 162_870),
    "ogbl-wikikg2": Counts(2_500_604, 535, 16_109_182, 429_456, 598_543),
}
"""Graphs of OGB (Hu et al., 2020, arXiv 2005.00687) by name."""


def is_ogb(name: str | Path) -> bool:
    """Whether a graph goes by the name of one of OGB's.

    Example:
        >>> is_ogb("ogbl-BioKG"), is_ogb("umls")
        (True, False)
    """
    return isinstance(name, str) and name.lower() in OGB_COUNTS
