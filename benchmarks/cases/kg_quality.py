"""ComplEx by in-batch contrast within a budget of training time, selected on validation."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from graphcl.train.files import read_json, write_json
from kge.datasets import UnionDataset, load_dataset
from kge.experiment.figures import metrics_of, rank
from kge.experiment.fitting import Fitted, fit
from kge.experiment.settings import Settings, settings_for

INITIAL = 1e-3
"""Standard deviation of the initial embeddings, as in Lacroix et al. (2018)."""


class Entry(NamedTuple):
    """Settings of one graph.

    Attributes:
        minutes: that training may take, on two cores.
        aim: test MRR asked for.
        trials: settings to choose from by validation MRR.
        trial: further settings while choosing.
        trial_epochs: of each trial.
        final: further settings of the training that counts.
        epochs: of that, at most.
    """

    minutes: int
    aim: float
    trials: list[dict[str, Any]]
    trial: dict[str, Any]
    trial_epochs: int
    final: dict[str, Any]
    epochs: int


COMMON: dict[str, Any] = {
    "optimizer": "adagrad",
    "lr": 0.1,
    "row_gradients": True,
    "unbiased": True,
    "patience": 4,
}
ENTRIES = {
    "wn18rr": Entry(
        minutes=30,
        aim=0.470,
        trials=[{"create_inverse_triples": True, "n3": n3} for n3 in (0.05, 0.1, 0.2)],
        trial={"embedding_dim": 200, "pool": 1024, "batch_size": 512, "frequency": 5},
        trial_epochs=20,
        # The exact softmax costs fifteen times as much an epoch.
        final={
            "embedding_dim": 200,
            "pool": 1024,
            "batch_size": 512,
            "all_after": 30,
            "frequency": 3,
        },
        epochs=39,
    ),
    "fb15k-237": Entry(
        minutes=45,
        aim=0.335,
        trials=[
            {"create_inverse_triples": True, "n3": n3, "relations": weight}
            for n3, weight in ((0.05, 0.0), (0.05, 1.0), (0.1, 1.0))
        ],
        trial={"embedding_dim": 200, "pool": 1024, "batch_size": 1024, "frequency": 4},
        trial_epochs=8,
        final={
            "embedding_dim": 200,
            "pool": 1024,
            "batch_size": 1024,
            "all_after": 30,
            "frequency": 4,
        },
        epochs=40,
    ),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--root", default=None, help="raw data, default $GRAPHCL_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/kg_quality"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=ENTRIES,
        default=None,
        help="datasets; other rows stay as they are in the file of --json",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train what has not been trained under ``--out``; an interrupted training goes on."""
    torch.set_num_threads(options.threads)
    before = read_json(options.json)["rows"] if options.json and options.json.exists() else []
    rows = {row["dataset"]: row for row in before}
    for dataset, entry in ENTRIES.items():
        if not options.only or dataset in options.only:
            rows[dataset] = _row(options, dataset, entry)
    return {"rows": [rows[name] for name in ENTRIES if name in rows]}


def _row(options: argparse.Namespace, dataset: str, entry: Entry) -> dict[str, Any]:
    trials = []
    for number, chosen in enumerate(entry.trials):
        folder = options.out / f"{dataset}-trial-{number}"
        overrides = {**entry.trial, **chosen}
        trials.append(
            {**chosen, **_trained(options, dataset, overrides, entry.trial_epochs, folder)}
        )
    best = max(range(len(trials)), key=lambda one: trials[one]["metrics"]["validation_mrr"])
    overrides = {**entry.final, **entry.trials[best]}
    folder = options.out / dataset
    found = _trained(options, dataset, overrides, entry.epochs, folder, test=True)
    return {
        "dataset": dataset,
        "minutes": entry.minutes,
        "aim": entry.aim,
        "settings": {**COMMON, **overrides, "epochs": entry.epochs},
        "seed": options.seed,
        "trials": trials,
        **found,
    }


def _trained(
    options: argparse.Namespace,
    dataset: str,
    overrides: dict[str, Any],
    epochs: int,
    folder: Path,
    *,
    test: bool = False,
) -> dict[str, Any]:
    """Figures of one training; those of test triples only where they are asked for."""
    done = folder / "result.json"
    if done.exists():
        before: dict[str, Any] = read_json(done)
        return before
    settings = settings_for("complex", "inbatch", epochs=epochs, overrides={**COMMON, **overrides})
    initial = partial(torch.nn.init.normal_, std=INITIAL)
    settings.options["model"] |= {
        "regularizer": None,
        "entity_initializer": initial,
        "relation_initializer": initial,
    }
    inverse = overrides["create_inverse_triples"]
    graph = load_dataset(dataset, options.root, create_inverse_triples=inverse)
    fitted, processor = _fit(graph, settings, folder, options.seed)
    metrics = metrics_of(fitted.validation, "validation_")
    if test:
        metrics |= metrics_of(rank(fitted.model, graph, "test", progress=False))
    result = {
        "metrics": metrics,
        "validated": {str(epoch): value for epoch, value in fitted.validated.items()},
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.losses),
        "seconds": {"train": sum(fitted.seconds), "processor": processor},
        "threads": options.threads,
    }
    write_json(done, result)
    return result


def _fit(
    graph: UnionDataset, settings: Settings, folder: Path, seed: int
) -> tuple[Fitted, float | None]:
    """The trained model, and seconds of processor with validation, if it was trained in one go."""
    started = time.process_time()
    fitted = fit(graph, settings, folder, seed=seed, progress=False, checkpoint_seconds=60.0)
    spent = time.process_time() - started
    return fitted, None if fitted.continued_from else spent


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "ComplEx on",
        "settings",
        "epochs, best",
        "minutes of training (allowed)",
        "processor minutes, with validation",
        "validation MRR",
        "test MRR (aim)",
        "Hits@1",
        "Hits@3",
        "Hits@10",
    ]
    rows = []
    for row in result["rows"]:
        spent, metrics = row["seconds"], row["metrics"]
        rows.append(
            [
                row["dataset"],
                ", ".join(f"{name}={value}" for name, value in row["settings"].items()),
                f"{row['epochs']}, {row['best_epoch']}",
                f"{spent['train'] / 60:.0f} ({row['minutes']})",
                f"{spent['processor'] / 60:.0f}" if spent["processor"] else "-",
                f"{metrics['validation_mrr']:.3f}",
                f"{metrics['mrr']:.3f} ({row['aim']:.3f})",
                *(f"{metrics[name]:.3f}" for name in ("hits@1", "hits@3", "hits@10")),
            ]
        )
    return header, rows
