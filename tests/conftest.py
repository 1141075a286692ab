"""Fixtures shared by all tests."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture
def data_root() -> Path:
    """Folder with the real benchmark data, or skip."""
    candidates = [os.environ.get("GRAPHCL_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "Planetoid").is_dir():
            return Path(candidate)
    pytest.skip("real benchmark data not found: set GRAPHCL_DATA to their folder")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Together:
    """Python processes that know each other's address, as from torchrun."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: object, count: int = 2) -> list[subprocess.Popen[str]]:
        """Start a script in so many processes."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        fresh = []
        for rank in map(str, range(count)):
            place = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": "0", "WORLD_SIZE": str(count)}
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(
                [sys.executable, "-c", script, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **place, **address},
            )
            fresh.append(process)
        self.started += fresh
        return fresh

    def run(self, script: str, *arguments: object, count: int = 2) -> list[str]:
        """What each process printed, once all of them have ended well."""
        shown = [p.communicate(timeout=120)[0] for p in self.start(script, *arguments, count=count)]
        assert [p.returncode for p in self.started[-count:]] == [0] * count, "\n".join(shown)
        return shown


@pytest.fixture(scope="module")
def together() -> Iterator[Together]:
    """Starts processes that work together, and ends those that are left over."""
    group = Together()
    yield group
    for process in group.started:
        process.kill()
        process.communicate()
