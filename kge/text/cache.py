"""Arrays kept on disk under a hash of what they were computed from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def cache_root() -> Path:
    """Folder that keeps computed arrays: ``GRAPHCL_CACHE`` or ``~/.cache/graphcl-kge``."""
    return Path(os.environ.get("GRAPHCL_CACHE") or "~/.cache/graphcl-kge").expanduser()


def content_key(
    settings: Mapping[str, Any], *, texts: Sequence[str] = (), array: np.ndarray | None = None
) -> str:
    """Hash of settings (plain values), texts and an array: equal contents give equal keys."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(len(texts).to_bytes(8, "little"))
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    if array is not None:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()[:32]


def load_arrays(kind: str, key: str) -> Arrays | None:
    """Arrays stored under ``key``, or None where there are none that can be read."""
    path = _place(kind, key)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # numpy raises many types for a damaged file
        warnings.warn(f"{path} cannot be read ({error}); it is computed anew", stacklevel=2)
        return None


def store_arrays(kind: str, key: str, arrays: Arrays) -> None:
    """Store arrays under ``key``: other processes see all of them or none.

    A folder that cannot be written costs the next run time, not this one its result: it is a
    warning.
    """
    path = _place(kind, key)
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        warnings.warn(
            f"the cache folder {path.parent} cannot be written ({error}); set the environment "
            "variable GRAPHCL_CACHE to a folder that can",
            stacklevel=2,
        )
        _remove(name)
    except BaseException:
        _remove(name)
        raise


def _remove(name: str | None) -> None:
    if name is not None:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _place(kind: str, key: str) -> Path:
    return cache_root() / "text" / f"{kind}-{key}.npz"
