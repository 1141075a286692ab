"""Filtered link-prediction evaluation: ours against PyKEEN's evaluator, time, memory, values."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import Model, model_resolver
from torch import Tensor

from benchmarks.timing import peak_growth, quantiles
from kge.datasets import load_dataset
from kge.evaluation.fused_rank_based import FusedRankBasedEvaluator
from kge.union_dataset import UnionDataset

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "distmult": ("distmult", {}),
    "complex": ("complex", {}),
    "transe-l2": ("transe", {"scoring_fct_norm": 2}),
    "transe-l1": ("transe", {"scoring_fct_norm": 1}),
    "rotate": ("rotate", {}),
}
EVALUATORS = {"ours": FusedRankBasedEvaluator, "pykeen": RankBasedEvaluator}
TOLERANCE = 1e-6


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--dataset", default="wn18rr")
    parser.add_argument("--root", default=None)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--triples", type=int, default=None, help="test triples, default all")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; PyKEEN is timed once")


def evaluation(
    name: str, graph: UnionDataset, model: Model, triples: Tensor
) -> dict[tuple[str, ...], float]:
    """All metric values of one evaluator at its default settings."""
    evaluator = EVALUATORS[name](filtered=True)
    result = evaluator.evaluate(
        model,
        triples,
        additional_filter_triples=[
            graph.training.mapped_triples,
            graph.validation.mapped_triples,
            graph.testing.mapped_triples,
        ],
        use_tqdm=False,
    )
    return {tuple(map(str, key)): float(value) for key, value in result.data.items()}


def prepare(options: argparse.Namespace, name: str) -> tuple[UnionDataset, Model, Tensor]:
    """The graph, an untrained model and the ranked triples."""
    graph = load_dataset(options.dataset, options.root)
    kind, extra = MODELS[name]
    model = model_resolver.make(
        kind, triples_factory=graph.training, embedding_dim=options.dim, random_seed=0, **extra
    )
    return graph, model, graph.testing.mapped_triples[: options.triples]


def memory(
    ready: Callable[[], None], options: argparse.Namespace, name: str, evaluator: str
) -> None:
    """Work of the memory measurement."""
    graph, model, triples = prepare(options, name)
    ready()
    evaluation(evaluator, graph, model, triples)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check that all values agree, then give the times."""
    rows = []
    for name in options.models:
        graph, model, triples = prepare(options, name)
        values, seconds = {}, {}
        for evaluator in EVALUATORS:
            spent = []
            for _ in range(options.repeats if evaluator == "ours" else 1):
                start = time.perf_counter()
                values[evaluator] = evaluation(evaluator, graph, model, triples)
                spent.append(time.perf_counter() - start)
            seconds[evaluator] = quantiles(spent)
        if values["ours"].keys() != values["pykeen"].keys():
            raise AssertionError(f"{name}: the evaluators report different metrics")
        ours, theirs = (
            torch.tensor([values[e][key] for key in values["ours"]], dtype=torch.float64)
            for e in EVALUATORS
        )
        worst = float(((ours - theirs).abs() / theirs.abs().clamp_min(1)).max())
        if worst > TOLERANCE:
            raise AssertionError(f"{name}: values differ by {worst:.1e}")
        rows.append(
            {
                "model": name,
                "dim": options.dim,
                "triples": len(triples),
                "metrics_compared": len(ours),
                "largest_difference": worst,
                "seconds": seconds,
                "speedup": seconds["pykeen"]["median"] / seconds["ours"]["median"],
                "peak_bytes": {e: peak_growth(memory, options, name, e) for e in EVALUATORS},
            }
        )
    return {"dataset": options.dataset, "rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        f"{result['dataset']}, d",
        "triples",
        "ours s (20-80 %)",
        "PyKEEN s",
        "speed-up",
        "ours peak MiB",
        "PyKEEN peak MiB",
        "largest difference",
    ]
    rows = []
    for row in result["rows"]:
        ours, theirs = row["seconds"]["ours"], row["seconds"]["pykeen"]
        peaks = [
            f"{peak['bytes'] / 2**20:.0f}" if "bytes" in peak else peak["failed"]
            for peak in (row["peak_bytes"]["ours"], row["peak_bytes"]["pykeen"])
        ]
        rows.append(
            [
                f"{row['model']}, {row['dim']}",
                str(row["triples"]),
                f"{ours['median']:.2f} ({ours['p20']:.2f}-{ours['p80']:.2f})",
                f"{theirs['median']:.1f}",
                f"{row['speedup']:.0f}",
                *peaks,
                f"{row['largest_difference']:.0e} of {row['metrics_compared']} values",
            ]
        )
    return header, rows
