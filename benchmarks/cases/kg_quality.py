"""Models by in-batch contrast within a budget of training time, selected on validation."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.earlier import earlier_rows
from graphcl.data.files import read_json, replacing, write_json
from graphcl.train.environment import environment
from kge.datasets import UnionDataset, load_dataset
from kge.experiment.figures import metrics_of, rank
from kge.experiment.fitting import Fitted, fit
from kge.experiment.settings import Settings, settings_for
from kge.text.language_model import load_language_model
from kge.text.sentences import sentences
from kge.text.tokens import token_pieces

INITIAL = 1e-3
"""Standard deviation of the initial embeddings, as in Lacroix et al. (2018)."""
VECTORS = "vectors.npy"
"""Of entities, by the language model of ``--encoder``; computed once under ``--out``."""
TOKENS = 40
"""Of each text, for the language model."""


class Entry(NamedTuple):
    """Settings of one graph, chosen on validation; what else was tried is in the README.

    Attributes:
        dataset: the graph.
        model: as PyKEEN names it.
        minutes: that training may take, on two cores.
        aim: test MRR asked for, if any.
        settings: on top of :data:`COMMON`.
        epochs: at most.
    """

    dataset: str
    model: str
    minutes: int
    aim: float | None
    settings: dict[str, Any]
    epochs: int


COMMON: dict[str, Any] = {
    "create_inverse_triples": True,
    "patience": 0,  # the epoch that is best on validation counts
}
COMPLEX: dict[str, Any] = {
    "optimizer": "adagrad",
    "lr": 0.1,
    "pool": "all",
    "in_batch": False,
    "exclude_known": False,
    "row_gradients": False,
    "batch_size": 256,
}
TEXT = Entry(
    dataset="wn18rr",
    model="hasatext",
    minutes=30,
    aim=None,
    settings={
        "encoder": VECTORS,
        "lr": 1e-3,
        "dim": 384,
        "margin": 1.0,
        "pool": 2048,
        "batch_size": 512,
        "paired": True,
        "frequency": 2,
    },
    epochs=12,
)
"""HaSa's text model on vectors that do not learn: its projection and query head are trained."""
ENTRIES = {
    "wn18rr": Entry(
        dataset="wn18rr",
        model="complex",
        minutes=30,
        aim=0.470,
        settings={
            **COMPLEX,
            "embedding_dim": 200,
            "pool": 4096,
            "all_after": 8,
            "row_gradients": True,
            "dura": 0.1,
            "frequency": 2,
        },
        epochs=14,
    ),
    "fb15k-237": Entry(
        dataset="fb15k-237",
        model="complex",
        minutes=45,
        aim=0.335,
        settings={**COMPLEX, "embedding_dim": 100, "n3": 0.05, "frequency": 2},
        epochs=14,
    ),
    "wn18rr-text": TEXT,
    "wn18rr-text-self": TEXT._replace(settings={**TEXT.settings, "self_negatives": True}),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--root", default=None, help="raw data, default $GRAPHCL_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/kg_quality"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--encoder",
        default=None,
        help="folder or hub name of a sentence transformer for models of texts, which are left "
        "out without it",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=ENTRIES,
        default=None,
        help="entries; other rows stay as they are in the file of --json",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train what has not been trained under ``--out``; an interrupted training goes on."""
    torch.set_num_threads(options.threads)
    rows = {row["entry"]: row for row in earlier_rows(options.json)}
    for name, entry in ENTRIES.items():
        reads = "encoder" in entry.settings
        if name in (options.only or ENTRIES) and (options.encoder or not reads):
            rows[name] = _row(options, name, entry)  # the last seed asked for
        elif name in (options.only or ()):
            raise ValueError(f"{name} reads texts: give the language model as --encoder FOLDER")
    return {"rows": [rows[name] for name in ENTRIES if name in rows]}


def _row(options: argparse.Namespace, name: str, entry: Entry) -> dict[str, Any]:
    folder = options.out / name / f"seed-{options.seed}"
    if "encoder" in entry.settings:
        folder = folder / Path(options.encoder).name
    done = folder / "result.json"
    wanted = {**COMMON, **entry.settings, "epochs": entry.epochs}
    if done.exists():
        before: dict[str, Any] = read_json(done)
        if before["settings"] != wanted:
            raise ValueError(f"{folder} holds a training of other settings; give a new --out")
        return before
    graph = load_dataset(entry.dataset, options.root, create_inverse_triples=True)
    settings = settings_for(entry.model, "inbatch", overrides=wanted)
    if "encoder" in wanted:
        vectors = options.out / f"{entry.dataset}-{Path(options.encoder).name}-{VECTORS}"
        settings.options["model"]["encoder"] = _encoded(graph, options.encoder, vectors)
    else:
        initial = partial(torch.nn.init.normal_, std=INITIAL)
        settings.options["model"] |= {
            "regularizer": None,
            "entity_initializer": initial,
            "relation_initializer": initial,
        }
    fitted, processor = _fit(graph, settings, folder, options.seed)
    result = {
        "entry": name,
        "dataset": entry.dataset,
        "model": entry.model,
        "minutes": entry.minutes,
        "aim": entry.aim,
        "settings": wanted,
        **({"encoder": Path(options.encoder).name} if "encoder" in wanted else {}),
        "seed": options.seed,
        "metrics": metrics_of(fitted.validation, "validation_")
        | metrics_of(rank(fitted.model, graph, "test", progress=False)),
        "validated": {str(epoch): value for epoch, value in fitted.validated.items()},
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.losses),
        "seconds": {"train": sum(fitted.seconds), "processor": processor},
        "threads": options.threads,
        "environment": environment(),
    }
    write_json(done, result)
    return result


def _encoded(graph: UnionDataset, encoder: str, path: Path) -> Path:
    """Where the vectors of the entities' texts are."""
    if not path.exists():
        model = load_language_model(encoder, "mean")
        texts = sentences(graph.entity_names, graph.entity_descriptions)
        vectors = model.vectors(token_pieces(model.tokenizer, texts, TOKENS), unit=True)
        with replacing(path) as file:
            np.save(file, vectors.numpy())
    return path


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
        "model",
        "graph",
        "settings",
        "seed",
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
                row["model"],
                row["dataset"],
                ", ".join(f"{name}={value}" for name, value in row["settings"].items()),
                str(row["seed"]),
                f"{row['epochs']}, {row['best_epoch']}",
                f"{spent['train'] / 60:.0f} ({row['minutes']})",
                f"{spent['processor'] / 60:.0f}" if spent["processor"] else "-",
                f"{metrics['validation_mrr']:.3f}",
                f"{metrics['mrr']:.3f}" + (f" ({row['aim']:.3f})" if row["aim"] else ""),
                *(f"{metrics[name]:.3f}" for name in ("hits@1", "hits@3", "hits@10")),
            ]
        )
    return header, rows
