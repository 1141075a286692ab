"""The directory of an experiment: whose it is, and that one process works in it at a time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from graphcl.data.files import read_json, write_json

_LOCK = ".lock"


@contextlib.contextmanager
def claimed(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Take a run directory, or continue one of the same experiment; more seeds may be added.

    A directory in which another experiment has left nothing but its settings is free, unless a
    process works there. The operating system gives the directory free when a process ends.

    Raises:
        ValueError: it belongs to another experiment or to something else, or another process works
            in it.
    """
    path = folder / "config.json"
    foreign = folder.exists() and not path.exists()
    if foreign and (not folder.is_dir() or any(one.name != _LOCK for one in folder.iterdir())):
        raise ValueError(
            f"{folder} is not empty and holds no experiment; give a new or an empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.acquire(timeout=0))
            stack.callback(_remove, folder / _LOCK)  # first, while it is held
        except Timeout:
            raise ValueError(
                f"another process works in {folder}; wait for it, or give another folder"
            ) from None
        except NotImplementedError:  # a file system without locks
            pass
        _check_same(folder, path, json.loads(json.dumps(config)))
        write_json(path, config)
        yield


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # where open files cannot be removed it stays
        path.unlink()


def _check_same(folder: Path, path: Path, config: Mapping[str, Any]) -> None:
    """``config`` as it will be read: tuples have become lists."""
    before = read_json(path) if path.exists() else config
    differing = [
        f"{key}: {before.get(key)!r} there, {config.get(key)!r} now"
        for key in {**before, **config}
        if key != "seeds" and before.get(key) != config.get(key)
    ]
    if differing and any(folder.glob("seed-*/*")):
        raise ValueError(
            f"{folder} holds another experiment ({'; '.join(differing)}); give another folder, or "
            "remove this one"
        )
