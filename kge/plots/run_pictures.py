"""All pictures of a run, written into its directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kge.experiment.environment import device_of
from kge.experiment.files import read_csv, replacing
from kge.experiment.fitting import load_model
from kge.experiment.run_directory import finished_run, seed_folder
from kge.experiment.running import what_was_trained
from kge.plots.learning_curves import learning_curves
from kge.plots.score_distributions import sample_scores, score_distributions
from kge.plots.text_map import clusters_for_map, text_map


def plot_run(
    run: str | os.PathLike[str],
    *,
    seed: int | None = None,
    root: str | Path | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw ``curves.png``, ``scores.png`` and ``texts.png`` into a run directory.

    A graph whose texts cannot be clustered has no ``texts.png``.

    Args:
        run: a finished run directory.
        seed: whose model to draw; default the first seed's.
        root: data root.
        device: see :func:`kge.experiment.environment.device_of`.
        tell: called with the reason why a picture is missing.

    Raises:
        ValueError: not a finished run, or a seed it does not have.
    """
    folder, config, metrics = finished_run(run, seed)
    seed = metrics["seeds"][0] if seed is None else seed
    settings, graph = what_was_trained(config, root)
    weights = seed_folder(folder, seed) / "model.pt"
    model = load_model(weights, graph, settings, device_of(device))
    name = f"{metrics['method']} on {metrics['dataset']}"
    metric = settings.options["stopping"]["metric"]
    curves = learning_curves(read_csv(folder / "curves.csv"), metric=metric, title=name)
    scores = score_distributions(sample_scores(model, graph), title=f"{name}, seed {seed}")
    written = [save(curves, folder / "curves.png"), save(scores, folder / "scores.png")]
    try:
        clusters = clusters_for_map(settings, graph)
    except ValueError as error:
        if tell is not None:
            tell(f"no map of texts: {error}")
        return written
    texts = text_map(clusters, graph.entity_names, title=f"texts of {metrics['dataset']}")
    return [*written, save(texts, folder / "texts.png")]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG file."""
    picture = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png", dpi=120, bbox_inches="tight")
    with replacing(path) as file:
        file.write(picture.getvalue())
    return path
