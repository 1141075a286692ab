"""OGB's knowledge graphs as PyKEEN data sets: ids alone, the official split and candidates."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pykeen.triples import CoreTriplesFactory
from torch import Tensor

from graphcl.ranking.ogb_files import (
    announce_memory,
    download_ogb,
    find_ogb_folder,
    memory_estimate,
    ogb_facts,
    read_ogb_split,
)
from kge.dataset_folders import SPLITS, data_root, downloads_root
from kge.ogb_counts import OGB_COUNTS, Counts, is_ogb
from kge.split_report import SplitReport
from kge.union_dataset import UnionDataset, Unseen

if TYPE_CHECKING:
    from kge.sides import Side

_PART: dict[str, str] = {"validation": "valid", "test": "test"}


class NumberLabels(Mapping[str, int]):
    """Labels such as ``drug:17`` for ids counted type by type, without a dictionary of them.

    Args:
        counts: number of ids by type, in the order of the ids; one type without a name gives plain
            numbers.

    Example:
        >>> labels = NumberLabels({"drug": 2, "gene": 3})
        >>> list(labels), labels["gene:2"]
        (['drug:0', 'drug:1', 'gene:0', 'gene:1', 'gene:2'], 4)
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        self.offsets: dict[str, int] = {}
        for kind, count in self.counts.items():
            self.offsets[kind] = len(self)
            self._size = len(self) + count

    _size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        for kind, count in self.counts.items():
            yield from (f"{kind}:{i}" if kind else str(i) for i in range(count))

    def __getitem__(self, label: str) -> int:
        kind, _, number = label.rpartition(":")
        if not number.isdecimal() or int(number) >= self.counts.get(kind, 0):
            raise KeyError(label)
        return self.offsets[kind] + int(number)


