"""OGB's data sets on disk: where they lie, what they cost, and their splits, read safely.

The package ogb 1.3.6 hands its files to ``torch.load`` without saying what may be in them, which
torch refuses since 2.6, and its import starts a thread that asks a server for a newer version.
Here splits are read by an unpickler that builds arrays and tensors and refuses all else, and ogb is
imported without that thread; nothing of torch or ogb is patched.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import logging
import os
import pickle
import shutil
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

PARTS = ("train", "valid", "test")

DAMAGED = (EOFError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile)
"""What a packed file that was cut short, or is something else, makes its readers raise."""


def import_ogb(name: str) -> ModuleType:
    """A module of ogb, such as ``ogb.linkproppred``, without the thread that looks for updates.

    Raises:
        ModuleNotFoundError: ogb is not installed.
    """
    if "ogb" in sys.modules:
        return importlib.import_module(name)
    _ogb_place()
    absent = object()
    before = sys.modules.get("outdated", absent), os.environ.get("OUTDATED_IGNORE")
    sys.modules["outdated"] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        importlib.import_module("ogb")
    finally:
        del sys.modules["outdated"]
        if before[0] is not absent:
            sys.modules["outdated"] = before[0]  # type: ignore[assignment]
        os.environ.pop("OUTDATED_IGNORE", None)
        if before[1] is not None:
            os.environ["OUTDATED_IGNORE"] = before[1]
    return importlib.import_module(name)


def ogb_facts(name: str) -> dict[str, str]:
    """What ogb's own table says of a data set: ``split``, ``eval metric``, ``url`` and others.

    Raises:
        ModuleNotFoundError: ogb is not installed.
        ValueError: ogb does not know the name.

    Example:
        >>> ogb_facts("ogbl-ddi")["eval metric"]
        'hits@20'
    """
    kind = {"ogbn": "nodeproppred", "ogbl": "linkproppred"}.get(name.partition("-")[0])
    rows: list[list[str]] = [[""]]
    if kind is not None:
        with open(_ogb_place() / kind / "master.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    if name not in rows[0][1:]:
        raise ValueError(f"ogb knows no node or link data set {name!r}")
    column = rows[0].index(name)
    return {row[0]: row[column] for row in rows[1:]}


def find_ogb_folder(name: str, roots: Sequence[Path]) -> Path | None:
    """Folder of a data set below one of the roots, in ogb's layout (``ogbn_arxiv/raw``)."""
    plain = name.replace("-", "_")
    for root in roots:
        for place in (root / plain, root / f"{plain}_pyg", root / "OGB" / plain):
            if (place / "raw").is_dir():
                return place
    return None


