"""An experiment: one method on one dataset over several seeds, in a run directory.

The run directory holds ``config.json``, ``metrics.json``, ``curves.csv``, ``embeddings.npz`` and
``checkpoint.ckpt`` (of the first seed), and one folder per seed. Started again, an experiment skips
the seeds that are done and continues the one that was interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.transforms import NormalizeFeatures

from graphcl.data import dataset_info, load_dataset
from graphcl.probes import LinkResult, Split, hold_out_links, linear_probe, link_probe, make_split
from graphcl.probes.labels import node_labels
from graphcl.train.environment import environment
from graphcl.train.files import read_json, replacing, write_csv, write_json, write_npz
from graphcl.train.fitting import fit
from graphcl.train.recipes import Settings, method_class, settings_for
from graphcl.views.features import compact_features

CLASSIFICATION = ("accuracy", "micro_f1", "macro_f1")
CLASSIFIERS = ("logistic", "adam")


def run_experiment(
    dataset: str,
    method: str,
    out: str | os.PathLike[str],
    *,
    root: str | Path | None = None,
    seeds: Sequence[int] = (0,),
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    classifier: str = "logistic",
    held_out_links: float = 0.0,
    device: str = "auto",
    precision: str = "32-true",
    progress: bool = True,
    tensorboard: bool = False,
    checkpoint_seconds: float = 10.0,
) -> dict[str, Any]:
    """Train and evaluate, and return what ``metrics.json`` holds.

    Every seed draws its own weights, views, split (where the protocol is random) and probe. The
    model is selected on validation data or by cross-validation inside train, never on test.

    Args:
        dataset: a name of :func:`~graphcl.data.load_dataset`.
        method: a name of :func:`~graphcl.train.method_names`.
        out: the run directory.
        root: where raw data lie.
        seeds: one run each.
        protocol: of :func:`~graphcl.probes.make_split`; default the dataset's first.
        overrides: settings on top of the recipe. ``labels_per_class`` among them goes to the
            protocol of that name; without it the most that the data have lists for (60) is taken,
            and the fewer (20, 40) are measured beside it as ``macro_f1@20`` and so on.
        classifier: of :func:`~graphcl.probes.linear_probe`.
        held_out_links: share of edges kept from training as test links (half as many again as
            validation links), for an honest link probe; 0 trains on the whole graph.
        device: see :func:`~graphcl.train.fit`.
        precision: see :func:`~graphcl.train.fit`.
        progress: show progress bars.
        tensorboard: also write TensorBoard logs.
        checkpoint_seconds: least time between two checkpoints.

    Raises:
        ValueError: unknown names or settings, or a run directory of another experiment.
    """
    overrides = dict(overrides or {})
    labels = overrides.pop("labels_per_class", None)
    settings = settings_for(method, dataset, overrides)
    info = dataset_info(dataset)
    if protocol is None:
        protocol = info.protocols[0] if info.protocols else None
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be different numbers, got {list(seeds)}")
    folder = Path(out)
    config = {
        "dataset": info.name,
        **settings.as_dict(),
        "protocol": protocol,
        "classifier": classifier,
        "held_out_links": held_out_links,
        "precision": precision,
        "seeds": list(seeds),
    }
    if labels is not None:
        config["labels_per_class"] = labels
    data = load_dataset(dataset, root)
    wanted = method_class(method).takes
    if not isinstance(data, wanted):
        kind = "a heterogeneous" if wanted is HeteroData else "a homogeneous"
        raise ValueError(
            f"{settings.method} takes {kind} graph ({wanted.__name__}), but dataset {info.name!r} "
            f"is {type(data).__name__}"
        )
    if isinstance(data, Data) and data.x is None:
        raise ValueError(f"dataset {info.name!r} has no node features; choose one that has")
    # Mistakes in what comes after training are told before it.
    if classifier not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {classifier!r}; choose from {', '.join(CLASSIFIERS)}")
    if protocol is not None:
        named_splits(data, config, seeds[0])
    if held_out_links and not isinstance(data, Data):
        raise ValueError("held-out links are for homogeneous graphs; leave held_out_links at 0")
    _claim(folder, config)
    if settings.training.normalize_features:
        data = NormalizeFeatures()(data)
    for store in data.node_stores:
        if "x" in store:
            store.x = compact_features(store.x)
    results = [
        _one_seed(
            data,
            settings,
            config,
            seed,
            folder / f"seed-{seed}",
            device=device,
            precision=precision,
            progress=progress,
            tensorboard=tensorboard,
            checkpoint_seconds=checkpoint_seconds,
            label=f"{settings.method} on {info.name}, seed {seed}",
        )
        for seed in seeds
    ]
    metrics = _summary(config, results, device)
    _gather(folder, seeds)
    write_json(folder / "metrics.json", metrics)
    return metrics


def named_splits(data: Any, config: Mapping[str, Any], seed: int) -> dict[str, Split]:
    """Splits of a run's protocol by the suffix of their metrics, the one without a suffix first.

    Raises:
        ValueError: labels per class that the protocol or the data do not have.
    """
    protocol, labels = config["protocol"], config.get("labels_per_class")
    if protocol != "labels_per_class":
        if labels is not None:
            raise ValueError(
                f"labels_per_class={labels} goes with protocol 'labels_per_class', not {protocol!r}"
            )
        return {"": make_split(data, protocol, seed=seed)}
    counts = [labels]
    if labels is None:
        counts = sorted(getattr(data, "splits", None) or (20,), reverse=True)
    return {
        f"@{count}" if number else "": make_split(data, protocol, seed=seed, count=count)
        for number, count in enumerate(counts)
    }


def classify(
    embeddings: torch.Tensor, data: Any, config: Mapping[str, Any], seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics of linear probes on all splits of the protocol, and how the first was selected."""
    values: dict[str, float] = {}
    selection: dict[str, Any] = {}
    labels = node_labels(data)
    names = CLASSIFICATION + (("auc",) if config["protocol"] == "labels_per_class" else ())
    for suffix, split in named_splits(data, config, seed).items():
        probe = linear_probe(embeddings, labels, split, classifier=config["classifier"], seed=seed)
        values |= {name + suffix: float(getattr(probe, name)) for name in names}
        values["validation_accuracy" + suffix] = float(probe.validation_accuracy)
        selection = selection or {"selection": probe.selection, "selected": dict(probe.selected)}
    return values, selection


