"""What accompanies a run: its loss curve, a progress bar, the best weights and checkpoints."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from graphcl.data.files import write_csv
from graphcl.kernels.processes import from_first_process
from graphcl.methods.method import Method
from graphcl.train.module import ContrastiveModule


class LossCurve(Callback):
    """Loss, learning rate and seconds of every epoch; part of the checkpoint.

    The loss is the mean over the epoch's steps, the learning rate that of its first step. Seconds
    include the making of batches.
    """

    columns = ("epoch", "loss", "lr", "seconds")

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self._steps: list[list[float]] = []
        self._started = self._rate = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note the learning rate before a schedule moves on."""
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note the step, and the epoch after its last one."""
        assert isinstance(pl_module, ContrastiveModule)
        now = time.perf_counter()
        # A run that continues inside of an epoch has seen no start of it.
        seconds = now - self._started if self._started else 0.0
        self._started = now
        self._steps.append([self._rate, seconds])
        if trainer.global_step % pl_module.steps_per_epoch == 0:
            rates, times = zip(*self._steps, strict=True)
            epoch = trainer.global_step // pl_module.steps_per_epoch - 1
            self.rows.append([epoch, pl_module.epoch_loss, rates[0], sum(times)])
            self._steps = []

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"rows": self.rows, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a curve."""
        self.rows = [list(row) for row in state_dict["rows"]]
        self._steps = [list(step) for step in state_dict["steps"]]

    def write(self, path: Path) -> None:
        """Write ``curves.csv``."""
        write_csv(path, self.columns, [[int(row[0]), *row[1:]] for row in self.rows])


def loss_bar() -> Progress:
    """A bar with the loss, the time passed and the time left, drawn on request."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        auto_refresh=False,
    )


class EpochProgress(Callback):
    """One bar over all optimiser steps, with the loss, the time passed and the time left.

    Where output is no terminal, such as a log file, a line now and then.

    Args:
        label: name of the bar.
        line_seconds: time between two lines.
    """

    def __init__(self, label: str, line_seconds: float = 60.0) -> None:
        self.label, self.line_seconds = label, line_seconds
        self._bar: Progress | None = None
        self._live = False
        self._next = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, at the step a continued run starts from."""
        assert isinstance(pl_module, ContrastiveModule)
        total = pl_module.options.epochs * pl_module.steps_per_epoch
        self._bar = loss_bar()
        self._bar.add_task(self.label, total=total, completed=trainer.global_step, loss=math.nan)
        self._live = self._bar.console.is_terminal or self._bar.console.is_jupyter
        if self._live:
            self._bar.start()
        else:
            self._next = time.monotonic() + self.line_seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the bar, at most ten times a second, or write a line when it is time."""
        assert isinstance(pl_module, ContrastiveModule)
        now = time.monotonic()
        if self._bar is None or now < self._next:
            return
        self._next = now + (0.1 if self._live else self.line_seconds)
        self._show(trainer, pl_module)

    def _show(self, trainer: Trainer, pl_module: ContrastiveModule) -> None:
        if self._bar is not None:
            task = self._bar.tasks[0].id
            self._bar.update(task, completed=trainer.global_step, loss=pl_module.last_loss)
            if self._live:
                self._bar.refresh()
            else:
                self._bar.console.print(self._bar.get_renderable())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar at its last state."""
        assert isinstance(pl_module, ContrastiveModule)
        self._show(trainer, pl_module)
        self.close()

    def on_exception(self, *_: Any) -> None:
        """Give the terminal back."""
        self.close()

    def close(self) -> None:
        """Stop drawing."""
        if self._bar is not None and self._live:
            self._bar.stop()
        self._bar = None


class BestWeights(Callback):
    """Keep, in memory and in checkpoints, the weights that gave the lowest training loss.

    The loss of a step belongs to the weights before its update; the mean loss of an epoch of more
    than one step is counted for the weights at its end.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any
    ) -> None:
        """Copy the weights when their loss is the lowest so far."""
        assert isinstance(pl_module, ContrastiveModule)
        if pl_module.steps_per_epoch == 1:
            self._offer(pl_module.last_loss, pl_module.method)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for an epoch of several steps."""
        assert isinstance(pl_module, ContrastiveModule)
        if pl_module.steps_per_epoch > 1:
            self._offer(pl_module.epoch_loss, pl_module.method)

    def _offer(self, loss: float, method: Method) -> None:
        if loss < self.loss:
            self.loss = loss
            self.weights = {k: v.clone() for k, v in method.state_dict().items()}

    def restore(self, method: Method) -> None:
        """Put the best weights back."""
        if self.weights:
            method.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """The best weights so far."""
        return {"loss": self.loss, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a search."""
        self.loss, self.weights = state_dict["loss"], state_dict["weights"]


class Patience(EarlyStopping):
    """Stop after so many epochs without a lower training loss, once and for all."""

    def __init__(self, epochs: int) -> None:
        super().__init__("loss", patience=epochs, check_on_train_epoch_end=True, verbose=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no further when the run being continued had already lost its patience."""
        trainer.should_stop = self.wait_count >= self.patience


_CHECKPOINT_SHARE = 20
"""Times what a checkpoint takes pass before the next one."""


class RollingCheckpoint(Checkpoint):
    """Save ``checkpoint.ckpt`` after a step or at the end of an epoch, at most every ``seconds``.

    Large ones are saved less often, so that they take a twentieth of the time at most; with 0
    seconds all are saved.

    A ``Checkpoint``, because Lightning runs those after all other callbacks: what is saved includes
    their state at the same place. With several processes the first one keeps the time and writes,
    and all of them take part.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save inside of an epoch when it is time."""
        assert isinstance(pl_module, ContrastiveModule)
        if trainer.global_step % pl_module.steps_per_epoch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save when it is time."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if from_first_process(time.monotonic() - self._saved >= self.seconds):
            started = time.monotonic()
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved = time.monotonic()
            if self.seconds:
                self.seconds = max(self.seconds, _CHECKPOINT_SHARE * (self._saved - started))
