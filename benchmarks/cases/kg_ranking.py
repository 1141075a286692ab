"""Filtered link-prediction evaluation against PyKEEN and torchkge: time, memory, values."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import Model, model_resolver
from torch import Tensor

from benchmarks.earlier import earlier_rows
from benchmarks.timing import peak, peak_growth, quantiles
from graphcl.train.environment import environment
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
PESSIMISTIC_MRR = ("both", "pessimistic", "inverse_harmonic_mean_rank")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--dataset", default="wn18rr")
    parser.add_argument("--root", default=None)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--triples", type=int, default=None, help="test triples, default all")
    parser.add_argument("--torchkge", type=int, default=512, help="triples that torchkge ranks")
    parser.add_argument("--checked", type=int, default=128, help="triples compared in float64")
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
    """Work of the memory measurement; PyKEEN ranks 32 triples at once: 256 show its peak."""
    graph, model, triples = prepare(options, name)
    if evaluator == "pykeen":
        triples = triples[:256]
    ready()
    evaluation(evaluator, graph, model, triples)


def difference(ours: dict[tuple[str, ...], float], theirs: dict[tuple[str, ...], float]) -> float:
    """Largest difference of two sets of metrics, relative for values above 1.

    Raises:
        AssertionError: they have different names.
    """
    if ours.keys() != theirs.keys():
        raise AssertionError("the evaluators report different metrics")
    pairs = [(value, theirs[key]) for key, value in ours.items()]
    if any(math.isnan(a) != math.isnan(b) for a, b in pairs):
        raise AssertionError("a metric is NaN for one evaluator alone")
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs if not math.isnan(a))


def torchkge_evaluation(
    name: str, graph: UnionDataset, model: Model, triples: Tensor
) -> tuple[float, float] | None:
    """Seconds and pessimistic MRR of torchkge on the same weights; None where it has no rival."""
    try:
        import torchkge
    except ImportError as error:
        print(f"torchkge is left out: {error}")
        return None
    sizes = model.entity_representations[0].shape[0], graph.num_entities, graph.num_relations
    with torch.no_grad():
        entity, relation = (
            r[0](indices=None)
            for r in (model.entity_representations, model.relation_representations)
        )
    if name == "complex":
        rival = torchkge.models.ComplExModel(*sizes)
        for part, tensor in (("ent", entity), ("rel", relation)):
            getattr(rival, f"re_{part}_emb").weight.data = tensor.real.contiguous()
            getattr(rival, f"im_{part}_emb").weight.data = tensor.imag.contiguous()
    elif name in ("distmult", "transe-l1", "transe-l2"):
        norm = name.rpartition("-")[2].upper()
        rival = (
            torchkge.models.DistMultModel(*sizes)
            if name == "distmult"
            else torchkge.models.TransEModel(*sizes, dissimilarity_type=norm)
        )
        rival.ent_emb.weight.data, rival.rel_emb.weight.data = entity, relation
    else:
        return None
    known = (graph.training, graph.validation, graph.testing)
    everything = torch.cat([factory.mapped_triples for factory in known])
    names = {i: i for i in range(graph.num_entities)}, {i: i for i in range(graph.num_relations)}
    ids = {"ent2ix": names[0], "rel2ix": names[1]}
    columns = ("heads", "relations", "tails")
    full = torchkge.KnowledgeGraph(kg=dict(zip(columns, everything.T, strict=True)), **ids)
    ranked = torchkge.KnowledgeGraph(
        kg=dict(zip(columns, triples.T, strict=True)),
        dict_of_heads=full.dict_of_heads,
        dict_of_tails=full.dict_of_tails,
        dict_of_rels=full.dict_of_rels,
        **ids,
    )
    evaluator = torchkge.LinkPredictionEvaluator(rival, ranked)
    start = time.perf_counter()
    with torch.no_grad():
        evaluator.evaluate(b_size=32, verbose=False)
    return time.perf_counter() - start, evaluator.mrr()[1]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check that values agree in float64, then time; rows of other graphs and models stay.

    In float32 PyKEEN's scores of a triple depend on what is scored beside it, so that near ties
    may change places there: that difference is reported, not checked.
    """
    fresh = {(options.dataset, name) for name in options.models}
    rows = [
        row for row in earlier_rows(options.json) if (row["dataset"], row["model"]) not in fresh
    ]
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
        exact = difference(
            *(evaluation(e, graph, model.double(), triples[: options.checked]) for e in EVALUATORS)
        )
        if exact > TOLERANCE:
            raise AssertionError(f"{name}: values in float64 differ by {exact:.1e}")
        model.float()
        part = triples[: options.torchkge]
        other = torchkge_evaluation(name, graph, model, part)
        if other is not None:
            seconds["torchkge"] = quantiles([other[0]])
            mrr = evaluation("ours", graph, model, part)[PESSIMISTIC_MRR]
            if abs(other[1] - mrr) > 1e-3 * mrr:
                raise AssertionError(f"{name}: torchkge finds MRR {other[1]}, ours {mrr}")
        rows.append(
            {
                "dataset": options.dataset,
                "model": name,
                "dim": options.dim,
                "triples": len(triples),
                "torchkge_triples": len(part),
                "metrics_compared": len(values["ours"]),
                "largest_difference": difference(*values.values()),
                "largest_difference_float64": exact,
                "float64_triples": len(triples[: options.checked]),
                "seconds": seconds,
                "speedup": seconds["pykeen"]["median"] / seconds["ours"]["median"],
                "peak_bytes": {e: peak_growth(memory, options, name, e) for e in EVALUATORS},
                "environment": environment(),
            }
        )
    rows.sort(key=lambda row: (row["dataset"] != "wn18rr", list(MODELS).index(row["model"])))
    return {"rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "graph, model, d",
        "triples",
        "ours s (20-80 %)",
        "PyKEEN s",
        "PyKEEN / ours",
        "torchkge s",
        "ours peak MiB",
        "PyKEEN peak MiB",
        "largest difference of 225 values in float64, float32",
    ]
    rows = []
    for row in result["rows"]:
        ours, theirs = row["seconds"]["ours"], row["seconds"]["pykeen"]
        peaks = [peak(row["peak_bytes"][name]) for name in EVALUATORS]
        other = row["seconds"].get("torchkge")
        rows.append(
            [
                f"{row['dataset']}, {row['model']}, {row['dim']}",
                str(row["triples"]),
                f"{ours['median']:.2f} ({ours['p20']:.2f}-{ours['p80']:.2f})",
                f"{theirs['median']:.1f}",
                f"{row['speedup']:.0f}",
                f"{other['median']:.1f} for {row['torchkge_triples']}" if other else "not run",
                *peaks,
                f"{row['largest_difference_float64']:.0e} ({row['float64_triples']} triples), "
                f"{row['largest_difference']:.0e} (all)",
            ]
        )
    return header, rows
