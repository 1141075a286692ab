"""The knowledge graph of a run, found again and recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kge.datasets import UnionDataset, dataset_folders, find_folder, load_dataset
from kge.experiment.choices import close_to
from kge.ogb_counts import is_ogb


def open_graph(
    dataset: str | Path, root: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> UnionDataset:
    """A graph by name or directory; see :func:`kge.datasets.load_dataset`.

    Args:
        dataset: name or directory.
        root: data root.
        options: ``unseen`` and ``create_inverse_triples``.

    Raises:
        FileNotFoundError: there is none; the message has names that come close.
        ValueError: a file is malformed, or an option is wrong.
    """
    try:
        if not is_ogb(dataset):
            find_folder(dataset, root)
    except FileNotFoundError as error:
        near = close_to(str(dataset), dataset_folders(root))
        raise FileNotFoundError(f"{error}{near}") from None
    return load_dataset(dataset, root, **(options or {}))


def describe_graph(graph: UnionDataset) -> dict[str, Any]:
    """What a run says about its graph: counts, the convention, what was found amiss, a digest."""
    splits = {
        "train": graph.training,
        "valid": graph.validation,
        "test": graph.testing,
    }
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    for split, factory in splits.items():
        assert factory is not None
        # The factory of training counts its inverse triples only where batches are made.
        counts[split] = factory.num_triples
        digest.update(factory.mapped_triples.contiguous().numpy().tobytes())
    for labels in (graph.entity_to_id, graph.relation_to_id):
        digest.update("\n".join(labels).encode())
    return {
        "entities": graph.num_entities,
        "relations": graph.training.real_num_relations,
        "triples": counts,
        "convention": graph.convention,
        "dropped": {split: graph.report.dropped.get(split, 0) for split in splits},
        "remarks": graph.report.lines(),
        "digest": digest.hexdigest()[:16],
    }


def graph_of_run(config: Mapping[str, Any], root: str | Path | None = None) -> UnionDataset:
    """The graph that a run was trained on.

    Raises:
        FileNotFoundError: it is not there any more.
        ValueError: the files have changed since.
    """
    graph = open_graph(config["dataset"], root, config["options"]["dataset"])
    found = describe_graph(graph)
    if found["digest"] != config["graph"]["digest"]:
        raise ValueError(
            f"{graph.folder} is not what the run was trained on: {_counts(found)} now, "
            f"{_counts(config['graph'])} then, and another digest; give the root of the old files"
        )
    return graph


def _counts(graph: Mapping[str, Any]) -> str:
    triples = sum(graph["triples"].values())
    return f"{graph['entities']} entities and {triples} triples"
