"""Which negatives train a KG model better: uniform, Bernoulli, LEMON, hard InfoNCE, HaSa."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.cases.kg_negative_cells import false_negative_rate, seconds_to_share
from benchmarks.earlier import earlier_rows
from benchmarks.words import percent
from kge.datasets import UnionDataset, load_dataset
from kge.experiment.running import run_experiment

METRICS = ("mrr", "hits@1", "hits@3", "hits@10")
RATES = (0.01, 0.05)
"""Of Adam; each method gets the one with the best validation MRR of its first seed."""


class Negatives(NamedTuple):
    """A way of choosing negatives; all have the softmax of a positive against its negatives."""

    source: str
    loss: str
    overrides: dict[str, Any]
    beside: int = 0
    """Columns that are no negatives: HaSa's structural candidates."""


LANGUAGE = "lemon-lm"
"""LEMON on texts by the language model of ``--encoder``; measured where it is named."""
METHODS = {
    "uniform": Negatives("uniform", "crossentropy", {}),
    "bernoulli": Negatives("bernoulli", "crossentropy", {}),
    # Texts by TF-IDF and latent semantic analysis: no language model is needed.
    "lemon": Negatives("lemon", "crossentropy", {}),
    LANGUAGE: Negatives("lemon", "crossentropy", {}),
    # Half of the negatives mined by the model, all weighed by hardness; nothing corrected.
    "hard": Negatives(
        "hasa", "hasa", {"hard_share": 0.5, "negatives.num_structural": 0, "tau_plus": 0.0}
    ),
    "hasa": Negatives("hasa", "hasa", {"hard_share": 0.5, "negatives.num_structural": 4}, 4),
}


class Regime(NamedTuple):
    """How much is trained, the same for all methods."""

    negatives: int
    batch: int
    dim: int
    epochs: int
    validations: int
    """How many times validation is looked at."""


