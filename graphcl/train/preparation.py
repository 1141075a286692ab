"""A preparation that survives interruptions and shows a progress bar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from graphcl.methods.preparation import Preparation
from graphcl.train.files import replacing


class FilePreparation(Preparation):
    """Keeps states in ``preparation.ckpt`` of a folder.

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
        self._saved = time.monotonic()
        self._bar: Progress | None = None

    def load(self) -> dict[str, Any] | None:
        """See :meth:`Preparation.load`."""
        if self.path is None or not self.path.exists():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    def save(self, state: dict[str, Any], *, last: bool = False) -> None:
        """See :meth:`Preparation.save`."""
        if self.path is None or not (last or time.monotonic() - self._saved >= self.seconds):
            return
        with replacing(self.path) as file:
            torch.save(state, file)
        self._saved = time.monotonic()

    def show(self, done: int, total: int, loss: float) -> None:
        """See :meth:`Preparation.show`."""
        if self.label is None:
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                auto_refresh=False,
            )
            self._bar.add_task(f"{self.label}, preparation", total=total, loss=loss)
            self._bar.start()
        self._bar.update(self._bar.tasks[0].id, completed=done, loss=loss)
        self._bar.refresh()

    def close(self) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def discard(self) -> None:
        """Remove the state, once checkpoints of the training hold its outcome."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
