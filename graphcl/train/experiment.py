"""An experiment: one method on one dataset over several seeds, in a run directory.

The run directory holds ``config.json``, ``metrics.json``, ``curves.csv``, ``embeddings.npz`` and
``checkpoint.ckpt`` (of the first seed), and one folder per seed. Started again, an experiment skips
the seeds that are done and continues the one that was interrupted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from graphcl.data import dataset_info, load_dataset
from graphcl.data.files import read_json, replacing, write_csv, write_json, write_npz
from graphcl.kernels.processes import from_first_process
from graphcl.methods.clustering import ClusteringMethod
from graphcl.methods.method import Method
from graphcl.minibatch.options import Batching
from graphcl.probes import link_probe
from graphcl.probes.labels import node_labels
from graphcl.probes.linear import check_probe
from graphcl.train.clustering import (
    ORACLE,
    PROTOCOL,
    SELECTIONS,
    ClusterTrace,
    Selection,
    cluster_values,
)
from graphcl.train.environment import environment, environments
from graphcl.train.fitting import check_precision, device_places, fit
from graphcl.train.probing import (
    CLASSIFIERS,
    classify,
    link_values,
    named_splits,
    training_graph,
)
from graphcl.train.processes import (
    heartbeat,
    is_first,
    telling_of_lost_processes,
    wait_for_file,
)
from graphcl.train.provable import node_compactness, write_compactness
from graphcl.train.recipes import Settings, method_class, settings_for
from graphcl.train.run_directory import claimed
from graphcl.views.features import compact_features, identity_features, normalized_features


def run_experiment(
    dataset: str,
    method: str,
    out: str | os.PathLike[str],
    *,
    root: str | Path | None = None,
    seeds: Sequence[int] = (0,),
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    pot: str = "none",
    classifier: str = "logistic",
    held_out_links: float | None = None,
    selection: Selection = "last",
    oracle: bool = False,
    approximation: bool = False,
    device: str = "auto",
    precision: str = "32-true",
    progress: bool = True,
    tensorboard: bool = False,
    checkpoint_seconds: float = 10.0,
    batching: Batching | None = None,
    devices: int = 1,
    nodes: int = 1,
    timeout_seconds: float = 1800.0,
) -> dict[str, Any]:
    """Train and evaluate, and return what ``metrics.json`` holds.

    Every seed draws its own weights, views, split (where the protocol is random) and probe. The
    model is selected on validation data or by cross-validation inside train, never on test. A
    method that clusters is judged by its clusters of all nodes (protocol ``clustering``), with as
    many clusters as the dataset has classes unless they are set.

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
        pot: score of provable training, ``pairwise``, ``certified`` or ``official``, or ``none``.
        classifier: of :func:`~graphcl.probes.linear_probe`.
        held_out_links: share of edges kept from training as test links (half as many again as
            validation links), for an honest link probe; 0 trains on the whole graph. None is 0.1
            for graphs that are there for link prediction, and 0 for others. A graph of OGB is
            always tested on its official links; a share of its own is refused.
        selection: of methods that cluster: whose weights count, without labels; see
            :class:`~graphcl.train.clustering.ClusterTrace`.
        oracle: of methods that cluster: also report the best epochs against the labels, by name.
        approximation: of methods that cluster: note in ``clusters.csv`` how far the negative term
            is from the exact one.
        device: see :func:`~graphcl.train.fit`.
        precision: see :func:`~graphcl.train.fit`.
        progress: show progress bars.
        tensorboard: also write TensorBoard logs.
        checkpoint_seconds: least time between two checkpoints.
        batching: how the graph is cut into batches; by default it is not.
        devices: processes on this machine, see :mod:`graphcl.train.processes`. The first process
            evaluates and writes; all of them return.
        nodes: machines.
        timeout_seconds: see :func:`~graphcl.train.fit`.

    Raises:
        ValueError: unknown names or settings, or a run directory of another experiment.
    """
    overrides = dict(overrides or {})
    labels = overrides.pop("labels_per_class", None)
    info = dataset_info(dataset)
    clusters = issubclass(method_class(method), ClusteringMethod)
    if clusters and info.classes:
        overrides = {"clusters": info.classes, **overrides}
    settings = settings_for(method, dataset, overrides, pot=pot)
    check_precision(precision)
    if protocol is None:
        protocol = PROTOCOL if clusters else info.protocols[0] if info.protocols else None
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be different numbers, got {list(seeds)}")
    # Mistakes in what comes after training are told before data are read.
    if classifier not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {classifier!r}; choose from {', '.join(CLASSIFIERS)}")
    if clusters and (protocol != PROTOCOL or selection not in SELECTIONS):
        raise ValueError(
            f"{settings.method} is judged by protocol {PROTOCOL!r} with a selection from "
            f"{', '.join(SELECTIONS)}; got {protocol!r} and {selection!r}"
        )
    if not clusters and (selection != "last" or oracle or approximation):
        raise ValueError(
            f"{settings.method} does not cluster; selection, oracle and approximation are for "
            "methods that do"
        )
    official = info.name.startswith("ogbl-")
    if held_out_links is None:
        held_out_links = 0.1 if info.task == "links" and not official else 0.0
    elif held_out_links and official:
        raise ValueError(
            f"{info.name} is tested on its official links: leave out held_out_links="
            f"{held_out_links:g} (graphcl train --hold-out-links)"
        )
    folder = Path(out).expanduser()
    if not all((folder / f"seed-{seed}" / "result.json").exists() for seed in seeds):
        device_places(device, devices)
    config = {
        "dataset": info.name,
        **settings.as_dict(),
        "protocol": protocol,
        "classifier": classifier,
        "held_out_links": held_out_links,
        "precision": precision,
        "seeds": list(seeds),
    }
    if clusters:
        config |= {"selection": selection, "oracle": oracle, "approximation": approximation}
    if labels is not None:
        config["labels_per_class"] = labels
    batching = batching or Batching()
    if batching.loader != "full":
        config["batching"] = batching.as_dict()
    if devices * nodes > 1:
        config["processes"] = devices * nodes
    if (products := torch.get_float32_matmul_precision()) != "highest":
        config["matmul_precision"] = products
    data = load_dataset(dataset, root)
    wanted = method_class(method).takes
    if not isinstance(data, wanted):
        kind = "a heterogeneous" if wanted is HeteroData else "a homogeneous"
        raise ValueError(
            f"{settings.method} takes {kind} graph ({wanted.__name__}), but dataset {info.name!r} "
            f"is {type(data).__name__}"
        )
    bare = False
    if isinstance(data, Data) and data.x is None and info.task == "links":
        bare, data.x = True, identity_features(int(data.num_nodes or 0))
    if isinstance(data, Data) and data.x is None:
        raise ValueError(f"dataset {info.name!r} has no node features; choose one that has")
    if protocol is not None and not clusters:
        known_labels = node_labels(data)
        for seed in seeds:
            for split in named_splits(data, config, seed).values():
                check_probe(known_labels, split, classifier=classifier)
    if held_out_links and not isinstance(data, Data):
        raise ValueError("held-out links are for homogeneous graphs; leave held_out_links at 0")
    for store in data.node_stores:
        if "x" not in store:
            continue
        if settings.training.normalize_features and not bare:
            store.x = normalized_features(store.x)
        store.x = compact_features(store.x)
    first = is_first(devices * nodes)
    with claimed(folder, config) if first else contextlib.nullcontext():
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
                batching=batching,
                devices=devices,
                nodes=nodes,
                timeout_seconds=timeout_seconds,
            )
            for seed in seeds
        ]
        metrics: dict[str, Any] = {}
        if first:
            metrics = _summary(config, results)
            _gather(folder, seeds)
            write_json(folder / "metrics.json", metrics)
    with telling_of_lost_processes(folder):
        metrics = from_first_process(metrics)
    return metrics


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
        earlier: dict[str, Any] = read_json(done)
        return earlier
    # Noted now: the summary may be written from another commit.
    measured_with = environment(options["device"])
    graph, links = training_graph(data, config, seed)
    torch.manual_seed(seed)
    method = settings.build(method_class(settings.method).input_channels(graph))
    trace = _trace(method, graph, config, seed)
    before = node_compactness(method, graph, seed)
    trained = fit(
        method, graph, settings.training, seed=seed, folder=folder, selector=trace, **options
    )
    processes, alive = options["devices"] * options["nodes"], folder / "evaluating"
    if not is_first(processes):
        wait_for_file(done, alive, timeout_seconds=options["timeout_seconds"])
        return {}
    with heartbeat(alive) if processes > 1 else contextlib.nullcontext():
        embeddings = _embeddings(method, trained.graph)
        started = time.perf_counter()
        result: dict[str, Any] = {
            "seed": seed,
            "epochs": len(trained.losses),
            "final_loss": trained.losses[-1],
        }
        values: dict[str, float] = {}
        if trace is not None:
            assert isinstance(method, ClusteringMethod)
            values = {**cluster_values(method, graph, seed), **trace.oracle_scores()}
            trace.write(folder / "clusters.csv")
            result |= {"selection": f"{config['selection']} epoch, without labels"}
        elif config["protocol"] is not None:
            values, how = classify(embeddings, data, config, seed)
            result |= how
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
            "environment": measured_with,
        }
        if trained.prepare_seconds is not None:
            result["seconds"]["prepare"] = trained.prepare_seconds
        arrays = {"embeddings": embeddings.numpy(), "seed": np.array(seed)}
        if isinstance(data, HeteroData) or data.y is not None:
            arrays["labels"] = node_labels(data).numpy()
        write_npz(folder / "embeddings.npz", arrays)
        after = node_compactness(method, graph, seed)
        if after:
            result["compactness"] = write_compactness(folder / "compactness.npz", before, after)
        write_json(done, result)
    return result


def _embeddings(method: Method, graph: Any) -> Tensor:
    """Embeddings (N, D) on the CPU, made there where they do not fit on the device."""
    device = next(method.parameters()).device
    with contextlib.suppress(torch.cuda.OutOfMemoryError):
        return method.embeddings(graph.to(device)).float().cpu()
    torch.cuda.empty_cache()
    return method.cpu().embeddings(graph.to("cpu")).float()


def _trace(method: Method, graph: Any, config: Mapping[str, Any], seed: int) -> ClusterTrace | None:
    """What follows a method that clusters, ``None`` for others."""
    if not isinstance(method, ClusteringMethod):
        return None
    return ClusterTrace(
        graph,
        config["selection"],
        oracle=config["oracle"],
        approximation=config["approximation"],
        seed=seed,
    )


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


def _summary(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(results[0]["metrics"])
    spent = [result["seconds"] for result in results]
    seconds = {
        name: mean(one[name] for one in spent if name in one)
        for name in dict.fromkeys(name for one in spent for name in one)
    }
    probed = config["protocol"] not in (None, PROTOCOL)
    oracle = {"oracle": ORACLE} if config.get("oracle") else {}
    found = [result["compactness"] for result in results if "compactness" in result]
    compactness = {name: spread([one[name] for one in found]) for name in found[0]} if found else {}
    return {
        "dataset": config["dataset"],
        "method": config["method"],
        **({"pot": {**config["pot"], **compactness}} if "pot" in config else {}),
        "protocol": config["protocol"],
        **({"classifier": config["classifier"]} if probed else {}),
        **oracle,
        "seeds": config["seeds"],
        "epochs": [result["epochs"] for result in results],
        "metrics": {
            name: spread([result["metrics"][name] for result in results]) for name in names
        },
        "selection": results[0].get("selection", "none"),
        "seconds": seconds,
        "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        **environments(results),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 for one value) and the values."""
    return {
        "mean": mean(values),
        "std": stdev(values) if len(values) > 1 else 0.0,
        "values": list(values),
    }