class OGBDataset(UnionDataset):
    """ogbl-biokg or ogbl-wikikg2 straight from OGB's files: numbers, no label in memory.

    Entities are those that OGB counts, isolated ones included, in OGB's order: of biokg type by
    type (``disease:0`` and so on, types in alphabetical order), of wikikg2 by number. Triples keep
    OGB's order, to which its candidates belong.

    Args:
        name: ``ogbl-biokg`` or ``ogbl-wikikg2``.
        root: data root with ``ogbl_biokg`` in it, in OGB's layout; without that the graph is
            downloaded to ``GRAPHCL_CACHE``.
        unseen: ``keep``, as OGB does.
        create_inverse_triples: let PyKEEN train on inverse relations as well.

    Raises:
        FileNotFoundError: there are no files and no network.
        ValueError: the files are damaged or are not the published ones.
    """

    triples_factory_cls: ClassVar[type[CoreTriplesFactory]] = CoreTriplesFactory

    def __init__(
        self,
        name: str | Path = "ogbl-biokg",
        root: str | Path | None = None,
        unseen: Unseen = "keep",
        create_inverse_triples: bool = False,
    ) -> None:
        if not is_ogb(name):
            raise ValueError(f"OGB has no graph {str(name)!r}; give {' or '.join(OGB_COUNTS)}")
        if unseen != "keep":
            raise ValueError(f"OGB's protocol keeps all triples; unseen={unseen!r} is not its own")
        self.name, self.unseen = str(name).lower(), unseen
        self.folder = find_ogb_folder(
            self.name, [data_root(root), downloads_root()]
        ) or download_ogb(self.name, downloads_root())
        self.split = ogb_facts(self.name)["split"]
        announce_memory(self.name, memory_estimate(self.folder, self.split))
        known = OGB_COUNTS[self.name]
        self._entities = NumberLabels(_entity_counts(self.folder))
        self._relations = NumberLabels({"": known.relations})
        triples = {}
        for part in SPLITS:  # one file at a time: candidates come with the triples
            read = read_ogb_split(self.folder, self.split, [part])[part]
            triples[part] = torch.stack(
                [self._ids(read, "head"), read["relation"].long(), self._ids(read, "tail")], dim=1
            )
        found = Counts(len(self._entities), known.relations, *map(len, triples.values()))
        if found != known:
            raise ValueError(
                f"{self.folder} is not the published {self.name}: {found} instead of {known}"
            )
        self.report = SplitReport()
        self._count_leaks(triples)
        self._count_unseen(triples)
        factories = {
            part: CoreTriplesFactory(
                one,
                num_entities=known.entities,
                num_relations=known.relations,
                create_inverse_triples=create_inverse_triples and part == "train",
            )
            for part, one in triples.items()
        }
        self.training, self.testing = factories["train"], factories["test"]
        self.validation = factories["valid"]
        self.metadata = {
            "name": self.name,
            "convention": "OGB",
            "arguments": {
                "name": self.name,
                "root": None if root is None else str(root),
                "unseen": unseen,
            },
        }

    def candidates(self, split: Literal["validation", "test"]) -> dict[Side, Tensor]:
        """OGB's own candidates (n, 500) in place of the heads and of the tails of a split.

        They are read anew each time: those of wikikg2 take gigabytes.
        """
        part = _PART[split]
        read = read_ogb_split(self.folder, self.split, [part])[part]
        return {
            "head": self._ids(read, "head", "_neg").int(),
            "tail": self._ids(read, "tail", "_neg").int(),
        }

    def summary_str(
        self, title: str | None = None, show_examples: int | None = None, end: str = "\n"
    ) -> str:
        """PyKEEN's summary, without examples, for which there are no labels."""
        return super().summary_str(title, None, end)

    def _ids(self, read: Mapping[str, Any], side: str, kind: str = "") -> Tensor:
        """Ids among all entities, from those within a type."""
        ids: Tensor = read[f"{side}{kind}"]
        types = read.get(f"{side}_type")
        if types is None:
            return ids.long()
        offset = torch.tensor([self._entities.offsets[one] for one in types])
        return ids.long() + offset.view(-1, *[1] * (ids.dim() - 1))

    def _count_unseen(self, triples: Mapping[str, Tensor]) -> None:
        seen = torch.zeros(len(self._entities), dtype=torch.bool)
        seen[triples["train"][:, 0::2].flatten()] = True
        for part in SPLITS:
            covered = seen[triples[part][:, 0::2]].all(1)
            self.report.unseen[part] = int((~covered).sum())

    @property
    def entity_to_id(self) -> Mapping[str, int]:
        """Ids by label."""
        return self._entities

    @property
    def relation_to_id(self) -> Mapping[str, int]:
        """Ids by label."""
        return self._relations

    @property
    def convention(self) -> str:
        """Which entities are numbered, in words."""
        return f"entities that OGB counts ({self.num_entities}), official split, no triple dropped"

    @cached_property
    def entity_names(self) -> list[str]:  # type: ignore[override]
        """Labels, made when they are asked for."""
        return list(self._entities)

    @cached_property
    def relation_names(self) -> list[str]:  # type: ignore[override]
        """Labels."""
        return list(self._relations)

    @cached_property
    def entity_descriptions(self) -> list[str]:  # type: ignore[override]
        """Empty: OGB's files hold none."""
        return [""] * self.num_entities


def _entity_counts(folder: Path) -> dict[str, int]:
    """Number of entities by type, in OGB's order; one nameless type where there are none."""
    import numpy as np

    raw = folder / "raw"
    if (raw / "num_nodes_dict.npz").is_file():
        with np.load(raw / "num_nodes_dict.npz") as arrays:
            return {kind: int(arrays[kind][0]) for kind in sorted(arrays)}
    if (raw / "data.npz").is_file():
        with np.load(raw / "data.npz") as arrays:
            return {"": int(arrays["num_nodes_list"][0])}
    for name in ("num-node-dict.csv.gz", "num-node-list.csv.gz"):
        if (raw / name).is_file():
            with gzip.open(raw / name, "rt") as file:
                rows = list(csv.reader(file))
            kinds, counts = rows if len(rows) == 2 else ([""], rows[0])
            return dict(sorted(zip(kinds, map(int, counts), strict=True)))
    raise FileNotFoundError(f"{raw} has no file with the number of nodes")
