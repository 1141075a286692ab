"""One training run of one method on one graph, interruptible and resumable."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch.utils.data import DataLoader
from torch_geometric.data import Data, HeteroData

from graphcl.methods.method import Method
from graphcl.train.callbacks import (
    BestWeights,
    EpochProgress,
    LossCurve,
    Patience,
    RollingCheckpoint,
)
from graphcl.train.files import replacing
from graphcl.train.module import ContrastiveModule
from graphcl.train.recipes import TrainingOptions


@dataclass(frozen=True)
class FitResult:
    """What a run leaves behind beside the trained method.

    Args:
        losses: training loss of every epoch.
        seconds: time in training steps, interrupted parts included.
        epoch_seconds: median time of a step.
        peak_memory_bytes: peak of the process (CPU) or of allocations on the device (CUDA).
        resumed_from: epoch from which a checkpoint was continued, 0 for a fresh run.
        graph: the prepared data, on the device of the run.
    """

    losses: list[float]
    seconds: float
    epoch_seconds: float
    peak_memory_bytes: int
    resumed_from: int
    graph: Any = None


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint completely before it replaces the last one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """See :class:`lightning.fabric.plugins.CheckpointIO`."""
        with replacing(path) as file:
            torch.save(checkpoint, file)


def fit(
    method: Method,
    data: Data | HeteroData,
    options: TrainingOptions,
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "32-true",
    progress: bool = True,
    tensorboard: bool = False,
    checkpoint_seconds: float = 10.0,
    label: str = "training",
) -> FitResult:
    """Train ``method`` in place on the full graph with Lightning.

    With ``folder``, the run saves ``checkpoint.ckpt`` while it goes on and writes ``curves.csv`` at
    the end; a call with the same arguments after an interruption continues from the checkpoint and
    ends with the same weights as an uninterrupted run on the same machine.

    Args:
        method: the method to train.
        data: graph with ``x`` (N, F) and ``edge_index`` (2, E), or what else the method takes.
        options: optimiser, schedule and number of epochs.
        seed: of the views, and of what is drawn when the graph is prepared.
        folder: where checkpoints and curves go; nothing is written without it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        precision: of Lightning, such as ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        progress: show a progress bar.
        tensorboard: also log to ``folder/tensorboard``; needs the package tensorboard.
        checkpoint_seconds: least time between two checkpoints.
        label: name on the progress bar.

    Raises:
        ValueError: the graph has no features, or the device is not known.
        FloatingPointError: the loss is not finite.
    """
    accelerator, devices = _device(device)
    target = torch.device(f"cuda:{devices[0]}" if isinstance(devices, list) else "cpu")
    graph = method.prepare(data, seed=seed).to(target)
    module = ContrastiveModule(method, options, seed)
    curve = LossCurve()
    best = BestWeights()
    callbacks: list[Any] = [curve]
    if options.patience:
        callbacks += [best, Patience(options.patience)]
    if progress:
        callbacks.append(EpochProgress(label))
    path = None if folder is None else Path(folder)
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        callbacks.append(RollingCheckpoint(path / "checkpoint.ckpt", checkpoint_seconds))
    if target.type == "cuda":
        torch.cuda.reset_peak_memory_stats(target)
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=options.epochs,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=_tensorboard(path) if tensorboard else False,
            log_every_n_steps=1,
            enable_checkpointing=path is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        saved = None if path is None else path / "checkpoint.ckpt"
        resume = saved if saved is not None and saved.exists() else None
        trainer.fit(
            module,
            DataLoader([graph], batch_size=None),  # type: ignore[arg-type]
            ckpt_path=resume,
            weights_only=True,
        )
    method.to(target)
    best.restore(method)
    if path is not None and saved is not None:
        trainer.save_checkpoint(saved, weights_only=False)
        curve.write(path / "curves.csv")
    seconds = [row[3] for row in curve.rows]
    return FitResult(
        losses=[row[1] for row in curve.rows],
        seconds=sum(seconds),
        epoch_seconds=median(seconds),
        peak_memory_bytes=peak_memory(target),
        resumed_from=module.started_at,
        graph=graph,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's notes and its advice for loaders of many batches from the terminal."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*does not have many workers.*",
                ".*number of training batches.*",
                ".*LeafSpec.*",
                ".*GPU available but not used.*",
                ".*Checkpoint directory.*",
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)


def peak_memory(device: torch.device) -> int:
    """Peak bytes allocated on a CUDA device, or of the whole process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _device(name: str) -> tuple[str, list[int] | int]:
    kind, _, index = name.partition(":")
    if kind == "auto":
        return ("cuda", [0]) if torch.cuda.is_available() else ("cpu", 1)
    if kind == "cpu":
        return "cpu", 1
    if kind == "cuda":
        number = int(index) if index.isdecimal() else 0
        if index not in ("", str(number)) or number >= torch.cuda.device_count():
            raise ValueError(
                f"device {name!r} was asked for, but this machine has "
                f"{torch.cuda.device_count()} CUDA devices; use --device cpu"
            )
        return "cuda", [number]
    raise ValueError(f"unknown device {name!r}; choose from auto, cpu, cuda, cuda:N")


def _tensorboard(folder: Path | None) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    if folder is None:
        raise ValueError("tensorboard=True needs a folder to write to")
    return TensorBoardLogger(folder, name="tensorboard", version="")
