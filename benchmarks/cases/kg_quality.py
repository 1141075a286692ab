"""ComplEx by in-batch contrast within a budget of training time, selected on validation."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.earlier import earlier_rows
from graphcl.train.files import read_json, write_json
from kge.datasets import UnionDataset, load_dataset
from kge.experiment.figures import metrics_of, rank
from kge.experiment.fitting import Fitted, fit
from kge.experiment.settings import Settings, settings_for

INITIAL = 1e-3
"""Standard deviation of the initial embeddings, as in Lacroix et al. (2018)."""


class Entry(NamedTuple):
    """Settings of one graph, chosen on validation; what else was tried is in the README.

    Attributes:
        minutes: that training may take, on two cores.
        aim: test MRR asked for.
        settings: on top of :data:`COMMON`.
        epochs: at most.
    """

    minutes: int
    aim: float
    settings: dict[str, Any]
    epochs: int


COMMON: dict[str, Any] = {
    "create_inverse_triples": True,
    "optimizer": "adagrad",
    "lr": 0.1,
    "patience": 0,  # the epoch that is best on validation counts
}
ENTRIES = {
    "wn18rr": Entry(
        minutes=30,
        aim=0.470,
        settings={
            "embedding_dim": 400,
            "pool": 4096,
            "in_batch": False,
            "row_gradients": True,
            "batch_size": 512,
            "n3": 0.1,
            "frequency": 3,
        },
        epochs=24,
    ),
    "fb15k-237": Entry(
        minutes=45,
        aim=0.335,
        settings={
            "embedding_dim": 200,
            "pool": "all",
            "grouped": True,
            "batch_size": 512,
            "n3": 0.05,
            "relations": 1.0,
            "frequency": 3,
        },
        epochs=24,
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
    rows = {row["dataset"]: row for row in earlier_rows(options.json)}
    for dataset, entry in ENTRIES.items():
        if not options.only or dataset in options.only:
            rows[dataset] = _row(options, dataset, entry)
    return {"rows": [rows[name] for name in ENTRIES if name in rows]}


def _row(options: argparse.Namespace, dataset: str, entry: Entry) -> dict[str, Any]:
    folder = options.out / dataset
    done = folder / "result.json"
    wanted = {**COMMON, **entry.settings, "epochs": entry.epochs}
    if done.exists():
        before: dict[str, Any] = read_json(done)
        if before["settings"] != wanted:
            raise ValueError(f"{folder} holds a training of other settings; give a new --out")
        return before
    settings = settings_for("complex", "inbatch", overrides=wanted)
    initial = partial(torch.nn.init.normal_, std=INITIAL)
    settings.options["model"] |= {
        "regularizer": None,
        "entity_initializer": initial,
        "relation_initializer": initial,
    }
    graph = load_dataset(dataset, options.root, create_inverse_triples=True)
    fitted, processor = _fit(graph, settings, folder, options.seed)
    result = {
        "dataset": dataset,
        "minutes": entry.minutes,
        "aim": entry.aim,
        "settings": wanted,
        "seed": options.seed,
        "metrics": metrics_of(fitted.validation, "validation_")
        | metrics_of(rank(fitted.model, graph, "test", progress=False)),
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
