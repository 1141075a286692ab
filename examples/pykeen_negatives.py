"""PyKEEN's pipeline with hard negatives by name: HaSa, LEMON or PyKEEN's uniform ones.

python examples/pykeen_negatives.py --dataset umls --negatives hasa --seeds 3

Nothing but PyKEEN's own pipeline is called; the names "hasa", "lemon", "bindmodel" and
"fusedrankbased" come with this package. Where training is stopped early, PyKEEN puts the weights
back that were best on validation, and otherwise keeps the last. Test triples are ranked once a
seed. Any directory with train.txt, valid.txt, test.txt will do.
Quality: not measured by this script; see the demonstration (examples/demo_kg.py).
"""

import argparse
import statistics
import time
from pathlib import Path

from pykeen.pipeline import pipeline

from kge.datasets import UnionDataset, load_dataset

MRR = "both.realistic.inverse_harmonic_mean_rank"


def run(dataset: UnionDataset, negatives: str, model: str, epochs: int, seed: int) -> float:
    """Train and test one seed; returns the filtered test MRR."""
    sampler = {
        "uniform": ("basic", {"filtered": True}),
        "hasa": ("hasa", {}),
        "lemon": ("lemon", {"texts": dataset.entity_texts}),
    }
    name, options = sampler[negatives]
    started = time.perf_counter()
    result = pipeline(
        dataset=dataset,
        model=model,
        model_kwargs={"embedding_dim": 100},
        training_loop="slcwa",
        negative_sampler=name,
        negative_sampler_kwargs={"num_negs_per_pos": 32, **options},
        loss="hasa" if negatives == "hasa" else "crossentropy",
        optimizer="adam",
        optimizer_kwargs={"lr": 0.01},
        training_kwargs={"num_epochs": epochs, "batch_size": 256, "callbacks": "bindmodel"},
        stopper="early",
        stopper_kwargs={"frequency": 5, "patience": 4, "metric": MRR, "larger_is_better": True},
        evaluator="fusedrankbased",
        random_seed=seed,
        device="cpu",
    )
    found = float(result.get_metric(MRR))
    print(
        f"{model} {negatives} seed {seed}: test MRR {found:.4f}, "
        f"Hits@10 {result.get_metric('both.realistic.hits_at_10'):.4f}, "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return found


def main() -> None:
    """Run all seeds and print the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="umls", help="name, or a directory of triples")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--negatives", choices=("uniform", "hasa", "lemon"), default="hasa")
    parser.add_argument("--model", default="distmult")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="nations, two epochs, one seed")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.epochs, options.seeds = "nations", 2, 1
    dataset = load_dataset(options.dataset, options.root)
    values = [
        run(dataset, options.negatives, options.model, options.epochs, seed)
        for seed in range(options.seeds)
    ]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    print(f"mean {statistics.mean(values):.4f} ± {spread:.4f} of {len(values)} seeds")


if __name__ == "__main__":
    main()
