"""What accompanies a method's preparation, so that it can be continued and watched."""

from __future__ import annotations

from typing import Any


class Preparation:
    """Seed, storage and display of a preparation; this one stores and shows nothing.

    Args:
        seed: of all that the preparation draws.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def load(self) -> dict[str, Any] | None:
        """What :meth:`save` was given last by an interrupted preparation, if any."""
        return None

    def save(self, state: dict[str, Any], *, last: bool = False) -> None:
        """Take note of the state after a step; ``last`` after the last one."""

    def show(self, done: int, total: int, loss: float) -> None:
        """Show how far it is; called after every step, before :meth:`save`."""
