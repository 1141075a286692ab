"""What training in a run directory adds to PyKEEN's loop: times, safe checkpoints, best weights."""

from __future__ import annotations

import time
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from pykeen.training.callbacks import TrainingCallback
from pykeen.training.training_loop import TrainingLoop

from kge.experiment.files import read_json, replacing, write_json


class SafeCheckpoint(TrainingCallback):
    """Makes PyKEEN's checkpoint replace the last one as a whole, and not after every epoch.

    PyKEEN writes over the checkpoint in place, so that a crash in between leaves none; and it
    counts in minutes. Beside the checkpoint, ``epochs.json`` keeps the seconds of each epoch, which
    go on being counted when training is continued.

    Args:
        path: of the checkpoint, as PyKEEN is told.
        epochs: after which training ends.
        every: least seconds between two checkpoints, or twenty times what the last one took; 0
            for one after every epoch. The last epoch always has one.

    Attributes:
        seconds: of training, by epoch, interrupted parts included.
        continued_from: epoch of the checkpoint that training went on from, 0 for none.
    """

    def __init__(self, path: Path, epochs: int, every: float = 10.0) -> None:
        super().__init__()
        self.path, self.epochs, self.every = path, epochs, every
        self.seconds: list[float] = []
        self.continued_from = 0
        self._written = time.monotonic()

    def go_on_from(self, epoch: int) -> None:
        """Take over the times of an earlier call that came to this epoch, 0 for none."""
        self.continued_from = epoch
        if epoch:
            self.seconds = read_json(self.path.with_name("epochs.json"))[:epoch]

    def register_training_loop(self, training_loop: TrainingLoop[Any]) -> None:
        """Called by PyKEEN before the first epoch, after a checkpoint was loaded."""
        super().register_training_loop(training_loop)
        self.go_on_from(training_loop._epoch)
        self._touch_state(training_loop)
        beside = self.path.with_name("epochs.json")
        save, train_epoch = training_loop._save_state, training_loop._train_epoch

        @wraps(save)
        def save_whole(path: Any, *args: Any, **kwargs: Any) -> None:
            if Path(path) != self.path:  # PyKEEN's own copy of the best epoch, never read again
                return
            last = training_loop._epoch >= self.epochs or training_loop._should_stop
            if not last and time.monotonic() - self._written < self.every:
                return
            # Times first: there may be more of them than epochs in the checkpoint, not fewer.
            write_json(beside, self.seconds)
            started = time.monotonic()
            with replacing(self.path) as file:
                save(file, *args, **kwargs)
            self._written = time.monotonic()
            if self.every:  # of a large model: a twentieth of the time at most
                self.every = max(self.every, 20 * (self._written - started))

        @wraps(train_epoch)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            loss = train_epoch(*args, **kwargs)
            if not kwargs.get("only_size_probing"):
                self.seconds.append(time.perf_counter() - started)
            return loss

        # This loop alone: other loops of its class keep their methods.
        training_loop._save_state = save_whole  # type: ignore[method-assign]
        training_loop._train_epoch = timed  # type: ignore[method-assign]
        self._note_parts(training_loop)

    def parts(self) -> dict[str, int]:
        """Sizes of a batch's parts that an interrupted run had found to fit the device."""
        found: dict[str, int] = read_json(self._parts_file) if self._parts_file.exists() else {}
        return found

    @property
    def _parts_file(self) -> Path:
        return self.path.with_name("parts.json")

    def _note_parts(self, training_loop: TrainingLoop[Any]) -> None:
        """Keep the sizes that PyKEEN searches for once, and not when training is continued."""
        search = training_loop.sub_batch_and_slice

        @wraps(search)
        def noted(*args: Any, **kwargs: Any) -> Any:
            found = search(*args, **kwargs)
            sizes = zip(("sub_batch_size", "slice_size"), found, strict=True)
            write_json(self._parts_file, {name: size for name, size in sizes if size})
            return found

        training_loop.sub_batch_and_slice = noted  # type: ignore[method-assign]

    @staticmethod
    def _touch_state(training_loop: TrainingLoop[Any]) -> None:
        """Let PyKEEN continue with an optimiser that keeps nothing, such as plain SGD."""
        optimizer = training_loop.optimizer
        if training_loop._epoch and optimizer is not None and not optimizer.state:
            _ = optimizer.state[optimizer.param_groups[0]["params"][0]]


class BestWeights(TrainingCallback):
    """Puts the best weights of validation back when training ends by itself.

    PyKEEN's early stopper does so when it stops, and otherwise leaves the weights of the last
    epoch.

    Args:
        path: where the early stopper keeps the best weights.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def post_train(self, losses: list[float], **kwargs: Any) -> None:
        """Called by PyKEEN after the last epoch."""
        if self.path.exists():
            self.model.load_state_dict(torch.load(self.path, weights_only=True))
