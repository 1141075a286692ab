"""A method as a Lightning module: one optimiser step per epoch on the full graph."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import lightning
import torch
from torch import Tensor

from graphcl.methods.method import Method
from graphcl.train.recipes import TrainingOptions


def step_seed(seed: int, step: int) -> int:
    """Seed of the random numbers of one step.

    Every step draws from its own stream, so that a run continued from any checkpoint draws the
    views of an uninterrupted run.
    """
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


class ContrastiveModule(lightning.LightningModule):
    """Wraps a :class:`~graphcl.methods.Method` for :class:`lightning.Trainer`.

    Args:
        method: the method; its parameters are trained.
        options: optimiser and schedule.
        seed: of the views; see :func:`step_seed`.
    """

    def __init__(self, method: Method, options: TrainingOptions, seed: int) -> None:
        super().__init__()
        self.method, self.options, self.seed = method, options, seed
        self.last_loss = math.nan
        self.started_at = 0

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the epoch a continued run starts from."""
        self.started_at = checkpoint["global_step"]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Give the step its own random stream."""
        torch.manual_seed(step_seed(self.seed, self.global_step))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss on freshly drawn views.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        loss = self.method.training_loss(batch)
        self.last_loss = float(loss.detach())
        if not math.isfinite(self.last_loss):
            raise FloatingPointError(
                f"the loss is {self.last_loss} at epoch {self.current_epoch}; lower the learning "
                f"rate (lr={self.options.lr}) or raise tau"
            )
        self.log("loss", loss.detach(), batch_size=1)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the method move its targets; ``global_step`` counts the step just made."""
        self.method.after_step(self.global_step - 1, self.options.epochs)

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the options."""
        options = self.options
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
        trained = [p for p in self.method.parameters() if p.requires_grad]
        optimizer = kind(trained, lr=options.lr, weight_decay=options.weight_decay)
        if options.schedule == "constant":
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._warmup_cosine)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _warmup_cosine(self, step: int) -> float:
        warmup, epochs = self.options.warmup, self.options.epochs
        if step < warmup:
            return step / warmup
        return (1 + math.cos(math.pi * (step - warmup) / max(1, epochs - warmup))) / 2