def download_ogb(name: str, root: Path) -> Path:
    """Download a data set with ogb's own tools to ``root`` and return its folder.

    Raises:
        FileNotFoundError: it cannot be had, as without a network; the message says where the files
            belong.
    """
    url, folder = ogb_facts(name)["url"], root / name.replace("-", "_")
    part = root / f".partial-{uuid4().hex}"
    try:
        part.mkdir(parents=True)
        tools = import_ogb("ogb.utils.url")
        archive = tools.download_url(url, str(part))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(part / "files")
        (inner,) = (part / "files").iterdir()
        try:
            inner.rename(folder)
        except OSError:  # another process was faster
            if not (folder / "raw").is_dir():
                raise
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise FileNotFoundError(
            f"dataset {name!r} is not on this machine, and its download from {url} failed "
            f"({error}). Where there is a network, unpack that file and put its folder at "
            f"{folder} (with raw and split in it), or below the data root"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def read_ogb_split(folder: Path, split: str, parts: Iterable[str] = PARTS) -> dict[str, Any]:
    """Parts of an official split that ogb keeps in torch's files; arrays become tensors.

    Args:
        folder: of the data set.
        split: name of the split, see :func:`ogb_facts`.
        parts: some of ``train``, ``valid`` and ``test``.

    Returns:
        By part what is in the file: a dictionary of tensors and lists of words, or a tensor.

    Raises:
        FileNotFoundError: the split is not there.
        ValueError: a file holds something else than numbers, words and dictionaries of them.
    """
    place = folder / "split" / split
    together = place / "split_dict.pt"
    if together.is_file():
        found = _load(together)
        return {part: _as_tensors(found[part]) for part in parts}
    missing = [part for part in parts if not (place / f"{part}.pt").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{place} has no split_dict.pt and no {', '.join(f'{one}.pt' for one in missing)}"
        )
    return {part: _as_tensors(_load(place / f"{part}.pt")) for part in parts}


def memory_estimate(folder: Path, split: str) -> int:
    """Bytes that reading a data set takes at its peak, guessed from its files before it is read.

    Twice what the raw files and the split hold unpacked: once as read, once as tensors. A number
    takes about as many bytes as a text as it does in memory.
    """
    files = [*(folder / "raw").rglob("*"), *(folder / "split" / split).rglob("*")]
    return 2 * sum(_unpacked(path) for path in files if path.is_file())


def announce_memory(name: str, needed: int) -> None:
    """Log what reading a data set will take, and warn where there is less than that."""
    logger.info("%s: reading it takes about %.1f GB of memory", name, needed / 1e9)
    available = available_memory()
    if available is not None and needed > available:
        warnings.warn(
            f"reading {name} takes about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB "
            "are free: the system may end the process",
            stacklevel=3,
        )


def available_memory() -> int | None:
    """Bytes that can be had without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(one.split()[1]) for one in lines if one.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


@contextmanager
def quiet_ogb() -> Iterator[None]:
    """Keep ogb's prints and bars from the terminal."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield


def _ogb_place() -> Path:
    spec = find_spec("ogb")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("OGB's data sets need the package ogb: pip install ogb")
    return Path(next(iter(spec.submodule_search_locations)))


class _NumbersAndWords(pickle.Unpickler):
    """Unpickles arrays, tensors, numbers, words and containers of them, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """See :class:`pickle.Unpickler`; torch looks up its storages itself."""
        # NumPy 2 has moved what files of NumPy 1 name.
        at = module.replace("numpy._core", "numpy.core")
        if (at, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        if at.startswith("numpy.core."):
            return _numpy_builders()[name]
        return super().find_class(module, name)


_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


class _Pickling:
    """What torch.load needs of a pickle module."""

    Unpickler = _NumbersAndWords

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _NumbersAndWords(file, **options).load()


def _load(path: Path) -> Any:
    # weights_only=True would do for files of pickle protocol 2; ogb's large ones are of protocol 4.
    try:
        return torch.load(path, map_location="cpu", pickle_module=_Pickling, weights_only=False)
    except (pickle.UnpicklingError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged, or holds more than numbers and words, and was not read: {error}"
        ) from error


def _numpy_builders() -> dict[str, Any]:
    import numpy as np

    return {
        "_reconstruct": np.zeros(0).__reduce__()[0],
        "scalar": np.float64(0).__reduce__()[0],
        "_frombuffer": np.zeros(0).__reduce_ex__(5)[0],
    }


def _as_tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tensors(one) for key, one in value.items()}
    if isinstance(value, Tensor | list):
        return value
    return torch.as_tensor(value)


def _unpacked(path: Path) -> int:
    """Bytes of a file once unpacked."""
    size = path.stat().st_size
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as packed:
                return sum(one.file_size for one in packed.infolist())
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is incomplete or damaged: {error}") from error
    if path.suffix == ".gz" and size > 4:
        with open(path, "rb") as file:
            file.seek(-4, os.SEEK_END)
            (found,) = struct.unpack("<I", file.read(4))
        while found < size:  # the length is kept modulo 4 GiB
            found += 1 << 32
        # A short text may be smaller than its packed form.
        return _gunzipped(path) if size < 1 << 16 else int(found)
    return size


def _gunzipped(path: Path) -> int:
    try:
        return len(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is incomplete or damaged: {error}") from error
