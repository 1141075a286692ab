"""Progress of a long ranking."""

from __future__ import annotations

import sys
import time


class Progress:
    """Progress and remaining time on standard error."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total, self.shown, self.done = total, shown, 0
        self.start = time.monotonic()

    def advance(self, count: int) -> None:
        """Report ``count`` more of the total as done."""
        self.done += count
        if self.shown:
            left = (time.monotonic() - self.start) * (self.total / self.done - 1)
            end = "\n" if self.done == self.total else ""
            text = f"\rranked {self.done} of {self.total}, {left:.0f} s left"
            print(text, end=end, file=sys.stderr, flush=True)
