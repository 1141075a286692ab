"""Training loss and validation metric by epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure


def learning_curves(
    rows: Sequence[Mapping[str, str]], *, metric: str = "mrr", title: str = ""
) -> Figure:
    """Draw the rows of ``curves.csv``: seed, epoch, loss and, where there is one, validation."""
    losses: dict[str, list[tuple[int, float]]] = defaultdict(list)
    validated: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        epoch = int(row["epoch"])
        losses[row["seed"]].append((epoch, float(row["loss"])))
        if row["validation"]:
            validated[row["seed"]].append((epoch, float(row["validation"])))
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves in ((left, losses), (right, validated)):
        for seed, points in curves.items():
            axes.plot(*zip(*points, strict=True), label=f"seed {seed}", linewidth=1, marker=".")
        axes.set_xlabel("epoch")
        if curves:
            axes.legend()
    left.set_ylabel("training loss")
    right.set_ylabel(f"validation {metric}")
    for points in validated.values():
        epoch, best = max(points, key=lambda point: point[1])
        right.annotate(f"{best:.3f}", (epoch, best), fontsize="small")
    figure.suptitle(title)
    return figure
