"""The main job on data that needs no network: train methods, evaluate and draw them.

python examples/demo.py [--out runs/demo] [--seeds 3]

Trains three methods on scikit-learn's handwritten digits (1797 nodes, k-nearest-neighbour graph),
prints one table beside the raw features, and leaves run directories and pictures behind. Started
again, it continues where it was interrupted and repeats nothing that is done.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from graphcl.cli.plots import plot_run
from graphcl.data import load_dataset
from graphcl.probes import cluster_nodes, linear_probe_seeds
from graphcl.train import run_experiment
from graphcl.train.evaluation import evaluate_run
from graphcl.train.experiment import spread

METHODS = {"grace": 30, "gca": 30, "bgrl": 30}  # epochs


def percent(values: dict) -> str:
    """Mean and standard deviation of a metric."""
    return f"{100 * values['mean']:.1f} ± {100 * values['std']:.1f}"


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="two epochs, one seed: a quick check")
    options = parser.parse_args()
    if options.smoke:
        options.out = options.out.with_name(f"{options.out.name}-smoke")
    seeds = range(1 if options.smoke else options.seeds)
    console = Console()
    table = Table(
        "method",
        "accuracy %",
        "clustering ACC %",
        "NMI %",
        "s / seed",
        title="digits, protocol random10, C selected on validation",
        caption=f"mean ± std of {len(seeds)} seeds; k-means on all nodes, lowest inertia",
    )
    data = load_dataset("digits")
    probe = linear_probe_seeds(data.x, data, "random10", seeds)["accuracy"]
    found = [cluster_nodes(data.x, data.y, seed=seed) for seed in seeds]
    accuracy, nmi = (spread([getattr(one, name) for one in found]) for name in ("accuracy", "nmi"))
    table.add_row("raw features", percent(probe), percent(accuracy), percent(nmi), "-")
    for method, epochs in METHODS.items():
        run = options.out / method
        overrides = {"epochs": 2 if options.smoke else epochs}
        metrics = run_experiment("digits", method, run, seeds=seeds, overrides=overrides)
        clusters = evaluate_run(run, "cluster")["metrics"]
        plot_run(run)
        table.add_row(
            method,
            percent(metrics["metrics"]["accuracy"]),
            percent(clusters["accuracy"]),
            percent(clusters["nmi"]),
            f"{metrics['seconds']['train']:.1f}",
        )
    console.print(table)
    console.print(f"run directories and pictures: {options.out}")


if __name__ == "__main__":
    main()
