"""PyG's own dataset classes, with raw files read in place and processed files kept elsewhere."""

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch_geometric
from torch_geometric.data import Data, HeteroData, InMemoryDataset
from torch_geometric.datasets import (
    DBLP,
    IMDB,
    Amazon,
    CitationFull,
    Coauthor,
    Planetoid,
    WikiCS,
)

from graphcl.data.cache import UNREADABLE, processed_folder, whole_folder
from graphcl.data.raw_files import RawFiles, absent_files_error, downloads_root, find_raw_files

_PLANETOID_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


@dataclass(frozen=True)
class PyGSource:
    """A PyG dataset class, the arguments that choose the dataset, and its raw files."""

    dataset_class: type[InMemoryDataset]
    arguments: dict[str, Any]
    raw: RawFiles


def _planetoid(name: str) -> PyGSource:
    files = tuple(f"ind.{name.lower()}.{part}" for part in _PLANETOID_PARTS)
    return PyGSource(Planetoid, {"name": name}, RawFiles(f"Planetoid/{name}/raw", files))


def _npz(dataset_class: type[InMemoryDataset], name: str, file: str) -> PyGSource:
    raw = RawFiles(f"{dataset_class.__name__}/{name}/raw", (file,))
    return PyGSource(dataset_class, {"name": name}, raw)


def _magnn(dataset_class: type[InMemoryDataset], *files: str) -> PyGSource:
    names = ("adjM.npz", "features_0.npz", "features_1.npz", *files, "train_val_test_idx.npz")
    return PyGSource(dataset_class, {}, RawFiles(f"{dataset_class.__name__}/raw", names))


PYG_SOURCES: dict[str, PyGSource] = {
    "cora": _planetoid("Cora"),
    "citeseer": _planetoid("CiteSeer"),
    "pubmed": _planetoid("PubMed"),
    "amazon-photo": _npz(Amazon, "Photo", "amazon_electronics_photo.npz"),
    "amazon-computers": _npz(Amazon, "Computers", "amazon_electronics_computers.npz"),
    "coauthor-cs": _npz(Coauthor, "CS", "ms_academic_cs.npz"),
    "coauthor-physics": _npz(Coauthor, "Physics", "ms_academic_phy.npz"),
    "wikics": PyGSource(WikiCS, {"is_undirected": True}, RawFiles("WikiCS/raw", ("data.json",))),
    "dblp-citation": _npz(CitationFull, "dblp", "dblp.npz"),
    "cora-ml": _npz(CitationFull, "cora_ml", "cora_ml.npz"),
    "pyg-dblp": _magnn(DBLP, "features_2.npy", "labels.npy", "node_types.npy"),
    "pyg-imdb": _magnn(IMDB, "features_2.npz", "labels.npy"),
}


def read_pyg_dataset(name: str, root: Path) -> Data | HeteroData:
    """Read one of :data:`PYG_SOURCES` as PyG does, without writing under ``root``.

    Processed files go to the cache. If neither ``root`` nor the cache has raw files, PyG downloads
    them into the cache.

    Raises:
        FileNotFoundError: If raw files are missing and cannot be downloaded, or only some exist.
        ValueError: If the raw files cannot be read.
    """
    source = PYG_SOURCES[name]
    raw = find_raw_files(name, source.raw, root) or _download(name, source, root)
    processed = processed_folder(name, raw, source.raw.names, torch_geometric.__version__)
    if processed.is_dir():
        try:
            return _open(source, raw, processed, has_process=False)
        except UNREADABLE as error:
            warnings.warn(f"processed files in {processed} are made anew: {error}", stacklevel=2)
            shutil.rmtree(processed, ignore_errors=True)
    with whole_folder(processed) as part:
        try:
            return _open(source, raw, part)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise ValueError(
                f"dataset {name!r}: the raw files in {raw} cannot be read "
                f"({type(error).__name__}: {error}). Put intact files there, or remove them to "
                f"have them downloaded"
            ) from error


def _open(source: PyGSource, raw: Path, processed: Path, **overrides: Any) -> Data | HeteroData:
    """The dataset's graph, by PyG's class with its two folders replaced and no download."""
    members = {"raw_dir": str(raw), "processed_dir": str(processed), "has_download": False}
    located = type(source.dataset_class.__name__, (source.dataset_class,), members | overrides)
    return located(root=str(raw), **source.arguments)[0]


def _download(name: str, source: PyGSource, root: Path) -> Path:
    """Let PyG fetch the raw files into a new folder, and keep it only if they are all there."""
    target = downloads_root() / source.raw.folder
    try:
        with whole_folder(target) as part:
            # Only the download of the class is wanted: there is nothing to process or load yet.
            members = {
                "raw_dir": str(part),
                "has_process": False,
                "load": lambda self, path, data_cls=Data: None,
            }
            fetching = type(source.dataset_class.__name__, (source.dataset_class,), members)
            fetching(root=str(part), **source.arguments)
            if missing := source.raw.missing_from(part):
                raise FileNotFoundError(f"the download did not give {', '.join(missing)}")
    except Exception as error:
        reason = (
            f"the download failed ({type(error).__name__}: {error}). Put them into the first of "
            f"these folders, or connect to the network and try again."
        )
        raise absent_files_error(name, source.raw, root, reason) from error
    found = find_raw_files(name, source.raw, root)
    if found is None:
        reason = f"{target} is in the way of a download. Remove it and try again."
        raise absent_files_error(name, source.raw, root, reason)
    return found
