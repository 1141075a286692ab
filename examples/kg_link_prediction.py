"""A link prediction benchmark: several models, trained alike in-batch, ranked exactly and filtered.

Dataset: wn18rr, fb15k-237, codex-s, umls, ... or any directory with train.txt, valid.txt, test.txt.
Command: python examples/kg_link_prediction.py --dataset umls --models distmult complex transe
Expected: not measured here; benchmarks/README.md has what was measured with the benchmark cases.

Where training is stopped early, PyKEEN puts the weights back that were best on validation, and
otherwise keeps the last. Test triples are ranked once, against all entities, with every other true
answer left out and ties averaged. The relation that is ranked worst is named as well.
"""

import argparse
import time
from pathlib import Path

import torch
from pykeen.pipeline import pipeline
from rich.console import Console
from rich.table import Table

import kge
from graphcl.ranking import KnownTriples, LinkPredictionEvaluator
from kge.datasets import load_dataset

MRR = "both.realistic.inverse_harmonic_mean_rank"


def main() -> None:
    """Train all models, rank the test triples, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="umls", help="name, or a directory of triples")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--models", nargs="+", default=["distmult", "complex", "transe", "rotate"])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--pool", type=int, default=512, help="shared negatives of a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="nations, two models, two epochs")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.epochs, options.dim = "nations", 2, 16
        options.models = options.models[:2]
    kge.register()
    graph = load_dataset(options.dataset, options.root)
    splits = (graph.training, graph.validation, graph.testing)
    known = KnownTriples(torch.cat([split.mapped_triples for split in splits]))
    table = Table("model", "MRR", "hits@1", "hits@10", "training s", "ranking s", "lowest MRR of")
    for name in options.models:
        started = time.perf_counter()
        result = pipeline(
            dataset=graph,
            model=name,
            model_kwargs={"embedding_dim": options.dim},
            training_loop="inbatch",
            training_loop_kwargs={"pool": options.pool},
            optimizer="adam",
            optimizer_kwargs={"lr": 0.01},
            training_kwargs={"num_epochs": options.epochs, "batch_size": 512},
            stopper="early",
            stopper_kwargs={"frequency": 5, "patience": 4, "metric": MRR, "larger_is_better": True},
            evaluator="fusedrankbased",
            random_seed=options.seed,
            device="cpu",
        )
        trained = time.perf_counter() - started
        model = result.model.eval()

        def score(triples, side, candidates, model=model):
            """Scores (B, C) of every candidate on one side, by any PyKEEN model."""
            if side == "tail":
                return model.score_t(triples[:, :2], tails=candidates)
            return model.score_h(triples[:, 1:], heads=candidates)

        started = time.perf_counter()
        evaluator = LinkPredictionEvaluator(
            score, num_entities=graph.num_entities, known=known, hits=(1, 10)
        )
        report = evaluator.evaluate(graph.testing.mapped_triples)
        spent = time.perf_counter() - started
        each = report.by_relation()
        worst = min(each, key=lambda relation: each[relation]["mean_reciprocal_rank"])
        values = [report[k] for k in ("mean_reciprocal_rank", "hits@1", "hits@10")]
        cells = [f"{value:.4f}" for value in values] + [f"{trained:.1f}", f"{spent:.1f}"]
        table.add_row(name, *cells, graph.relation_names[worst])
    Console().print(evaluator.protocol, table)


if __name__ == "__main__":
    main()
