"""Heterogeneous benchmarks in the layout of HeCo and MEOW: relations as text, fixed splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.transforms import ToUndirected

from graphcl.data.plain_graphs import DAMAGES, read_pairs
from graphcl.data.raw_files import RawFiles

COUNTS = (20, 40, 60)
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class HeteroFiles:
    """Node types by the letter that file names use, relations, and the files of features.

    Attributes:
        name: of the dataset and its folder.
        types: letter -> (node type, number of nodes); the first one has the labels.
        relations: two letters each; ``pa`` is ``pa.txt`` with paper id and author id on a line.
        features: letter -> file.
    """

    name: str
    types: dict[str, tuple[str, int]]
    relations: tuple[str, ...]
    features: dict[str, str]

    @property
    def raw(self) -> RawFiles:
        """Files that must be there."""
        splits = [f"{part}_{count}.npy" for count in COUNTS for part in _PARTS]
        relations = [f"{relation}.txt" for relation in self.relations]
        names = ("labels.npy", *relations, *self.features.values(), *splits)
        return RawFiles(f"Hetero/{self.name}", names)

    @property
    def target(self) -> str:
        """The node type that has labels."""
        return next(iter(self.types.values()))[0]


HETERO_FILES: dict[str, HeteroFiles] = {
    spec.name: spec
    for spec in (
        HeteroFiles(
            "acm",
            {"p": ("paper", 4019), "a": ("author", 7167), "s": ("subject", 60)},
            ("pa", "ps"),
            {"p": "p_feat.npz", "a": "a_feat.npz"},
        ),
        HeteroFiles(
            "dblp",
            {
                "a": ("author", 4057),
                "p": ("paper", 14328),
                "c": ("conference", 20),
                "t": ("term", 7723),
            },
            ("pa", "pc", "pt"),
            {"a": "a_feat.npz", "p": "p_feat.npz", "t": "t_feat.npy"},
        ),
        HeteroFiles(
            "imdb",
            {
                "m": ("movie", 4275),
                "a": ("actor", 5432),
                "d": ("director", 2083),
                "k": ("keyword", 7313),
            },
            ("ma", "md", "mk"),
            {"m": "m_feat.npz"},
        ),
        HeteroFiles(
            "freebase",
            {
                "m": ("movie", 3492),
                "d": ("director", 2502),
                "a": ("actor", 33401),
                "w": ("writer", 4459),
            },
            ("md", "ma", "mw"),
            {},
        ),
        HeteroFiles(
            "aminer",
            {"p": ("paper", 6564), "a": ("author", 13329), "r": ("reference", 35890)},
            ("pa", "pr"),
            {},
        ),
    )
}


def read_hetero(spec: HeteroFiles, folder: Path) -> HeteroData:
    """Read relations, features, labels and splits.

    Args:
        spec: what the files are called.
        folder: where they lie.

    Returns:
        Each relation in both directions (``("paper", "to", "author")`` and its ``rev_to``), ``x``
        float32 for types with features, ``y`` int64 from 0 for the target type, and
        ``splits[20]["train"]`` and so on: the published lists of 20, 40 and 60 training nodes a
        class with 1000 ``val`` and 1000 ``test`` nodes. The lists are left as they are published:
        IMDB's ``train_40`` names one node twice and its ``train_60`` five;
        :func:`~graphcl.probes.make_split` keeps each once. ``pos.npz``, where there is one, is
        ``positive_pairs`` (2, E) of the target type.

    Raises:
        ValueError: a file is damaged, or names a node that does not exist.
    """
    data = HeteroData()
    for letter, (kind, count) in spec.types.items():
        data[kind].num_nodes = count
        if letter in spec.features:
            path = folder / spec.features[letter]
            x = _dense(path)
            if x.shape[0] != count:
                raise ValueError(f"{path} has {x.shape[0]} rows for {count} nodes {kind!r}")
            data[kind].x = torch.from_numpy(x).float()
    for relation in spec.relations:
        (source, sources), (target, targets) = (spec.types[letter] for letter in relation)
        path = folder / f"{relation}.txt"
        data[source, "to", target].edge_index = _pairs(path, (sources, targets))
    data = ToUndirected()(data)
    nodes = data[spec.target].num_nodes
    labels = _array(folder / "labels.npy").astype(np.int64)
    if labels.shape != (nodes,):
        raise ValueError(f"{folder / 'labels.npy'} has shape {labels.shape} for {nodes} nodes")
    data[spec.target].y = torch.from_numpy(labels - labels.min())  # IMDB counts from 1
    if (folder / "pos.npz").exists():
        pairs = np.stack(_sparse(folder / "pos.npz").nonzero())
        data[spec.target].positive_pairs = torch.from_numpy(pairs).long()
    data.splits = {
        count: {part: _nodes(folder / f"{part}_{count}.npy", nodes) for part in _PARTS}
        for count in COUNTS
    }
    return data


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except DAMAGES as error:
        raise ValueError(f"{path} is not an array, or damaged: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ValueError(f"{path} is not an array of numbers")
    return array


def _sparse(path: Path) -> sp.csr_matrix:
    try:
        matrix = sp.load_npz(path)
        if matrix.format in ("csc", "bsr"):  # converting follows their indices wherever they lead
            matrix.check_format(full_check=True)
        matrix = matrix.tocsr()
        matrix.check_format(full_check=True)
    except DAMAGES as error:
        raise ValueError(f"{path} is not a sparse matrix, or damaged: {error}") from error
    return matrix


def _dense(path: Path) -> np.ndarray:
    return _array(path) if path.suffix == ".npy" else np.asarray(_sparse(path).toarray())


def _pairs(path: Path, sizes: tuple[int, int]) -> Tensor:
    pairs = read_pairs(path)
    low, high = pairs.min(0), pairs.max(0)
    if (low < 0).any() or (high >= sizes).any():
        raise ValueError(
            f"{path}: edges name nodes {low.tolist()} to {high.tolist()}, but there are {sizes}"
        )
    return torch.from_numpy(np.ascontiguousarray(pairs.T))


def _nodes(path: Path, count: int) -> Tensor:
    nodes = _array(path).astype(np.int64).ravel()
    if nodes.size and not 0 <= nodes.min() <= nodes.max() < count:
        raise ValueError(f"{path} names nodes {nodes.min()}..{nodes.max()} of {count}")
    return torch.from_numpy(nodes)
