"""What a figure was measured with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from graphcl.version import __version__


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, device, threads and commit, for ``metrics.json`` and benchmark results."""
    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    place = torch.device(device) if device.startswith("cuda:") else None
    return {
        "version": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(place) if on_cuda else "cpu",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "platform": platform.platform(),
    }


def environments(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``environment`` of the last of several results; of all, where they differ, ``environments``.

    A result may have none, and summaries of results may have several.
    """
    found = [
        one
        for result in results
        for one in result.get("environments") or [result.get("environment")]
    ]
    distinct = [one for place, one in enumerate(found) if one and one not in found[:place]]
    several = {"environments": distinct} if len(distinct) > 1 else {}
    return {"environment": found[-1], **several}


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


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
