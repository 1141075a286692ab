"""Hosts at POT's settings with and without provable training: same seeds, views and splits."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from benchmarks.earlier import earlier_rows
from benchmarks.words import percent
from graphcl.train.environment import environments
from graphcl.train.experiment import run_experiment


class Entry(NamedTuple):
    """A host on a graph, with the epochs that two cores can pay where the recipe asks for more."""

    method: str
    dataset: str
    overrides: dict[str, Any]

    @property
    def name(self) -> str:
        """As in ``--only``."""
        return f"{self.dataset}-{self.method}"


ENTRIES = [
    Entry("grace", "cora", {}),
    Entry("gca", "cora", {"epochs": 200}),
    Entry("grace", "citeseer", {}),
    Entry("gca", "citeseer", {"epochs": 200}),
    Entry("grace", "amazon-photo", {"epochs": 300}),
    Entry("gca", "amazon-photo", {"epochs": 300}),
]
KAPPAS = (0.2, 0.4)
"""Weights of POT; each pair gets the one with the best validation accuracy of its first seed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--root", default=None, help="raw data, default $GRAPHCL_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/pot"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kappas", type=float, nargs="+", default=list(KAPPAS))
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[entry.name for entry in ENTRIES],
        default=None,
        help="other rows stay as they are in the file of --json",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train what has not been trained under ``--out`` and compare the run files."""
    rows = {f"{row['dataset']}-{row['method']}": row for row in earlier_rows(options.json)}
    for entry in ENTRIES:
        if not options.only or entry.name in options.only:
            rows[entry.name] = _row(options, entry)
    return {"rows": [rows[entry.name] for entry in ENTRIES if entry.name in rows]}


def _row(options: argparse.Namespace, entry: Entry) -> dict[str, Any]:
    folder = options.out / entry.name
    first = {
        kappa: _train(options, entry, kappa, [0], folder)["metrics"] for kappa in options.kappas
    }
    validation = {kappa: one["validation_accuracy"]["mean"] for kappa, one in first.items()}
    kappa = max(validation, key=lambda one: validation[one])
    seeds = list(range(options.seeds))
    # Without weight on POT the host sees the same views: budgeted, and with whole features.
    host, pot = (_train(options, entry, one, seeds, folder) for one in (0.0, kappa))
    pairs = zip(*(one["metrics"]["accuracy"]["values"] for one in (host, pot)), strict=True)
    gains = [after - before for before, after in pairs]
    return {
        "dataset": entry.dataset,
        "method": entry.method,
        "overrides": entry.overrides,
        "seeds": seeds,
        "kappa": kappa,
        "validation_accuracy_by_kappa": {f"{one:g}": value for one, value in validation.items()},
        "host": _figures(host),
        "pot": _figures(pot),
        "gain": {
            "mean": mean(gains),
            "standard_error": stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None,
            "values": gains,
        },
        **environments([host, pot]),
    }


def _train(
    options: argparse.Namespace, entry: Entry, kappa: float, seeds: list[int], folder: Path
) -> dict[str, Any]:
    return run_experiment(
        entry.dataset,
        entry.method,
        folder / f"kappa-{kappa:g}",
        root=options.root,
        seeds=seeds,
        protocol="random10",
        overrides={**entry.overrides, "kappa": kappa},
        pot="pairwise",
        device="cpu",
        progress=False,
    )


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "epochs": found["epochs"],
        "metrics": {
            name: found["metrics"][name] for name in ("accuracy", "macro_f1", "validation_accuracy")
        },
        "seconds": found["seconds"],
        "peak_memory_bytes": found["peak_memory_bytes"],
    }


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "host, random10",
        "dataset",
        "epochs",
        "seeds",
        "host at POT's settings %",
        "with POT (pairwise) %",
        "kappa",
        "gain, ± standard error of the pairs",
        "s an epoch, host and POT",
    ]
    rows = []
    for row in result["rows"]:
        gain, error = row["gain"]["mean"], row["gain"]["standard_error"]
        rows.append(
            [
                row["method"],
                row["dataset"],
                str(max(row["pot"]["epochs"])),
                str(len(row["seeds"])),
                *(percent(row[side]["metrics"]["accuracy"]) for side in ("host", "pot")),
                f"{row['kappa']:g}",
                f"{100 * gain:+.2f}" + (f" ± {100 * error:.2f}" if error is not None else ""),
                ", ".join(f"{row[side]['seconds']['epoch']:.2f}" for side in ("host", "pot")),
            ]
        )
    return header, rows
