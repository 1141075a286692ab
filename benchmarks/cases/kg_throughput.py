"""Training steps of KG models: in-batch contrast against PyKEEN's sLCWA, positives per second."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pykeen.models import model_resolver
from pykeen.sampling import BasicNegativeSampler
from pykeen.training import SLCWATrainingLoop
from pykeen.training.training_loop import TrainingLoop

from benchmarks.timing import paired, quantiles
from graphcl.ranking.known import KnownTriples
from kge.datasets import load_dataset
from kge.training.candidates import CandidateDraw, known_answers
from kge.training.in_batch import InBatchTrainingLoop

LOOPS = ("inbatch", "slcwa")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--dataset", default="wn18rr")
    parser.add_argument("--root", default=None)
    parser.add_argument("--models", nargs="+", default=["distmult", "complex", "transe", "rotate"])
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--pool", type=int, default=384, help="drawn beside the batch's answers")
    parser.add_argument(
        "--optimizer", default="lazyadam", choices=["lazyadam", "sparseadam", "adam", "adagrad"]
    )
    parser.add_argument("--least", type=int, default=1024, help="negatives every row must have")
    parser.add_argument("--negatives", type=int, default=64, help="of each sLCWA row")
    parser.add_argument("--repeats", type=int, default=7)


def stepper(options: argparse.Namespace, graph: Any, name: str, loop: str) -> Callable[[], object]:
    """One optimiser step of a loop on a fresh batch, as PyKEEN would do it."""
    torch.manual_seed(0)
    model = model_resolver.make(
        name,
        triples_factory=graph.training,
        embedding_dim=options.dim,
        random_seed=0,
        loss="nssa",
    )
    shared: dict[str, Any] = {"model": model, "triples_factory": graph.training}
    training: TrainingLoop[Any]
    if loop == "inbatch":
        training = InBatchTrainingLoop(
            pool=options.pool,
            optimizer=options.optimizer,
            row_gradients=options.optimizer != "adam",
            **shared,
        )
    else:
        training = SLCWATrainingLoop(
            optimizer="adam",
            negative_sampler=BasicNegativeSampler,
            negative_sampler_kwargs={"num_negs_per_pos": options.negatives},
            **shared,
        )
    loader = training._create_training_data_loader(
        graph.training, sampler=None, batch_size=options.batch, drop_last=True, shuffle=True
    )
    batches = iter(loader)
    model.train()

    def step() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        training.optimizer.zero_grad()
        training._forward_pass(batch, 0, options.batch, options.batch, 0.0, None)
        training.optimizer.step()
        model.post_parameter_update()

    return step


def fewest_negatives(options: argparse.Namespace, graph: Any, batches: int = 20) -> int:
    """The least number of negatives that a row has on either side in some batches.

    Known answers are not counted: they are among the candidates but take no part.
    """
    triples = graph.training.mapped_triples
    known = KnownTriples(
        triples, num_entities=graph.num_entities, num_relations=graph.training.real_num_relations
    )
    draw = CandidateDraw(triples, graph.num_entities, options.pool)
    fewest = graph.num_entities
    for _ in range(batches):
        batch = draw(triples[torch.randperm(len(triples))[: options.batch]])
        for side, one in (("head", batch.head), ("tail", batch.tail)):
            hidden = known_answers(batch.triples[side], side, one.ids, known)
            most = int(hidden.ptr.diff().max())
            fewest = min(fewest, len(one.ids) - most)
    return fewest


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time steps of both loops in turn."""
    graph = load_dataset(options.dataset, options.root)
    fewest = fewest_negatives(options, graph)
    if fewest < options.least:
        raise ValueError(
            f"some rows have only {fewest} negatives: raise --pool above {options.pool}, or lower "
            f"--least below {options.least}"
        )
    rows = []
    for name in options.models:
        works = {loop: stepper(options, graph, name, loop) for loop in LOOPS}
        seconds = paired({k: partial(w) for k, w in works.items()}, repeats=options.repeats)
        found = {loop: quantiles(values) for loop, values in seconds.items()}
        rows.append(
            {
                "model": name,
                "seconds_per_step": found,
                "positives_per_second": {
                    loop: options.batch / values["median"] for loop, values in found.items()
                },
                "speedup": found["slcwa"]["median"] / found["inbatch"]["median"],
            }
        )
    return {
        "dataset": options.dataset,
        "dim": options.dim,
        "batch": options.batch,
        "pool": options.pool,
        "fewest_negatives": fewest,
        "optimizer": options.optimizer,
        "negatives": options.negatives,
        "rows": rows,
    }


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        f"{result['dataset']}, d = {result['dim']}, batch {result['batch']}",
        f"in-batch, at least {result['fewest_negatives']} shared negatives, "
        f"{result['optimizer']}: positives/s",
        f"PyKEEN sLCWA, {result['negatives']} negatives, adam: positives/s",
        "ratio",
    ]
    rows = [
        [
            row["model"],
            f"{row['positives_per_second']['inbatch']:.0f}",
            f"{row['positives_per_second']['slcwa']:.0f}",
            f"{row['speedup']:.1f}",
        ]
        for row in result["rows"]
    ]
    return header, rows
