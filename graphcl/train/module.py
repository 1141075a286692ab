"""A method as a Lightning module: an optimiser step on the full graph, or one for each batch."""

from __future__ import annotations

import hashlib
import math
from statistics import fmean
from typing import Any

import lightning
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.kernels.processes import process_count, sum_over_processes
from graphcl.losses.pool import CandidatePool
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
        seed: of the views; see :func:`step_seed`. All processes draw from the same streams.
        steps_per_epoch: optimiser steps per epoch.
        pool: candidates beyond a batch, part of the checkpoint.
    """

    def __init__(
        self,
        method: Method,
        options: TrainingOptions,
        seed: int,
        *,
        steps_per_epoch: int = 1,
        pool: CandidatePool | None = None,
    ) -> None:
        super().__init__()
        self.method, self.options, self.seed = method, options, seed
        self.steps_per_epoch, self.pool = steps_per_epoch, pool
        method.steps_per_epoch = steps_per_epoch
        self.losses: list[float] = []
        self.started_at = 0

    @property
    def last_loss(self) -> float:
        """Loss of the last step, over all processes."""
        return self.losses[-1] if self.losses else math.nan

    @property
    def epoch_loss(self) -> float:
        """Mean loss of the epoch's steps so far."""
        return fmean(self.losses)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of the epoch and the candidates of earlier batches."""
        checkpoint["losses"] = self.losses
        if self.pool is not None:
            checkpoint["pool"] = self.pool.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the epoch a continued run starts from, and go on with what it had."""
        self.losses = list(checkpoint["losses"])
        self.started_at = checkpoint["global_step"] // self.steps_per_epoch
        if self.pool is not None:
            # The module itself is moved there only later.
            self.pool.load_state_dict(checkpoint["pool"], self.trainer.strategy.root_device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Give the step its own random stream."""
        torch.manual_seed(step_seed(self.seed, self.global_step))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss on freshly drawn views, of the whole graph or of a batch's seeds.

        With several processes, the mean of what they return is the mean over all seeds.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if isinstance(batch, Data) and "batch_size" in batch:
            loss = self.method.seed_loss(batch, self.pool) * batch.share
        else:
            loss = self.method.training_loss(batch)
        if len(self.losses) == self.steps_per_epoch:
            self.losses = []
        self.losses.append(float(sum_over_processes(loss)) / process_count())
        if not math.isfinite(self.last_loss):
            raise FloatingPointError(
                f"the loss is {self.last_loss} at epoch {self.current_epoch}; lower the learning "
                f"rate (lr={self.options.lr}) or raise tau"
            )
        self.log("loss", self.epoch_loss, batch_size=1)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Let the method move its targets after the step, before a checkpoint can be written."""
        super().optimizer_step(*args, **kwargs)
        # Lightning counts the step when this returns.
        self.method.after_step(self.global_step, self.options.epochs * self.steps_per_epoch)

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
        warmup = self.options.warmup * self.steps_per_epoch
        total = self.options.epochs * self.steps_per_epoch
        if step < warmup:
            return step / warmup
        return (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
