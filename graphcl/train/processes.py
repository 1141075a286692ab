"""Several processes that train one model together, through Lightning.

Each process has its own anchors; the candidates of every anchor are the anchors of all processes,
whose embeddings are gathered with their gradients. Loss and gradients are those of one process with
all anchors, as long as what a method computes for an anchor does not depend on other anchors in
another way: batch normalisation (BGRL's encoder) takes its statistics, DGI its summary and gCooL's
community terms their communities from each process's own batch.

On one machine Lightning starts the processes itself::

    graphcl train --dataset cora --method grace --loader neighbor --devices 2 --out runs/two

On several machines, run the same command on each of them with a launcher that tells every process
its place, for example torchrun (here two machines with four devices each, ``host0`` the first)::

    torchrun --nnodes 2 --nproc-per-node 4 --node-rank 0 --master-addr host0 --master-port 29500 \
        -m graphcl train --dataset ogbn-products --method grace --loader neighbor \
        --devices 4 --nodes 2 --out /shared/runs/products

with ``--node-rank 1`` on the second, or SLURM (``srun`` with ``--ntasks-per-node 4``), which
Lightning recognises. The first process writes the run directory; all of them read the checkpoint
when a run is continued, so that the directory must lie on a disk that all machines share, as must
the data. When a process is lost, the others end with :class:`ProcessLost`; the same command
continues from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DDPStrategy

from graphcl.kernels.processes import process_count, process_index

# Words of gloo and NCCL about a peer that is gone or does not answer.
_LOST = ("closed by peer", "reset by peer", "broken pipe", "refused", "timed out", "timeout")


class ProcessLost(ConnectionError):
    """Another process of the run has ended or does not answer."""


def strategy(processes: int, timeout_seconds: float, rests_parameters: bool) -> Any:
    """Lightning's strategy for so many processes; see ``GraphMethod.rests_parameters``."""
    if processes == 1:
        return "auto"
    return DDPStrategy(
        find_unused_parameters=rests_parameters, timeout=timedelta(seconds=timeout_seconds)
    )


def is_first(processes: int | None = None) -> bool:
    """Whether this process writes files and reports.

    Before training has connected the processes, launchers tell the place in the environment. It
    counts for nothing where one process is known to train alone: a launcher may have started
    several runs.

    Args:
        processes: how many train together, where that is known.
    """
    if processes == 1:
        return True
    if process_count() > 1:
        return process_index() == 0
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return int(next((os.environ[name] for name in names if name in os.environ), "0")) == 0


def place_on_machine() -> int:
    """Which of this machine's processes this is, from 0; launchers tell it in the environment."""
    names = ("LOCAL_RANK", "SLURM_LOCALID")
    return int(next((os.environ[name] for name in names if name in os.environ), "0"))


@contextlib.contextmanager
def heartbeat(path: Path, *, every: float = 10.0) -> Iterator[None]:
    """Touch a file now and then while the block runs, for :func:`wait_for_file`."""
    stopped = threading.Event()

    def beat() -> None:
        path.touch()
        while not stopped.wait(every):
            path.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        path.unlink(missing_ok=True)


def wait_for_file(path: Path, beat: Path, *, timeout_seconds: float, every: float = 1.0) -> None:
    """Wait for a file of the first process, as long as its :func:`heartbeat` goes on.

    Evaluation may take longer than a collective operation waits.

    Raises:
        ProcessLost: the heartbeat has not changed for ``timeout_seconds``.
    """
    seen, since = None, time.monotonic()
    while not path.exists():
        now = beat.stat().st_mtime_ns if beat.exists() else None
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > timeout_seconds:
            raise ProcessLost(
                f"the first process gave no sign of life for {timeout_seconds:.0f} s and has not "
                f"written {path}. Start the same command again to continue"
            )
        time.sleep(every)


@contextlib.contextmanager
def telling_of_lost_processes(checkpoint: Path | None) -> Iterator[None]:
    """Say in plain words that another process was lost, and how to go on.

    Raises:
        ProcessLost: a collective operation failed for want of a peer.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if process_count() == 1 or not any(word in text.lower() for word in _LOST):
            raise
        go_on = "start it again; there was no folder for a checkpoint"
        if checkpoint is not None:
            go_on = f"start the same command again to continue from {checkpoint}"
        raise ProcessLost(
            f"process {process_index()} of {process_count()} has lost contact with another one "
            f"({text.splitlines()[0]}). {go_on[0].upper()}{go_on[1:]}"
        ) from error
