"""An experiment: one model with one kind of negatives over several seeds, in a run directory.

Started again, it skips the seeds that are done and continues the one that was interrupted.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from kge.datasets import UnionDataset
from kge.experiment.choices import choose
from kge.experiment.environment import device_of, environment, environments, peak_memory
from kge.experiment.figures import (
    PROTOCOLS,
    Split,
    metrics_of,
    ogb_figures,
    ogb_protocol,
    rank,
    relation_rows,
)
from kge.experiment.files import read_json, write_csv, write_json
from kge.experiment.fitting import (
    Fitted,
    fit,
    load_model,
    named_files,
    save_model,
    texts_digest,
    with_whole_paths,
)
from kge.experiment.graph import describe_graph, graph_of_run, open_graph
from kge.experiment.run_directory import (
    CURVES,
    RELATIONS,
    claimed,
    finished_run,
    gather,
    seed_folder,
    spread,
)
from kge.experiment.settings import Settings, settings_for

_SPLITS: tuple[tuple[Split, str], ...] = (("validation", "validation_"), ("test", ""))


def run_experiment(
    dataset: str | Path,
    model: str,
    negatives: str,
    out: str | os.PathLike[str],
    *,
    loss: str | None = None,
    root: str | Path | None = None,
    epochs: int | None = None,
    seeds: Sequence[int] = (0,),
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: bool = True,
    checkpoint_seconds: float = 10.0,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train and evaluate, and return what ``metrics.json`` holds.

    The epoch is chosen on validation; the test triples are ranked once, at the end of each seed.

    Args:
        dataset: name or directory, see :func:`kge.datasets.load_dataset`.
        model: PyKEEN's name.
        negatives: ``uniform``, ``bernoulli``, ``hasa``, ``lemon`` or ``inbatch``.
        out: the run directory.
        loss: PyKEEN's name.
        root: data root.
        epochs: at most, see :func:`kge.experiment.settings.settings_for`.
        seeds: one run each.
        overrides: settings by key, likewise.
        device: see :func:`kge.experiment.environment.device_of`.
        progress: show progress bars.
        checkpoint_seconds: least time between two checkpoints.
        tell: called with what was found about the graph, before training.

    Raises:
        FileNotFoundError: no such graph.
        ValueError: unknown names or settings, or a run directory of another experiment.
    """
    settings = with_whole_paths(
        settings_for(model, negatives, loss=loss, epochs=epochs, overrides=overrides)
    )
    target = device_of(device)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be different numbers, got {list(seeds)}")
    graph = open_graph(dataset, root, settings.options["dataset"])
    found = describe_graph(graph)
    for line in (found["convention"], *found["remarks"]):
        if tell is not None:
            tell(line)
    # By name where it was found by name, so that the files may move with the root.
    folder, named = Path(out).expanduser(), Path(dataset).expanduser() != graph.folder
    config = {
        "dataset": str(dataset) if named else str(graph.folder.resolve()),
        **settings.as_dict(),
        # What is remarked may differ with a copy of the files that has no texts; those that are
        # trained on have a digest of their own.
        "graph": {name: value for name, value in found.items() if name != "remarks"},
        "texts": texts_digest(settings, graph),
        "seeds": list(seeds),
    }
    if (products := torch.get_float32_matmul_precision()) != "highest":
        config["matmul_precision"] = products
    with claimed(folder, config):
        results = [
            _one_seed(
                graph,
                settings,
                seed,
                seed_folder(folder, seed),
                device=target,
                progress=progress,
                checkpoint_seconds=checkpoint_seconds,
            )
            for seed in seeds
        ]
        metrics = {
            "dataset": graph.metadata["name"] if graph.metadata else str(dataset),
            "model": settings.model,
            "negatives": settings.negatives,
            "loss": settings.loss,
            "method": f"{settings.model}, {settings.negatives}",
            "protocol": results[0]["protocol"],
            "graph": found,
            "seeds": list(seeds),
            "epochs": [result["epochs"] for result in results],
            "best_epochs": [result["best_epoch"] for result in results],
            "metrics": _spread([result["metrics"] for result in results]),
            "selection": "validation",
            "seconds": {
                name: mean(result["seconds"][name] for result in results)
                for name in ("train", "epoch", "evaluate")
            },
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
            **environments(results),
        }
        gather(folder, seeds)
        write_json(folder / "metrics.json", metrics)
    return metrics


