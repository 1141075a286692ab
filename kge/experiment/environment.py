"""What a run was measured with: versions, device, threads, commit, peak memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from kge.experiment.choices import choose


def device_of(name: str) -> torch.device:
    """The device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ValueError: another name, or a device that this machine lacks.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    kind, colon, index = name.partition(":")
    choose("device", kind, ("auto", "cpu", "cuda"))
    if colon and (kind != "cuda" or not index.isdecimal()):
        raise ValueError(f"unknown device {name!r}; choose from auto, cpu, cuda, cuda:N")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"there is no device {name!r}: PyTorch sees {torch.cuda.device_count()} CUDA devices; "
            "use cpu or auto"
        )
    return torch.device(name)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads and commit, for ``metrics.json``."""
    return {
        "version": _version("graphcl-kge"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pykeen": _version("pykeen"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "platform": platform.platform(),
    }


def environments(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``environment`` of the last of several results; of all, where they differ, ``environments``.

    A result may have none.
    """
    found = [result.get("environment") for result in results]
    distinct = [one for place, one in enumerate(found) if one and one not in found[:place]]
    several = {"environments": distinct} if len(distinct) > 1 else {}
    return {"environment": found[-1], **several}


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


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout the package runs from, with a plus sign when files have changed."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "--short=12", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
