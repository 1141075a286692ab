"""Link prediction from texts: the bi-encoder of HaSa, or SimKGC, in PyKEEN's pipeline.

python examples/pykeen_text.py --dataset wn18rr --root data --epochs 20
python examples/pykeen_text.py --dataset wn18rr --root data --encoder path/to/model --frozen

Without an option texts become TF-IDF vectors once and the query head is trained on them, which
needs no download. With ``--encoder`` a language model of ``transformers`` (extra ``text``) is
trained along, or with ``--frozen`` reads every text once. Where training is stopped early, PyKEEN
puts the weights back that were best on validation, and otherwise keeps the last.
Quality: see benchmarks; this script prints what it measures.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from pykeen.pipeline import pipeline

from kge.datasets import UnionDataset, load_dataset
from kge.text.sentences import sentences

MRR = "both.realistic.inverse_harmonic_mean_rank"


def model_kwargs(dataset: UnionDataset, options: argparse.Namespace) -> dict[str, Any]:
    """Settings of the model: what reads the texts, and which."""
    found: dict[str, Any] = {
        "encoder": options.encoder,
        "entity_texts": sentences(dataset.entity_names, dataset.entity_descriptions),
        "relation_texts": [name.replace("_", " ").strip() for name in dataset.relation_names],
    }
    if options.model == "hasatext":
        found |= {"dim": options.dim, "frozen": options.frozen, "pooling": options.pooling}
    return found


def main() -> None:
    """Train until validation gains no more, rank the test triples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="umls", help="name, or a directory of triples")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--model", choices=("hasatext", "simkgc"), default="hasatext")
    parser.add_argument("--encoder", default="tfidf", help="tfidf, .npy file, folder or hub name")
    parser.add_argument("--frozen", action="store_true", help="do not train the language model")
    parser.add_argument("--pooling", choices=("mean", "pooler", "first"), default="mean")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--pool", type=int, default=1024, help="drawn entities beside the batch's")
    parser.add_argument("--margin", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="nations, two epochs")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.dim, options.pool, options.epochs = "nations", 16, 8, 2
    dataset = load_dataset(options.dataset, options.root, create_inverse_triples=True)
    started = time.perf_counter()
    result = pipeline(
        dataset=dataset,
        model=options.model,
        model_kwargs=model_kwargs(dataset, options),
        training_loop="inbatch",
        training_loop_kwargs={"pool": options.pool, "margin": options.margin},
        optimizer="adam",
        optimizer_kwargs={"lr": options.lr},
        training_kwargs={"num_epochs": options.epochs, "batch_size": options.batch_size},
        stopper="early",
        stopper_kwargs={"frequency": 1, "patience": 3, "metric": MRR, "larger_is_better": True},
        evaluator="fusedrankbased",
        random_seed=options.seed,
        device="cpu",
    )
    validated = [float(one) for one in getattr(result.stopper, "results", [])]
    print(f"validation MRR by epoch: {', '.join(f'{one:.4f}' for one in validated)}")
    print(
        f"{options.model} on {dataset.folder.name}, {options.encoder}, seed {options.seed}: "
        f"test MRR {result.get_metric(MRR):.4f}, "
        f"Hits@1 {result.get_metric('both.realistic.hits_at_1'):.4f}, "
        f"Hits@10 {result.get_metric('both.realistic.hits_at_10'):.4f}, "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
