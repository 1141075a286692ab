"""A random number for each pair of nodes, to break ties without regard to the order of nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TieKey = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(row ids, column ids) -> one number per pair; the smaller one comes first."""


def random_key(nodes: int, seed: int) -> TieKey:
    """A number for each unordered pair, spread by the finaliser of SplitMix64."""

    def key(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        low, high = np.minimum(row, column), np.maximum(row, column)
        mixed = low.astype(np.uint64) * np.uint64(nodes) + high.astype(np.uint64)
        with np.errstate(over="ignore"):
            for salt in (np.uint64(seed % 2**63), np.uint64(0x9E3779B97F4A7C15)):
                mixed = mixed + salt
                mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                mixed = mixed ^ (mixed >> np.uint64(31))
        return mixed

    return key
