"""Fixtures for tests of the datasets."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Snapshot = dict[str, tuple[int, int]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty cache of one test, which does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRAPHCL_CACHE", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Empty data root of one test."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def snapshot() -> Callable[[Path], Snapshot]:
    """Function that gives size and time of every file and folder below a folder, itself too."""

    def take(folder: Path) -> Snapshot:
        paths = [folder, *folder.rglob("*")]
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in paths}

    return take
