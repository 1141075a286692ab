"""Where raw files are looked for, and where this package writes."""

import os
from pathlib import Path

_HOME = "~/.cache/graphcl-kge"


def data_root(root: str | Path | None = None) -> Path:
    """Folder under which raw files are looked for.

    It is ``root``, or the environment variable ``GRAPHCL_DATA``, or ``~/.cache/graphcl-kge``.

    Raises:
        NotADirectoryError: If there is a file at this place.
    """
    place = Path(root or os.environ.get("GRAPHCL_DATA") or _HOME).expanduser()
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"the data root must be a folder, but {place} is a file")
    return place


def cache_root() -> Path:
    """Folder for downloads and processed files: ``GRAPHCL_CACHE`` or ``~/.cache/graphcl-kge``."""
    return Path(os.environ.get("GRAPHCL_CACHE") or _HOME).expanduser()
