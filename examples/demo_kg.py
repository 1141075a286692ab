"""The knowledge-graph job on data that needs no network: kinds of negatives side by side on UMLS.

python examples/demo_kg.py [--out runs/demo-kg] [--seeds 3]

Trains DistMult with uniform negatives, with HaSa's and with LEMON's on the same budget, prints one
table, and leaves run directories and pictures behind. Started again, it continues where it was
interrupted and repeats nothing that is done.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kge.experiment.running import run_experiment
from kge.plots.run_pictures import plot_run

NEGATIVES = ("uniform", "hasa", "lemon")
EPOCHS = 30
# PyKEEN's DistMult keeps entities at unit length, which a softmax of scores cannot make use of.
SETTINGS = {"embedding_dim": 100, "entity_constrainer": None, "regularizer": None, "patience": 3}


def compare(out: Path, console: Console, *, seeds: int = 3, smoke: bool = False) -> None:
    """Train with each kind of negatives and print what came of it."""
    chosen = range(1 if smoke else seeds)
    table = Table(
        "negatives",
        "test MRR",
        "hits@1",
        "hits@10",
        "validation MRR",
        "best epochs",
        "s / seed",
        title="umls, DistMult, filtered ranks among all entities",
        caption=f"mean ± std of {len(chosen)} seeds; the epoch is chosen on validation",
    )
    for negatives in NEGATIVES:
        run = out / negatives
        metrics = run_experiment(
            "umls",
            "distmult",
            negatives,
            run,
            epochs=2 if smoke else EPOCHS,
            seeds=chosen,
            overrides=SETTINGS,
        )
        plot_run(run)
        names = ("mrr", "hits@1", "hits@10", "validation_mrr")
        values = [metrics["metrics"][name] for name in names]
        table.add_row(
            negatives,
            *(f"{value['mean']:.3f} ± {value['std']:.3f}" for value in values),
            ", ".join(map(str, metrics["best_epochs"])),
            f"{metrics['seconds']['train']:.1f}",
        )
    console.print(table)
    console.print(f"run directories and pictures: {out}")


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo-kg"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="two epochs, one seed: a quick check")
    options = parser.parse_args()
    if options.smoke:
        options.out = options.out.with_name(f"{options.out.name}-smoke")
    compare(options.out, Console(), seeds=options.seeds, smoke=options.smoke)


if __name__ == "__main__":
    main()
