"""One training run of one method on one graph, interruptible and resumable."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
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

from graphcl.data.files import replacing
from graphcl.losses.pool import CandidatePool, CandidateQueue
from graphcl.methods.method import GraphMethod, Method
from graphcl.minibatch.loader import make_loader
from graphcl.minibatch.options import Batching
from graphcl.train.callbacks import (
    BestWeights,
    EpochProgress,
    LossCurve,
    Patience,
    RollingCheckpoint,
)
from graphcl.train.hard_batches import HardBatches
from graphcl.train.module import ContrastiveModule
from graphcl.train.preparation import FilePreparation
from graphcl.train.processes import (
    is_first,
    place_on_machine,
    strategy,
    telling_of_lost_processes,
)
from graphcl.train.recipes import TrainingOptions

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class FitResult:
    """What a run leaves behind beside the trained method.

    Args:
        losses: training loss of every epoch, the mean over its steps.
        seconds: time in training, interrupted parts included.
        epoch_seconds: median time of an epoch.
        peak_memory_bytes: peak of the process (CPU) or of allocations on the device (CUDA).
        resumed_from: epoch from which a checkpoint was continued, 0 for a fresh run.
        prepare_seconds: time in the method's pre-training, ``None`` where it has none or nothing is
            written.
        graph: the prepared data, of a run on the full graph on the device of the run.
    """

    losses: list[float]
    seconds: float
    epoch_seconds: float
    peak_memory_bytes: int
    resumed_from: int
    prepare_seconds: float | None = None
    graph: Any = None


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint completely before it replaces the last one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """See :class:`lightning.fabric.plugins.CheckpointIO`."""
        with replacing(path) as file:
            torch.save(checkpoint, file)


def check_precision(precision: str) -> None:
    """Raise ``ValueError`` for a precision that methods do not train in."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")


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
    selector: BestWeights | None = None,
    batching: Batching | None = None,
    devices: int = 1,
    nodes: int = 1,
    timeout_seconds: float = 1800.0,
) -> FitResult:
    """Train ``method`` in place with Lightning, on the full graph or in batches.

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
        precision: of Lightning: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        progress: show a progress bar.
        tensorboard: also log to ``folder/tensorboard``; needs the package tensorboard.
        checkpoint_seconds: least time between two checkpoints.
        label: name on the progress bar.
        selector: chooses the weights that are kept; default the last, or with ``patience`` those of
            the lowest loss.
        batching: how the graph is cut into batches; by default it is not.
        devices: processes on this machine, see :mod:`graphcl.train.processes`.
        nodes: machines.
        timeout_seconds: how long a process waits for the others before it gives up.

    Raises:
        ValueError: the graph has no features, the device or the precision is not known, or the
            method does not train in batches.
        FloatingPointError: the loss is not finite.
        KeyboardInterrupt: Ctrl-C; a call with the same arguments continues.
        ProcessLost: another process has ended; the message says how to continue.
    """
    check_precision(precision)
    batching = batching or Batching()
    accelerator, places = device_places(device, devices)
    target = _own_device(places)
    graph = method.prepare(data, seed=seed)
    curve = LossCurve()
    best = selector or BestWeights()
    callbacks: list[Any] = [curve]
    loader: Any
    alone = batching.loader == "full" and devices * nodes == 1
    if alone:
        module = ContrastiveModule(method, options, seed)
        graph = graph.to(target)
        loader = DataLoader([graph], batch_size=None)  # type: ignore[arg-type]
    else:
        _check_batching(method, batching)
        assert isinstance(method, GraphMethod)
        method.know_whole_graph(graph.x, graph.edge_index)
        loader = make_loader(graph, batching, seed=seed, processes=devices * nodes)
        queue = CandidateQueue(batching.queue) if batching.queue else None
        pool = CandidatePool(queue, batching.momentum)
        module = ContrastiveModule(method, options, seed, steps_per_epoch=len(loader), pool=pool)
        if batching.hard_every:
            size = max(2, batching.batch_size // 4)
            callbacks.append(HardBatches(loader.order, graph, batching.hard_every, size))
    if options.patience or selector is not None:
        callbacks.append(best)
    if options.patience:
        callbacks.append(Patience(options.patience))
    first = is_first(devices * nodes)
    if progress and first:
        callbacks.append(EpochProgress(label))
    path = None if folder is None else Path(folder)
    if path is not None:
        if first:
            path.mkdir(parents=True, exist_ok=True)
        callbacks.append(RollingCheckpoint(path / "checkpoint.ckpt", checkpoint_seconds))
    if target.type == "cuda":
        torch.cuda.reset_peak_memory_stats(target)
    preparation = FilePreparation(
        path, seed, seconds=checkpoint_seconds, label=label if progress else None
    )
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=places,
            num_nodes=nodes,
            strategy=strategy(devices * nodes, timeout_seconds, method.rests_parameters),
            use_distributed_sampler=False,
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
        if alone and resume is None and isinstance(method, GraphMethod):
            method.to(target)
            try:
                method.pretrain(graph.x, graph.edge_index, preparation)
            finally:
                preparation.close()
        with telling_of_lost_processes(saved), _interruptible():
            trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    method.to(target)
    best.restore(method)
    if path is not None and saved is not None:
        trainer.save_checkpoint(saved, weights_only=False)
        preparation.discard()
        if first:
            curve.write(path / "curves.csv")
    seconds = [row[3] for row in curve.rows]
    return FitResult(
        losses=[row[1] for row in curve.rows],
        seconds=sum(seconds),
        epoch_seconds=median(seconds),
        peak_memory_bytes=peak_memory(target),
        resumed_from=module.started_at,
        prepare_seconds=preparation.seconds_spent(),
        graph=graph,
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt as usual; Lightning ends the process and ignores it from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from ended
        raise


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
    try:
        import resource
    except ImportError:  # on Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _check_batching(method: Method, batching: Batching) -> None:
    """Raise ``ValueError`` for a method without the mini-batch form that is asked for."""
    name = type(method).__name__
    if not method.takes_batches():
        raise ValueError(
            f"{name} has no mini-batch form: train it on the full graph and one device, or define "
            "seed_loss"
        )
    if batching.queue and not method.uses_candidates:
        raise ValueError(f"{name} has no negatives, so a queue of keys has no use: set queue to 0")


def device_places(name: str, count: int) -> tuple[str, list[int] | int]:
    """Kind of device and, of CUDA devices, which, for so many processes of this machine.

    Raises:
        ValueError: the machine has no such device.
    """
    kind, _, index = name.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return "cpu", count
    if kind == "cuda" and count > 1:
        if index or count > torch.cuda.device_count():
            raise ValueError(
                f"{count} devices of {name!r} were asked for, but this machine has "
                f"{torch.cuda.device_count()} CUDA devices, used from the first on"
            )
        return "cuda", list(range(count))
    if kind == "cuda":
        number = int(index) if index.isdecimal() else 0
        if index not in ("", str(number)) or number >= torch.cuda.device_count():
            raise ValueError(
                f"device {name!r} was asked for, but this machine has "
                f"{torch.cuda.device_count()} CUDA devices; use device='cpu'"
            )
        return "cuda", [number]
    raise ValueError(f"unknown device {name!r}; choose from auto, cpu, cuda, cuda:N")


def _own_device(places: list[int] | int) -> torch.device:
    """That of this process among those of this machine; launchers tell its place there."""
    if isinstance(places, int):
        return torch.device("cpu")
    return torch.device(f"cuda:{places[place_on_machine() if len(places) > 1 else 0]}")


def _tensorboard(folder: Path | None) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    if folder is None:
        raise ValueError("tensorboard=True needs a folder to write to")
    return TensorBoardLogger(folder, name="tensorboard", version="")