REGIMES: dict[str, dict[str, Regime]] = {
    "umls": {
        "usual": Regime(32, 256, 32, 40, 10),
        "few": Regime(4, 256, 32, 60, 10),
        "small": Regime(8, 32, 32, 20, 10),
    },
    "codex-s": {
        "usual": Regime(32, 512, 32, 15, 5),
        "few": Regime(4, 512, 32, 20, 5),
    },
    "wn18rr": {"usual": Regime(32, 1024, 32, 8, 4)},
    "fb15k-237": {"usual": Regime(32, 1024, 32, 4, 2)},
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--root", default=None, help="raw data, default $GRAPHCL_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/kg_negatives"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["complex", "transe"])
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=[name for name in METHODS if name != LANGUAGE],
    )
    parser.add_argument(
        "--encoder", default=None, help=f"sentence transformer of {LANGUAGE}: a folder or hub name"
    )
    parser.add_argument(
        "--regimes",
        nargs="+",
        choices=dict.fromkeys(name for regimes in REGIMES.values() for name in regimes),
        default=["usual"],
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=list(RATES), help="learning rates to choose from"
    )
    parser.add_argument(
        "--only",
        nargs="*",
        choices=REGIMES,
        default=None,
        help="datasets; other rows stay as they are in the file of --json",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train what has not been trained under ``--out`` and collect the run files."""
    if LANGUAGE in options.methods and not options.encoder:
        raise ValueError(f"{LANGUAGE} reads texts: give the language model as --encoder FOLDER")
    for dataset in options.only or ():
        if not REGIMES[dataset].keys() & set(options.regimes):
            raise ValueError(
                f"{dataset} has no regime {' or '.join(options.regimes)}; choose from "
                f"{', '.join(REGIMES[dataset])}"
            )
    rows = {_key(row): row for row in earlier_rows(options.json)}
    for dataset, regimes in REGIMES.items():
        if options.only and dataset not in options.only:
            continue
        graph = load_dataset(dataset, options.root)
        for name, regime in regimes.items():
            for model in options.models if name in options.regimes else ():
                for method in options.methods:
                    row = _row(options, graph, dataset, (name, regime), model, method)
                    rows[_key(row)] = row
    return {"rows": sorted(rows.values(), key=_order)}


def _row(
    options: argparse.Namespace,
    graph: UnionDataset,
    dataset: str,
    regime: tuple[str, Regime],
    model: str,
    method: str,
) -> dict[str, Any]:
    """One line of the table: a learning rate by validation, then all seeds with it."""
    cell = options.out / f"{dataset}-{regime[0]}-{model}-{method}"
    first = {
        rate: _train(options, dataset, regime[1], model, method, rate, [0], cell / f"lr-{rate:g}")
        for rate in options.rates
    }
    rate = max(first, key=lambda one: first[one]["metrics"]["validation_mrr"]["mean"])
    folder = cell / f"lr-{rate:g}"
    seeds = list(range(options.seeds))
    found = _train(options, dataset, regime[1], model, method, rate, seeds, folder)
    rates = [false_negative_rate(folder, graph, seed) for seed in seeds]
    return {
        "dataset": dataset,
        "regime": regime[0],
        **regime[1]._asdict(),
        "model": model,
        "method": method,
        "lr": rate,
        "validation_mrr_by_lr": {
            f"{one:g}": result["metrics"]["validation_mrr"]["mean"] for one, result in first.items()
        },
        "seeds": seeds,
        "best_epochs": found["best_epochs"],
        "metrics": {name: found["metrics"][name] for name in ("validation_mrr", *METRICS)},
        "false_negative_rate": [rate.share for rate in rates],
        "false_negative_rate_uniform": [rate.uniform for rate in rates],
        "seconds_to_95": [seconds_to_share(folder, seed, 0.95) for seed in seeds],
        "seconds": found["seconds"],
        "protocol": found["protocol"],
        **{name: found[name] for name in ("environment", "environments") if name in found},
    }


def _train(
    options: argparse.Namespace,
    dataset: str,
    regime: Regime,
    model: str,
    method: str,
    rate: float,
    seeds: Sequence[int],
    folder: Path,
) -> dict[str, Any]:
    negatives = METHODS[method]
    overrides: Mapping[str, Any] = {
        "embedding_dim": regime.dim,
        "batch_size": regime.batch,
        "num_negs_per_pos": regime.negatives + negatives.beside,
        "lr": rate,
        "frequency": max(1, regime.epochs // regime.validations),
        "patience": 0,  # equal steps for all
        **negatives.overrides,
        **({"encoder": options.encoder} if method == LANGUAGE else {}),
    }
    return run_experiment(
        dataset,
        model,
        negatives.source,
        folder,
        loss=negatives.loss,
        root=options.root,
        epochs=regime.epochs,
        seeds=seeds,
        overrides=overrides,
        device="cpu",
        progress=False,
    )


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["dataset"], row["regime"], row["model"], row["method"]


def _order(row: Mapping[str, Any]) -> tuple[int, int, str, int]:
    regimes = list(REGIMES[row["dataset"]])
    return (
        list(REGIMES).index(row["dataset"]),
        regimes.index(row["regime"]),
        row["model"],
        list(METHODS).index(row["method"]),
    )


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "graph, regime",
        "negatives, batch, d, epochs",
        "model",
        "negatives are",
        "lr",
        "MRR %",
        "Hits@1 %",
        "Hits@3 %",
        "Hits@10 %",
        "false negatives % (uniform)",
        "s to 95 % of MRR",
    ]
    rows = []
    for row in result["rows"]:
        false, uniform = (
            100 * mean(row[name]) for name in ("false_negative_rate", "false_negative_rate_uniform")
        )
        reached = [one for one in row["seconds_to_95"] if one is not None]
        rows.append(
            [
                f"{row['dataset']}, {row['regime']}",
                f"{row['negatives']}, {row['batch']}, {row['dim']}, {row['epochs']}",
                row["model"],
                row["method"],
                f"{row['lr']:g}",
                *(percent(row["metrics"][name], 1) for name in METRICS),
                f"{false:.2f} ({uniform:.2f})",
                f"{mean(reached):.0f}" if reached else "-",
            ]
        )
    return header, rows
