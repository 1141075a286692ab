"""What a sampler did to find its negatives, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DrawCounts:
    """Counts of negatives since a sampler was made, of those it returned by ``sample``.

    Attributes:
        slots: negatives returned.
        rejected: first proposals that were known to be true or the positive itself.
        uniform: negatives that came from a uniform draw, because the sampler's own distribution
            had none to offer.
    """

    slots: int = 0
    rejected: int = 0
    uniform: int = 0

    def add(self, slots: int, rejected: int, uniform: int) -> None:
        """Count one batch."""
        self.slots += slots
        self.rejected += rejected
        self.uniform += uniform

    def since(self, before: DrawCounts) -> DrawCounts:
        """What was counted after ``before``."""
        return DrawCounts(
            self.slots - before.slots,
            self.rejected - before.rejected,
            self.uniform - before.uniform,
        )
