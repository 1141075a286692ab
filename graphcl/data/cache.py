"""Folders that appear complete or not at all, and the name of a processed dataset's folder."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from graphcl.data.roots import cache_root

UNREADABLE = (OSError, EOFError, RuntimeError, AssertionError, pickle.UnpicklingError)
"""What a processed file that was cut short or written by something else makes torch.load raise."""


def processed_folder(
    dataset: str, raw_folder: Path, raw_names: tuple[str, ...], version: str
) -> Path:
    """Cache folder for what ``version`` of a reader makes of these raw files.

    The name changes with the resolved path, the size or the modification time of any raw file and
    with ``version``, so that what an older state of the files gave is never read again.
    """
    stats = [(name, (raw_folder / name).resolve().stat()) for name in raw_names]
    files = [
        (str((raw_folder / name).resolve()), stat.st_size, stat.st_mtime_ns) for name, stat in stats
    ]
    key = hashlib.sha256(json.dumps([version, files]).encode()).hexdigest()[:16]
    return cache_root() / "processed" / f"{dataset}-{key}"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a new folder to fill, which becomes ``target`` at once when the block ends well.

    An error in the block, an interrupt included, removes the new folder and leaves ``target`` as it
    was. Several processes may fill the same target: the first to end wins, and the others drop what
    they made.

    Raises:
        OSError: If the cache cannot be written.
    """
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        # As near to the target as a folder exists, to be on its file system and to leave no empty
        # folders after an error.
        near = next(folder for folder in target.parents if folder.is_dir())
        part = near / f".partial-{uuid4().hex}"
        part.mkdir()
    except OSError as error:
        raise OSError(
            f"the cache folder {cache_root()} cannot be written ({error}); set the environment "
            f"variable GRAPHCL_CACHE to a folder that can"
        ) from error
    try:
        yield part
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