def training_graph(data: Any, config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
    """The graph a seed trains on, and its held-out links (``None`` without any)."""
    share = config["held_out_links"]
    if not share:
        return data, None
    links = hold_out_links(
        data.edge_index, int(data.num_nodes or 0), validation=share / 2, test=share, seed=seed
    )
    graph = data.clone()
    graph.edge_index = links.train_edge_index
    return graph, links


def _one_seed(
    data: Data | HeteroData,
    settings: Settings,
    config: Mapping[str, Any],
    seed: int,
    folder: Path,
    **options: Any,
) -> dict[str, Any]:
    done = folder / "result.json"
    if done.exists():
        result: dict[str, Any] = read_json(done)
        return result
    graph, links = training_graph(data, config, seed)
    torch.manual_seed(seed)
    method = settings.build(method_class(settings.method).input_channels(graph))
    trained = fit(method, graph, settings.training, seed=seed, folder=folder, **options)
    embeddings = method.embeddings(trained.graph).float().cpu()
    started = time.perf_counter()
    result = {"seed": seed, "epochs": len(trained.losses), "final_loss": trained.losses[-1]}
    values: dict[str, float] = {}
    if config["protocol"] is not None:
        values, selection = classify(embeddings, data, config, seed)
        result |= selection
    if links is not None:
        found = link_probe(embeddings, links, seed=seed)
        values |= link_values(found)
        result.setdefault("selection", found.selection)
    result |= {
        "metrics": values,
        "seconds": {
            "train": trained.seconds,
            "epoch": trained.epoch_seconds,
            "evaluate": time.perf_counter() - started,
        },
        "peak_memory_bytes": trained.peak_memory_bytes,
    }
    arrays = {"embeddings": embeddings.numpy(), "seed": np.array(seed)}
    if isinstance(data, HeteroData) or data.y is not None:
        arrays["labels"] = node_labels(data).numpy()
    write_npz(folder / "embeddings.npz", arrays)
    write_json(done, result)
    return result


def link_values(found: LinkResult) -> dict[str, float]:
    """Metrics of a link probe by name."""
    return {
        "link_auc": found.auc,
        "link_average_precision": found.average_precision,
        **{f"link_hits@{k}": value for k, value in found.hits.items()},
    }


def _claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Take a run directory, or continue one of the same experiment; more seeds may be added.

    A directory in which another experiment has left nothing but its settings is free.
    """
    path = folder / "config.json"
    config = json.loads(json.dumps(config))  # as it will be read: tuples have become lists
    if path.exists():
        before = read_json(path)
        differing = [
            f"{key}: {before.get(key)!r} there, {value!r} now"
            for key, value in config.items()
            if key != "seeds" and before.get(key) != value
        ]
        if differing and any(folder.glob("seed-*/*")):
            raise ValueError(
                f"{folder} holds another experiment ({'; '.join(differing)}); give a new --out or "
                "remove that folder"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder} is not empty and holds no experiment; give a new or an empty --out"
        )
    write_json(path, config)


def _gather(folder: Path, seeds: Sequence[int]) -> None:
    """Bring the seeds' files together: all curves, and the first seed's model and embeddings."""
    rows: list[list[str]] = []
    header: list[str] = []
    for seed in seeds:
        lines = (folder / f"seed-{seed}" / "curves.csv").read_text().splitlines()
        header = ["seed", *lines[0].split(",")]
        rows += [[str(seed), *line.split(",")] for line in lines[1:]]
    write_csv(folder / "curves.csv", header, rows)
    for name in ("embeddings.npz", "checkpoint.ckpt"):
        with (
            open(folder / f"seed-{seeds[0]}" / name, "rb") as source,
            replacing(folder / name) as copy,
        ):
            shutil.copyfileobj(source, copy)


def _summary(
    config: Mapping[str, Any], results: Sequence[Mapping[str, Any]], device: str
) -> dict[str, Any]:
    names = list(results[0]["metrics"])
    seconds = {
        name: mean(result["seconds"][name] for result in results)
        for name in ("train", "epoch", "evaluate")
    }
    return {
        "dataset": config["dataset"],
        "method": config["method"],
        "protocol": config["protocol"],
        "seeds": config["seeds"],
        "epochs": [result["epochs"] for result in results],
        "metrics": {
            name: spread([result["metrics"][name] for result in results]) for name in names
        },
        "selection": results[0].get("selection", "none"),
        "seconds": seconds,
        "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        "environment": environment(device),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 for one value) and the values."""
    return {
        "mean": mean(values),
        "std": stdev(values) if len(values) > 1 else 0.0,
        "values": list(values),
    }
