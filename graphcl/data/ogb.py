"""OGB's node and link data sets with their official splits, from OGB's own raw files."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.data.cache import UNREADABLE, processed_folder, whole_folder
from graphcl.data.raw_files import downloads_root
from graphcl.data.registry import DatasetInfo
from graphcl.ranking.ogb_files import (
    DAMAGED,
    PARTS,
    announce_memory,
    download_ogb,
    find_ogb_folder,
    import_ogb,
    memory_estimate,
    ogb_facts,
    quiet_ogb,
    read_ogb_split,
)

_VERSION = "ogb 1"
_MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}


def find_ogb(name: str, root: Path) -> Path | None:
    """Folder with OGB's files of a data set, under ``root`` or among earlier downloads."""
    return find_ogb_folder(name, [root, downloads_root()])


def read_ogb(info: DatasetInfo, root: Path) -> Data:
    """Read a data set of OGB (Hu et al., 2020, arXiv 2005.00687), downloading it where need be.

    What was read is kept in the cache, in torch's own format, and mapped into memory afterwards.

    Returns:
        Graph with ``edge_index`` as OGB's loader gives it. Of nodes: ``x``, ``y`` (N,) and the
        official ``train_mask``, ``val_mask``, ``test_mask``. Of links: ``metric`` (such as
        ``hits@50``) and, by part, ``train_pairs``, ``valid_pairs`` and ``test_pairs`` (2, P), the
        source first; ``valid_neg_pairs`` and ``test_neg_pairs`` (2, M), shared by all positives,
        or (citation2) ``valid_neg_targets`` and ``test_neg_targets`` (P, 1000), targets in place
        of each positive's own.

    Raises:
        FileNotFoundError: there are no files and no network.
        ValueError: a file is damaged.
    """
    folder = find_ogb(info.name, root) or download_ogb(info.name, downloads_root())
    facts = ogb_facts(info.name)
    names = tuple(
        str(path.relative_to(folder))
        for place in ("raw", f"split/{facts['split']}")
        for path in sorted((folder / place).rglob("*"))
        if path.is_file()
    )
    kept = processed_folder(info.name, folder, names, _VERSION)
    stored = None
    if kept.is_dir():
        try:
            stored = torch.load(kept / "data.pt", weights_only=True, mmap=True)
        except UNREADABLE as error:
            warnings.warn(f"the file in {kept} is made anew: {error}", stacklevel=2)
            shutil.rmtree(kept, ignore_errors=True)
    if stored is None:
        announce_memory(info.name, memory_estimate(folder, facts["split"]))
        with whole_folder(kept) as part:  # first, as reading may take long
            torch.save(_everything(info, folder, facts), part / "data.pt")
        stored = torch.load(kept / "data.pt", weights_only=True, mmap=True)
    data = Data(**stored)
    if info.task == "links":
        data.metric = facts["eval metric"]
    return data


def _everything(info: DatasetInfo, folder: Path, facts: Mapping[str, str]) -> dict[str, Any]:
    """Graph, and labels with masks or the pairs of links."""
    try:
        found = _graph(folder, facts)
        if info.task == "classify":
            return found | _labels(folder) | _masks(folder, facts["split"], len(found["x"]))
        return found | _pairs(read_ogb_split(folder, facts["split"]))
    except DAMAGED as error:
        raise ValueError(f"{folder} is incomplete or damaged: {error}") from error


def _graph(folder: Path, facts: Mapping[str, str]) -> dict[str, Any]:
    """Edges, features and what else the raw files tell, by ogb's own readers."""
    read = import_ogb("ogb.io.read_graph_raw")
    raw = folder / "raw"
    try:
        with quiet_ogb():
            if (raw / "data.npz").is_file():  # the form of DatasetSaver, reverse edges included
                graph = read.read_binary_graph_raw(str(raw))[0]
            else:
                graph = read.read_csv_graph_raw(
                    str(raw),
                    add_inverse_edge=facts["add_inverse_edge"] == "True",
                    additional_node_files=_listed(facts["additional node files"]),
                    additional_edge_files=_listed(facts["additional edge files"]),
                )[0]
    except (RuntimeError, ValueError, EOFError) as error:
        raise ValueError(f"{raw} is incomplete or damaged: {error}") from error
    found: dict[str, Any] = {
        "edge_index": torch.from_numpy(np.ascontiguousarray(graph.pop("edge_index"))).long(),
        "num_nodes": int(graph.pop("num_nodes")),
    }
    features = graph.pop("node_feat", None)
    if features is not None:
        found["x"] = torch.from_numpy(features).float()
    for name, value in graph.items():
        if value is not None:
            found[name] = _flat(torch.from_numpy(np.ascontiguousarray(value)))
    return found


def _labels(folder: Path) -> dict[str, Tensor]:
    import pandas

    stored, text = folder / "raw" / "node-label.npz", folder / "raw" / "node-label.csv.gz"
    if stored.is_file():
        with np.load(stored) as arrays:
            labels = arrays["node_label"]
    else:
        labels = pandas.read_csv(text, header=None).to_numpy()
    if np.isnan(labels).any() or labels.shape[1:] not in ((), (1,)):
        raise ValueError(f"{folder} has other labels than one class for each node")
    return {"y": _flat(torch.from_numpy(np.array(labels))).long()}


def _masks(folder: Path, split: str, nodes: int) -> dict[str, Tensor]:
    import pandas

    place = folder / "split" / split
    if (place / "split_dict.pt").is_file():
        index = read_ogb_split(folder, split)
    else:
        missing = [part for part in PARTS if not (place / f"{part}.csv.gz").is_file()]
        if missing:
            raise FileNotFoundError(f"{place} lacks the parts {', '.join(missing)} of the split")
        index = {
            part: torch.from_numpy(
                pandas.read_csv(place / f"{part}.csv.gz", header=None).to_numpy().flatten()
            )
            for part in PARTS
        }
    masks = {}
    for part, name in _MASKS.items():
        masks[name] = torch.zeros(nodes, dtype=torch.bool)
        masks[name][index[part].long()] = True
    return masks


def _pairs(split: Mapping[str, Any]) -> dict[str, Tensor]:
    """Named pairs of the parts of a split, whichever names OGB gives them."""
    found = {}
    for part, values in split.items():
        for name, value in values.items():
            if name in ("edge", "edge_neg"):
                key = f"{part}_neg_pairs" if name == "edge_neg" else f"{part}_pairs"
                found[key] = value.long().T.contiguous()
            elif name == "source_node":
                found[f"{part}_pairs"] = torch.stack([value, values["target_node"]]).long()
            elif name == "target_node_neg":
                found[f"{part}_neg_targets"] = value.int()
            elif name != "target_node":  # weight and year, of collab
                found[f"{part}_{name}"] = _flat(value)
    return found


def _flat(values: Tensor) -> Tensor:
    return values.flatten() if values.dim() == 2 and values.shape[1] == 1 else values


def _listed(names: str) -> list[str]:
    return [] if names == "None" else names.split(",")
