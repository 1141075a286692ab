"""Time and memory of a piece of work, measured so that the figures can be trusted."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median, 20th and 80th percentile of some durations."""
    if len(seconds) == 1:
        return {"median": seconds[0], "p20": seconds[0], "p80": seconds[0]}
    cuts = statistics.quantiles(seconds, n=5, method="inclusive")
    return {"median": statistics.median(seconds), "p20": cuts[0], "p80": cuts[3]}


def paired(
    works: dict[str, Callable[[], object]], *, repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of several works in turn, A B A B ..., so that drift of the machine hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warmup + repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_growth(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Run ``function`` in a fresh process and report by how much the peak of memory grew.

    The function must be importable and takes ``ready`` first: it builds its inputs, calls
    ``ready()``, and does the work; growth is counted from there.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        outcome: dict[str, Any] = receiver.recv()
    except EOFError:
        outcome = {"failed": "the process was killed, most likely out of memory"}
    process.join()
    return outcome


def peak(outcome: dict[str, Any]) -> str:
    """MiB of an outcome of :func:`peak_growth`, or why there is none."""
    return f"{outcome['bytes'] / 2**20:.0f}" if "bytes" in outcome else str(outcome["failed"])


def _measure(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    before = {"bytes": 0}

    def ready() -> None:
        before["bytes"] = _resident()
        _reset_peak()

    try:
        function(ready, *arguments)
        sender.send({"bytes": max(0, _peak() - before["bytes"])})
    except (MemoryError, RuntimeError) as error:
        sender.send({"failed": str(error).splitlines()[0][:200]})


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise OSError(f"{field} is not in /proc/self/status")


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak() -> None:
    # Linux forgets the high-water mark of resident memory on this request.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
