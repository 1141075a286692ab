"""Where the files of a knowledge graph lie: by name under the data root, or any directory."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

_HOME = "~/.cache/graphcl-kge"
_IN_PYKEEN = ("kinships", "nations", "umls")
SPLITS = ("train", "valid", "test")


def data_root(root: str | Path | None = None) -> Path:
    """Folder under which graphs are looked for by name.

    It is ``root``, or the environment variable ``GRAPHCL_DATA``, or ``~/.cache/graphcl-kge``.
    """
    return Path(root or os.environ.get("GRAPHCL_DATA") or _HOME).expanduser()


def downloads_root() -> Path:
    """Folder of downloaded graphs, in ``GRAPHCL_CACHE`` or ``~/.cache/graphcl-kge``."""
    return Path(os.environ.get("GRAPHCL_CACHE") or _HOME).expanduser() / "raw"


def dataset_folders(root: str | Path | None = None) -> dict[str, Path]:
    """Folders that hold a ``train.txt``, by name in lower case.

    These are the folders in ``KG`` under the data root, those in the data root itself, and the
    three small graphs that come with PyKEEN; where a name occurs twice, the first counts.
    """
    place = data_root(root)
    found: dict[str, Path] = {}
    for parent in (place / "KG", place):
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        for folder in folders:
            if (folder / "train.txt").is_file():
                found.setdefault(folder.name.lower(), folder)
    for name in _IN_PYKEEN:
        found.setdefault(name, _pykeen_folder(name))
    return found


def find_folder(name: str | Path, root: str | Path | None = None) -> Path:
    """Folder of a graph: by name as in :func:`dataset_folders`, or the path of a directory.

    In names, case and punctuation do not matter: ``FB15k-237`` is ``fb15k237``. What holds a slash
    is a path.

    Raises:
        FileNotFoundError: there is neither such a name nor such a directory, or a file of the
            three splits is missing in it.
    """
    folder = Path(name).expanduser()
    if isinstance(name, str) and not {"/", os.sep} & set(name):
        names = {_plain(known): place for known, place in dataset_folders(root).items()}
        folder = names.get(_plain(name), folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no graph {str(name)!r}: it is neither a directory nor among "
            f"{', '.join(dataset_folders(root))} (looked for under {data_root(root)}; set "
            "GRAPHCL_DATA or give root)"
        )
    missing = [f"{split}.txt" for split in SPLITS if not (folder / f"{split}.txt").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {' and no '.join(missing)}: a graph needs train.txt, valid.txt and "
            "test.txt"
        )
    return folder


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _pykeen_folder(name: str) -> Path:
    spec = find_spec("pykeen")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("PyKEEN is not installed: pip install pykeen")
    return Path(spec.submodule_search_locations[0]) / "datasets" / name