def evaluate_run(
    run: str | os.PathLike[str],
    *,
    root: str | Path | None = None,
    protocol: str = "filtered",
    candidates: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Rank validation and test again with the stored models; write ``metrics-<protocol>.json``.

    Args:
        run: a run directory.
        root: data root, where it is not that of the environment.
        protocol: ``filtered``, ``unfiltered`` or ``ogb`` (OGB's own candidates, or random ones, see
            :func:`kge.experiment.figures.ogb_figures`).
        candidates: for ``ogb``, to draw so many per triple and side.
        device: see :func:`kge.experiment.environment.device_of`.
        progress: show progress bars.

    Raises:
        ValueError: not a finished run, an unknown protocol, or the graph has changed.
    """
    folder, config, before = finished_run(run)
    choose("protocol", protocol, PROTOCOLS)
    target = device_of(device)
    settings, graph = what_was_trained(config, root)
    started = time.perf_counter()
    values, stated = [], ""
    for seed in before["seeds"]:
        model = load_model(seed_folder(folder, seed) / "model.pt", graph, settings, target)
        one: dict[str, float] = {}
        for split, prefix in _SPLITS:
            if protocol == "ogb":
                found = ogb_figures(
                    model, graph, split, candidates=candidates, seed=seed, progress=progress
                )
                one |= {f"{prefix}{name}": value for name, value in found.items()}
                stated = ogb_protocol(graph, candidates)
            else:
                report = rank(
                    model, graph, split, filtered=protocol == "filtered", progress=progress
                )
                one |= metrics_of(report, prefix)
                stated = str(report.protocol)
        values.append(one)
    metrics = {
        **{name: before[name] for name in ("dataset", "model", "negatives", "loss", "method")},
        "protocol": stated,
        "graph": describe_graph(graph),
        "seeds": before["seeds"],
        "metrics": _spread(values),
        "selection": before["selection"],
        "seconds": {"evaluate": (time.perf_counter() - started) / len(values)},
        "environment": environment(target),
    }
    try:
        write_json(folder / f"metrics-{protocol}.json", metrics)
    except OSError as error:  # what took so long is still told
        warnings.warn(f"the figures are not kept: {error}", stacklevel=2)
    return metrics


def what_was_trained(
    config: Mapping[str, Any], root: str | Path | None = None
) -> tuple[Settings, UnionDataset]:
    """Settings and graph of a run, from its ``config.json``.

    Raises:
        FileNotFoundError: the graph, or a file that the settings name, is not there any more.
        ValueError: its triples, or texts that the run has read, have changed since.
    """
    settings, graph = settings_of_run(config), graph_of_run(config, root)
    files = list(named_files(settings).values())
    for file in files:
        if not file.exists():
            raise FileNotFoundError(f"{file}, which the run has read, is not there any more")
    if "texts" in config and texts_digest(settings, graph) != config["texts"]:
        places = ", ".join(str(place) for place in [*files, graph.folder])
        raise ValueError(
            f"texts or vectors in {places} are not those that the run has read; put the old files "
            "back, or give their root"
        )
    return settings, graph


def settings_of_run(config: Mapping[str, Any]) -> Settings:
    """The settings that ``config.json`` holds."""
    return Settings(**{name: config[name] for name in Settings.__dataclass_fields__})


def _one_seed(
    graph: UnionDataset, settings: Settings, seed: int, folder: Path, **options: Any
) -> dict[str, Any]:
    done = folder / "result.json"
    if done.exists():
        before: dict[str, Any] = read_json(done)
        return before
    device: torch.device = options["device"]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Noted now: the summary may be written from another commit.
    measured_with = environment(device)
    fitted = fit(graph, settings, folder, seed=seed, **options)
    started = time.perf_counter()
    report = rank(fitted.model, graph, "test", progress=options["progress"])
    seconds = time.perf_counter() - started
    save_model(folder / "model.pt", fitted.model)
    write_csv(folder / "curves.csv", CURVES, _curve(fitted))
    write_csv(folder / "relations.csv", RELATIONS, relation_rows(report, graph))
    result = {
        "seed": seed,
        "epochs": len(fitted.losses),
        "best_epoch": fitted.best_epoch,
        "stopped_early": fitted.stopped,
        "final_loss": fitted.losses[-1],
        "metrics": {**metrics_of(report), **metrics_of(fitted.validation, "validation_")},
        "protocol": str(report.protocol) + _part_of_validation(settings, graph),
        "seconds": {
            "train": sum(fitted.seconds),
            "epoch": median(fitted.seconds),
            "evaluate": seconds,
        },
        "peak_memory_bytes": peak_memory(device),
        "environment": measured_with,
    }
    write_json(done, result)
    (folder / "best.pt").unlink(missing_ok=True)  # model.pt has the same weights
    return result


def _part_of_validation(settings: Settings, graph: UnionDataset) -> str:
    """What is to be said where the figures of validation are of a part."""
    part = settings.options["stopping"].get("validation_triples", 0)
    assert graph.validation is not None
    count = graph.validation.num_triples
    return f"; validation: {part} of {count} triples" if 0 < part < count else ""


def _curve(fitted: Fitted) -> list[list[Any]]:
    return [
        [epoch, loss, fitted.validated.get(epoch, ""), seconds]
        for epoch, (loss, seconds) in enumerate(
            zip(fitted.losses, fitted.seconds, strict=True), start=1
        )
    ]


def _spread(values: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {name: spread([one[name] for one in values]) for name in values[0]}
