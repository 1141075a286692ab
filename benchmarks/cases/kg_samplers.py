"""Negative samplers, PyKEEN's and ours: triples per second, false negatives, diversity."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from pykeen.models import model_resolver
from pykeen.sampling import negative_sampler_resolver
from pykeen.training import SLCWATrainingLoop

from kge import register
from kge.datasets import load_dataset
from kge.sampling.report import sampler_report
from kge.union_dataset import UnionDataset

FILTERED = {"filtered": True}
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("basic", {}),
    "uniform, Bloom filter": ("basic", FILTERED),
    "uniform, python-set filter": ("basic", {**FILTERED, "filterer": "pythonset"}),
    "bernoulli": ("bernoulli", {}),
    "pseudotyped": ("pseudotyped", {}),
    "lemon": ("lemon", FILTERED),
    "hasa, nothing mined": ("hasa", {"hard_share": 0.0}),
    "hasa, pool of 256": ("hasa", {"pool_size": 256}),
    "hasa, pool of 256 a row": ("hasa", {"pool_size": 256, "mining": "row_pool"}),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--dataset", default="wn18rr")
    parser.add_argument("--root", default=None)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--negatives", type=int, default=64, help="of each positive")
    parser.add_argument("--draws", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=200, help="of the untrained DistMult that mines")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Report each sampler on the training triples of one graph."""
    register()
    graph = load_dataset(options.dataset, options.root)
    return {
        "dataset": options.dataset,
        "negatives": options.negatives,
        "rows": [{"name": name, **report(name, graph, options)} for name in options.samplers],
    }


def report(name: str, graph: UnionDataset, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one sampler; false negatives are told for validation and test, for analysis."""
    kind, extra = SAMPLERS[name]
    training = graph.training
    settings = {"num_negs_per_pos": options.negatives, **extra}
    if kind == "lemon":
        settings["texts"] = graph.entity_texts
    sampler = negative_sampler_resolver.make(
        kind,
        settings,
        mapped_triples=training.mapped_triples,
        num_entities=training.num_entities,
        num_relations=training.num_relations,
    )
    loop = None
    if hasattr(sampler, "bind"):
        model = model_resolver.make(
            "distmult", triples_factory=training, embedding_dim=options.dim, random_seed=0
        )
        loop = SLCWATrainingLoop(model=model, triples_factory=training, optimizer="sgd")
        sampler.bind(loop)  # a weak reference: the loop stays until the end
    known = {"train": training, "valid": graph.validation, "test": graph.testing}
    found = sampler_report(
        sampler,
        training.mapped_triples,
        {split: factory.mapped_triples for split, factory in known.items()},
        num_negatives=options.draws,
    )
    del loop
    return asdict(found)


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        f"{result['dataset']}, {result['negatives']} negatives",
        "triples/s",
        "known in train, proposed",
        "known in train, kept",
        "known in valid + test, proposed",
        "known in valid + test, kept",
        "masked",
        "entities a row draws from",
    ]
    rows = []
    for row in result["rows"]:
        before, after = (
            row[rate]["valid"] + row[rate]["test"] for rate in ("known_rate", "kept_known_rate")
        )
        rows.append(
            [
                row["name"],
                f"{row['triples_per_second']:,.0f}",
                f"{row['known_rate']['train']:.2e}",
                f"{row['kept_known_rate']['train']:.2e}",
                f"{before:.2e}",
                f"{after:.2e}",
                f"{100 * row['masked_rate']:.2f} %",
                f"{row['row_effective_entities']:.0f}",
            ]
        )
    return header, rows
