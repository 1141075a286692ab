"""Pictures of a run: loss curves, a 2-d projection, similarity histograms."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from graphcl.data.files import read_json, replacing

_MOST_NODES = 1000
_PAIRS = 50_000


def plot_run(run: str | os.PathLike[str], *, seed: int | None = None) -> list[Path]:
    """Draw ``loss.png``, ``projection.png`` and ``similarity.png`` into a run directory.

    A run with POT also gets ``compactness.png``.

    Args:
        run: a finished run directory.
        seed: whose embeddings to draw; default the first seed's.

    Raises:
        ValueError: not a finished run, or a seed it does not have.
    """
    folder = Path(run).expanduser()
    if not (folder / "metrics.json").exists():
        raise ValueError(
            f"{folder} holds no finished run (metrics.json is missing); run or continue it with: "
            "graphcl train"
        )
    metrics = read_json(folder / "metrics.json")
    seed = metrics["seeds"][0] if seed is None else seed
    if seed not in metrics["seeds"]:
        raise ValueError(f"the run has no seed {seed}; it has {metrics['seeds']}")
    with np.load(folder / f"seed-{seed}" / "embeddings.npz") as arrays:
        embeddings, labels = arrays["embeddings"], arrays.get("labels")
    name = f"{metrics['method']} on {metrics['dataset']}"
    drawn = [
        _save(_losses(folder / "curves.csv", name), folder / "loss.png"),
        _save(_projection(embeddings, labels, name), folder / "projection.png"),
        _save(_similarities(embeddings, labels, name), folder / "similarity.png"),
    ]
    compactness = folder / f"seed-{seed}" / "compactness.npz"
    if compactness.exists():
        drawn.append(_save(_compactness(compactness, name), folder / "compactness.png"))
    return drawn


def _losses(path: Path, name: str) -> Figure:
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            curves[row["seed"]].append((int(row["epoch"]), float(row["loss"])))
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for seed, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=f"seed {seed}", linewidth=1)
    axes.set(xlabel="epoch", ylabel="training loss", title=name)
    axes.legend()
    return figure


def _projection(embeddings: Any, labels: Any, name: str) -> Figure:
    """t-SNE of at most ``_MOST_NODES`` nodes, drawn with a fixed seed."""
    chosen = np.random.default_rng(0).permutation(len(embeddings))[:_MOST_NODES]
    perplexity = min(30.0, max(1.0, (len(chosen) - 1) / 3))
    rows = _scaled(embeddings[chosen])
    # Rows that are all alike (a collapsed run) have no principal components: scikit-learn crashes.
    start = "pca" if min(rows.shape) > 1 and np.ptp(rows, axis=0).any() else "random"
    points = TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(rows)
    figure = Figure(figsize=(6, 6))
    axes = figure.subplots()
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=6)
    else:
        classes, number = np.unique(labels, return_inverse=True)
        many = len(classes) > 20
        drawn = axes.scatter(
            points[:, 0],
            points[:, 1],
            c=number[chosen],
            cmap="nipy_spectral" if many else "tab20",
            vmin=0,
            vmax=len(classes) - 1 if many else 19,
            s=6,
        )
        if many:
            figure.colorbar(drawn, label="number of the class")
        else:
            handles = drawn.legend_elements(num=range(len(classes)))[0]
            axes.legend(handles, classes.tolist(), title="class", fontsize="small")
    axes.set(xticks=[], yticks=[], title=f"{name}: t-SNE of {len(chosen)} nodes")
    return figure


def _scaled(rows: Any) -> Any:
    """Rows whose largest entry is 1: variances and norms of tiny ones would vanish."""
    largest = np.abs(rows).max(initial=0)
    return rows / largest if largest > 0 else rows


def _similarities(embeddings: Any, labels: Any, name: str) -> Figure:
    """Cosines of random pairs of nodes, by whether their classes agree."""
    random = np.random.default_rng(0)
    left, right = random.integers(len(embeddings), size=(2, _PAIRS))
    left, right = left[left != right], right[left != right]
    embeddings = _scaled(embeddings)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    cosine = (unit[left] * unit[right]).sum(1)
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    low, high = float(cosine.min()), float(cosine.max())
    edges = np.linspace(low, max(high, low + 1e-6), 60).tolist()
    if labels is None:
        axes.hist(cosine, edges, density=True)
    else:
        same = labels[left] == labels[right]
        for part, text in ((same, "same class"), (~same, "different classes")):
            axes.hist(cosine[part], edges, density=True, alpha=0.6, label=text)
        axes.legend()
    axes.set(xlabel="cosine similarity", ylabel="density", title=f"{name}: random pairs")
    return figure


def _compactness(path: Path, name: str) -> Figure:
    """Nodes by their worst match over sampled views, and by what is certified of all views."""
    figure = Figure(figsize=(10, 4))
    axes = figure.subplots(1, 2)
    with np.load(path) as arrays:
        for axis, kind, text in (
            (axes[0], "sampled", "smallest over sampled views"),
            (axes[1], "certified", "certified lower bound"),
        ):
            for when in ("before", "after"):
                values = arrays[f"{kind}_{when}"]
                label = f"{when} training, {100 * (values > 0).mean():.1f} % above 0"
                axis.hist(values, 60, density=True, alpha=0.6, label=label)
            axis.axvline(0, color="black", linewidth=0.8)
            axis.set(xlabel=text, ylabel="density", title=f"{name}: node compactness")
            axis.legend(fontsize="small")
    return figure


def _save(figure: Figure, path: Path) -> Path:
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120, bbox_inches="tight")
    with replacing(path) as file:
        file.write(picture.getvalue())
    return path
