"""Lightning's loop against a plain loop: GRACE, seconds an epoch."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch_geometric.transforms import NormalizeFeatures

from benchmarks.timing import quantiles
from graphcl.data import load_dataset
from graphcl.train.fitting import fit
from graphcl.train.module import step_seed
from graphcl.train.recipes import settings_for


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--dataset", default="cora")
    parser.add_argument("--root", default=None)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time whole trainings in turn; both must end with the same weights."""
    data = NormalizeFeatures()(load_dataset(options.dataset, options.root))
    settings = settings_for("grace", options.dataset, {"epochs": options.epochs})

    def plain() -> tuple[float, torch.Tensor]:
        torch.manual_seed(0)
        method = settings.build(data.num_node_features)
        training = settings.training
        optimizer = torch.optim.Adam(
            method.parameters(), lr=training.lr, weight_decay=training.weight_decay
        )
        start = time.perf_counter()
        for epoch in range(training.epochs):
            torch.manual_seed(step_seed(0, epoch))
            method.train()
            optimizer.zero_grad()
            method(data.x, data.edge_index).backward()
            optimizer.step()
            method.after_step(epoch, training.epochs)
        return time.perf_counter() - start, method.embed(data.x, data.edge_index)

    def lightning() -> tuple[float, torch.Tensor]:
        torch.manual_seed(0)
        method = settings.build(data.num_node_features)
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            fit(method, data, settings.training, folder=Path(folder), progress=True)
            seconds = time.perf_counter() - start
        return seconds, method.embed(data.x, data.edge_index)

    seconds: dict[str, list[float]] = {"plain": [], "lightning": []}
    for turn in range(options.repeats + 1):
        one, other = plain(), lightning()
        if not torch.equal(one[1], other[1]):
            raise AssertionError("the two loops end with different weights")
        if turn:
            seconds["plain"].append(one[0] / options.epochs)
            seconds["lightning"].append(other[0] / options.epochs)
    ratios = [b / a for a, b in zip(seconds["plain"], seconds["lightning"], strict=True)]
    return {
        "dataset": options.dataset,
        "epochs": options.epochs,
        "seconds_per_epoch": {name: quantiles(values) for name, values in seconds.items()},
        "overhead": median(ratios) - 1,
        "overhead_pairs": [ratio - 1 for ratio in ratios],
    }


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    rows = [
        [
            name,
            f"{1000 * values['median']:.1f}",
            f"{1000 * values['p20']:.1f}-{1000 * values['p80']:.1f}",
        ]
        for name, values in result["seconds_per_epoch"].items()
    ]
    rows.append(["overhead (median of pairs)", f"{100 * result['overhead']:.1f} %", ""])
    return [f"GRACE, {result['dataset']}", "ms an epoch", "20-80 %"], rows
