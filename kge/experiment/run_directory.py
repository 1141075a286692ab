"""The run directory: whose it is, what it holds together, and what of it can be used.

It has ``config.json``, ``metrics.json``, ``curves.csv``, ``relations.csv``, ``model.pt`` and
``checkpoint.ckpt`` (both of the first seed), and one folder per seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from filelock import FileLock, Timeout

from kge.experiment.files import read_csv, read_json, replacing, write_csv, write_json

CURVES = ("epoch", "loss", "validation", "seconds")
RELATIONS = ("relation", "count", "mrr", "hits@10")
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
            f"{folder} is not an empty folder and holds no experiment; give a new or an empty one"
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


def seed_folder(folder: Path, seed: int) -> Path:
    """Folder of one seed."""
    return folder / f"seed-{seed}"


def finished_run(
    run: str | os.PathLike[str], seed: int | None = None
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Folder, configuration and metrics of a run that is complete.

    Raises:
        ValueError: it is not, or it has no such ``seed``.
    """
    folder = Path(run).expanduser()
    if not (folder / "metrics.json").exists():
        raise ValueError(
            f"{folder} holds no finished run (metrics.json is missing); run or continue it with: "
            "kge train"
        )
    metrics = read_json(folder / "metrics.json")
    if seed is not None and seed not in metrics["seeds"]:
        raise ValueError(f"the run has no seed {seed}; it has {metrics['seeds']}")
    return folder, read_json(folder / "config.json"), metrics


def gather(folder: Path, seeds: Sequence[int]) -> None:
    """Bring the seeds' files together: all curves, mean figures by relation, the first model."""
    parts = [(seed, seed_folder(folder, seed)) for seed in seeds]
    rows = [
        [seed, *row.values()] for seed, place in parts for row in read_csv(place / "curves.csv")
    ]
    write_csv(folder / "curves.csv", ["seed", *CURVES], rows)
    tables = [read_csv(place / "relations.csv") for _, place in parts]
    write_csv(
        folder / "relations.csv",
        RELATIONS,
        [
            [
                same[0]["relation"],
                same[0]["count"],
                *(mean(float(row[name]) for row in same) for name in RELATIONS[2:]),
            ]
            for same in zip(*tables, strict=True)
        ],
    )
    for name in ("model.pt", "checkpoint.ckpt"):
        with open(parts[0][1] / name, "rb") as source, replacing(folder / name) as copy:
            shutil.copyfileobj(source, copy)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 for one value) and the values.

    Example:
        >>> spread([1.0, 3.0])
        {'mean': 2.0, 'std': 1.4142135623730951, 'values': [1.0, 3.0]}
    """
    return {
        "mean": mean(values),
        "std": stdev(values) if len(values) > 1 else 0.0,
        "values": list(values),
    }
