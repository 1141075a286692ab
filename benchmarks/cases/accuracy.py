"""Linear probes at the papers' settings beside the published figures, selected on validation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from graphcl.train.experiment import run_experiment
from graphcl.train.files import read_json


class Entry(NamedTuple):
    """One line of the table: what is run, and what was published under which protocol."""

    dataset: str
    method: str
    protocol: str
    seeds: int
    overrides: dict[str, Any]
    """What differs from the paper's settings, where two cores cannot pay them."""
    published: str


ENTRIES = [
    Entry("cora", "grace", "random10", 5, {}, "83.3 ± .4 (random 10 % train)"),
    Entry("citeseer", "grace", "random10", 5, {}, "72.1 ± .5 (random 10 % train)"),
    Entry("cora", "dgi", "public", 5, {}, "82.3 ± .6 (public)"),
    Entry(
        "amazon-photo",
        "gca",
        "random10",
        3,
        # At the released learning rate of 0.1 a run may collapse in its first steps.
        {"epochs": 1000, "lr": 0.01},
        "92.49 ± .09 (random10, lr 0.1, 2000 epochs)",
    ),
    Entry(
        "amazon-photo",
        "bgrl",
        "bgrl20",
        3,
        {"epochs": 300},
        "93.17 ± .30 (bgrl20, 10000 epochs)",
    ),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--root", default=None, help="raw data, default $GRAPHCL_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument(
        "--only",
        nargs="*",
        default=None,
        help="such as cora-grace; other rows stay as they are in the file of --json",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train what has not been trained under ``--out`` and collect the run files."""
    rows = []
    before = read_json(options.json)["rows"] if options.json and options.json.exists() else []
    measured = {f"{row['dataset']}-{row['method']}": row for row in before}
    for entry in ENTRIES:
        name = f"{entry.dataset}-{entry.method}"
        if options.only and name not in options.only:
            if name in measured:
                rows.append(measured[name])
            continue
        metrics = run_experiment(
            entry.dataset,
            entry.method,
            options.out / name,
            root=options.root,
            seeds=range(entry.seeds),
            protocol=entry.protocol,
            overrides=entry.overrides,
        )
        rows.append({**metrics, "overrides": entry.overrides, "published": entry.published})
    return {"rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "method",
        "dataset",
        "protocol",
        "differs from the paper",
        "epochs",
        "seeds",
        "accuracy %",
        "published % (its protocol)",
    ]
    rows = []
    for row in result["rows"]:
        accuracy = row["metrics"]["accuracy"]
        epochs = sorted(set(row["epochs"]))
        rows.append(
            [
                row["method"],
                row["dataset"],
                row["protocol"],
                ", ".join(f"{k}={v}" for k, v in row["overrides"].items()) or "-",
                str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]}-{epochs[-1]}",
                str(len(row["seeds"])),
                f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f}",
                row["published"],
            ]
        )
    return header, rows
