"""Evaluation of the embeddings that a run directory holds."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from graphcl.data import dataset_info, load_dataset
from graphcl.data.files import read_json, write_json
from graphcl.probes import cluster_nodes, link_probe
from graphcl.probes.labels import node_labels
from graphcl.train.clustering import PROTOCOL as CLUSTERING
from graphcl.train.environment import environment
from graphcl.train.experiment import spread
from graphcl.train.probing import classify, link_values, training_graph

TASKS = ("classify", "cluster", "links")


def evaluate_run(
    run: str | os.PathLike[str],
    task: str = "classify",
    *,
    root: str | Path | None = None,
    protocol: str | None = None,
    classifier: str | None = None,
    oracle: bool = False,
) -> dict[str, Any]:
    """Evaluate every seed of a run and write ``metrics-<task>.json`` into it.

    Args:
        run: a run directory of :func:`~graphcl.train.run_experiment`.
        task: ``classify`` (linear probe), ``cluster`` (k-means) or ``links`` (held-out links).
        root: where raw data lie.
        protocol: for ``classify``; default the run's own, or the data set's first where the run has
            none of a probe.
        classifier: for ``classify``, see :func:`~graphcl.probes.linear_probe`; default the run's.
        oracle: for ``cluster``: pick the restart by the labels, and say so.

    Returns:
        What the file holds, in the form of ``metrics.json``.

    Raises:
        ValueError: not a finished run, unknown task, no labels, or no held-out links.
    """
    folder = Path(run).expanduser()
    if not (folder / "metrics.json").exists():
        raise ValueError(
            f"{folder} holds no finished run (metrics.json is missing); run or continue it with: "
            "graphcl train"
        )
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; choose from {', '.join(TASKS)}")
    config = read_json(folder / "config.json")
    classifier = classifier or config["classifier"]
    if protocol is None:
        protocol = config["protocol"]
        if protocol == CLUSTERING and task == "classify":  # no protocol of a probe
            protocol = next(iter(dataset_info(config["dataset"]).protocols), None)
    data = load_dataset(config["dataset"], root)
    started = time.perf_counter()
    values: list[dict[str, float]] = []
    selection = ""
    seeds = read_json(folder / "metrics.json")["seeds"]  # config.json may have more to come
    for seed in seeds:
        with np.load(folder / f"seed-{seed}" / "embeddings.npz") as arrays:
            embeddings = torch.from_numpy(arrays["embeddings"])
        if task == "classify":
            one, selection = _classify(embeddings, data, config, protocol, seed, classifier)
        elif task == "cluster":
            one, selection = _cluster(embeddings, data, seed, oracle)
        else:
            one, selection = _links(embeddings, data, config, seed)
        values.append(one)
    metrics = {
        "dataset": config["dataset"],
        "method": config["method"],
        "task": task,
        "protocol": protocol if task == "classify" else None,
        **({"classifier": classifier} if task == "classify" else {}),
        "seeds": seeds,
        "metrics": {name: spread([one[name] for one in values]) for name in values[0]},
        "selection": selection,
        "seconds": {"evaluate": (time.perf_counter() - started) / len(values)},
        "environment": environment(),
    }
    try:
        write_json(folder / f"metrics-{task}.json", metrics)
    except OSError as error:  # what took so long is still told
        warnings.warn(f"the figures are not kept: {error}", stacklevel=2)
    return metrics


def _labels(data: Data | HeteroData) -> Tensor:
    if isinstance(data, Data) and data.y is None:
        raise ValueError("the dataset has no labels; only the task links can be evaluated")
    return node_labels(data)


def _classify(
    embeddings: Tensor,
    data: Data | HeteroData,
    config: Mapping[str, Any],
    protocol: str | None,
    seed: int,
    classifier: str,
) -> tuple[dict[str, float], str]:
    _labels(data)
    if protocol is None:
        raise ValueError("give a protocol: the run has none")
    asked = {**config, "protocol": protocol, "classifier": classifier}
    if protocol != config["protocol"]:
        asked.pop("labels_per_class", None)
    values, how = classify(embeddings, data, asked, seed)
    kept = {name: value for name, value in values.items() if "validation" not in name}
    return kept, str(how["selection"])


def _cluster(
    embeddings: Tensor, data: Data | HeteroData, seed: int, oracle: bool
) -> tuple[dict[str, float], str]:
    found = cluster_nodes(embeddings, _labels(data), seed=seed, oracle=oracle)
    return {
        name: float(getattr(found, name)) for name in ("accuracy", "nmi", "ari", "macro_f1")
    }, found.selection


def _links(
    embeddings: Tensor, data: Data | HeteroData, config: Mapping[str, Any], seed: int
) -> tuple[dict[str, float], str]:
    links = training_graph(data, config, seed)[1]
    if links is None:
        raise ValueError(
            "this run was trained on all edges, so that testing links on it would leak; train with "
            "held_out_links=0.1 (graphcl train --hold-out-links 0.1)"
        )
    found = link_probe(embeddings, links, seed=seed)
    return link_values(found), found.selection
