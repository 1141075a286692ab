"""A preparation that survives interruptions and shows a progress bar."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from graphcl.data.files import replacing, write_csv
from graphcl.methods.preparation import Preparation
from graphcl.train.callbacks import loss_bar


class FilePreparation(Preparation):
    """Keeps states in ``preparation.ckpt`` of a folder, and at the end its ``preparation.csv``.

    Args:
        folder: where; nothing is kept without one.
        seed: see :class:`~graphcl.methods.preparation.Preparation`.
        seconds: least time between two states, the last one excepted.
        label: name on the progress bar; no bar without it.
    """

    def __init__(
        self, folder: Path | None, seed: int = 0, *, seconds: float = 10.0, label: str | None = None
    ) -> None:
        super().__init__(seed)
        self.path = None if folder is None else folder / "preparation.ckpt"
        self.seconds, self.label = seconds, label
        self.rows: list[list[float]] = []
        self._saved = self._started = time.monotonic()
        self._bar: Progress | None = None

    def load(self) -> dict[str, Any] | None:
        """See :meth:`Preparation.load`."""
        if self.path is None or not self.path.exists():
            return None
        kept = torch.load(self.path, map_location="cpu", weights_only=True)
        self.rows = [list(row) for row in kept["rows"]]
        state: dict[str, Any] = kept["state"]
        return state

    def save(self, state: dict[str, Any], *, last: bool = False) -> None:
        """See :meth:`Preparation.save`."""
        if self.path is None or not (last or time.monotonic() - self._saved >= self.seconds):
            return
        if last:  # before the state, with which nothing is left to be saved
            write_csv(self.path.with_suffix(".csv"), ("epoch", "loss", "seconds"), self.rows)
        with replacing(self.path) as file:
            torch.save({"state": state, "rows": self.rows}, file)
        self._saved = time.monotonic()

    def show(self, done: int, total: int, loss: float) -> None:
        """See :meth:`Preparation.show`."""
        now = time.monotonic()
        self.rows.append([done - 1, loss, now - self._started])
        self._started = now
        if self.label is None:
            return
        if self._bar is None:
            self._bar = loss_bar()
            self._bar.add_task(f"{self.label}, preparation", total=total, loss=loss)
            self._bar.start()
        self._bar.update(self._bar.tasks[0].id, completed=done, loss=loss)
        self._bar.refresh()

    def close(self) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def seconds_spent(self) -> float | None:
        """Time in the steps of a preparation that has ended, interrupted parts included."""
        table = None if self.path is None else self.path.with_suffix(".csv")
        if table is None or not table.exists():
            return None
        with open(table, newline="") as file:
            return sum(float(row["seconds"]) for row in csv.DictReader(file))

    def discard(self) -> None:
        """Remove the state, once checkpoints of the training hold its outcome."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
