"""Metrics as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show_metrics(console: Console, metrics: Mapping[str, Any]) -> None:
    """Print the content of a ``metrics.json``."""
    seeds = metrics["seeds"]
    title = f"{metrics['method']} on {metrics['dataset']}"
    pot = metrics.get("pot")
    if pot:
        title = f"{metrics['method']} with POT ({pot['score']}) on {metrics['dataset']}"
    if metrics.get("protocol"):
        title += f", protocol {metrics['protocol']}"
    if metrics.get("classifier", "logistic") != "logistic":
        title += f", probe {metrics['classifier']}"
    caption = (
        f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}, selected by {metrics['selection']}"
    )
    table = Table("metric", "mean", "std", title=title, caption=caption)
    for name, values in metrics["metrics"].items():
        table.add_row(name, f"{100 * values['mean']:.2f} %", f"{100 * values['std']:.2f}")
    console.print(table)
    if pot and "certified_positive" in pot:
        console.print(
            f"certified compactness: mean {pot['certified_mean']['mean']:.4f}, above zero for "
            f"{100 * pot['certified_positive']['mean']:.1f} % of the nodes; sampled mean "
            f"{pot['sampled_mean']['mean']:.4f}"
        )
    if "train" in metrics.get("seconds", {}):
        seconds = metrics["seconds"]
        before = f"preparation {seconds['prepare']:.1f} s, " if "prepare" in seconds else ""
        console.print(
            f"{before}training {seconds['train']:.1f} s a seed "
            f"({seconds['epoch'] * 1000:.1f} ms an epoch), "
            f"evaluation {seconds['evaluate']:.1f} s, peak memory "
            f"{metrics['peak_memory_bytes'] / 2**20:.0f} MiB"
        )
