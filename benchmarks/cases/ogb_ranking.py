"""OGB's link prediction metrics: ours against ``ogb.linkproppred.Evaluator``, same scores."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import paired, peak, peak_growth, quantiles
from graphcl.ranking.ogb import ogb_hits_at_k, ogb_mrr

SIZES = {
    "ogbl-collab": ("hits@50", 46_329, 100_000),
    "ogbl-ppa": ("hits@100", 3_045_330, 3_000_000),
    "ogbl-citation2": ("mrr", 86_596, 1000),
    "ogbl-biokg": ("mrr", 162_886, 500),
}
"""Metric, positives and negatives (for mrr: of each positive) of the official test sets."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--datasets", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5)


def scores(dataset: str) -> tuple[Tensor, Tensor]:
    """Scores of the size of a test set, rounded so that there are ties."""
    metric, positives, negatives = SIZES[dataset]
    generator = torch.Generator().manual_seed(0)
    shape = (positives, negatives) if metric == "mrr" else (negatives,)
    found = (
        torch.randn(positives, generator=generator) + 1,
        torch.randn(shape, generator=generator),
    )
    return tuple((1000 * part).round_().div_(1000) for part in found)  # type: ignore[return-value]


def ours(dataset: str, positive: Tensor, negative: Tensor) -> float:
    """The metric by :mod:`graphcl.ranking.ogb`."""
    metric = SIZES[dataset][0]
    if metric == "mrr":
        return float(ogb_mrr(positive, negative)["mrr_list"].mean())
    return ogb_hits_at_k(positive, negative, int(metric.partition("@")[2]))


def official(dataset: str, positive: Tensor, negative: Tensor) -> float:
    """The metric by the ogb package."""
    from ogb.linkproppred import Evaluator

    found = Evaluator(dataset).eval({"y_pred_pos": positive, "y_pred_neg": negative})
    metric = SIZES[dataset][0]
    return float(found["mrr_list"].mean() if metric == "mrr" else found[metric])


WORKS: dict[str, Callable[[str, Tensor, Tensor], float]] = {"ours": ours, "ogb": official}


def memory(ready: Callable[[], None], dataset: str, name: str) -> None:
    """Work of the memory measurement."""
    official("ogbl-collab", torch.zeros(60), torch.zeros(60))  # imports are not counted
    pair = scores(dataset)
    ready()
    WORKS[name](dataset, *pair)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check that the values are equal, then time."""
    rows = []
    for dataset in options.datasets:
        pair = scores(dataset)
        values = {name: work(dataset, *pair) for name, work in WORKS.items()}
        if values["ours"] != values["ogb"]:
            raise AssertionError(f"{dataset}: the metrics differ, {values}")
        works = {name: partial(work, dataset, *pair) for name, work in WORKS.items()}
        seconds = paired(works, repeats=options.repeats)
        metric, positives, negatives = SIZES[dataset]
        rows.append(
            {
                "dataset": dataset,
                "metric": metric,
                "positives": positives,
                "negatives": negatives,
                "value": values["ours"],
                "seconds": {name: quantiles(spent) for name, spent in seconds.items()},
                "peak_bytes": {name: peak_growth(memory, dataset, name) for name in WORKS},
            }
        )
    return {"rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "size of",
        "metric",
        "ours s (20-80 %)",
        "ogb s",
        "ogb / ours",
        "ours MiB above the scores",
        "ogb MiB",
    ]
    rows = []
    for row in result["rows"]:
        mine, theirs = row["seconds"]["ours"], row["seconds"]["ogb"]
        rows.append(
            [
                f"{row['dataset']}: {row['positives']} x {row['negatives']}",
                f"{row['metric']}, equal",
                f"{mine['median']:.3f} ({mine['p20']:.3f}-{mine['p80']:.3f})",
                f"{theirs['median']:.3f}",
                f"{theirs['median'] / mine['median']:.1f}",
                *(peak(row["peak_bytes"][name]) for name in WORKS),
            ]
        )
    return header, rows
