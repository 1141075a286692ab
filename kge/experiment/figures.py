"""Figures of a model: ranks on a split by a named protocol, as metrics and by relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from graphcl.kernels.tiles import blocks
from graphcl.ranking.known import KnownTriples
from graphcl.ranking.ogb import ogb_mrr
from graphcl.ranking.progress import Progress
from graphcl.ranking.report import RankReport
from kge.datasets import UnionDataset
from kge.evaluation.fused_rank_based import FusedRankBasedEvaluator
from kge.ogb_dataset import OGBDataset
from kge.sampling.candidate_scores import candidate_scorer, undisturbed
from kge.sampling.filtering import redraw_known
from kge.sides import COLUMN, TAIL_FIRST, Side

if TYPE_CHECKING:
    from pykeen.models import Model

PROTOCOLS = ("filtered", "unfiltered", "ogb")
Split = Literal["validation", "test"]

_NAMES = ("mrr", "hits@1", "hits@3", "hits@10", "mean_rank", "amri")
_OGB_ROWS = 1024

DRAWN = 500
"""Candidates that are drawn by default where a graph has none of its own."""


def rank(
    model: Model, graph: UnionDataset, split: Split, *, filtered: bool = True, progress: bool = True
) -> RankReport:
    """Exact ranks among all entities, on both sides.

    Filtered ranks leave out the known answers of training and of the split itself, and on test
    those of validation too; never those of test on validation.
    """
    evaluator = FusedRankBasedEvaluator(filtered=filtered)
    triples, others = _triples(graph, split)
    evaluator.evaluate(model, triples, additional_filter_triples=others, use_tqdm=progress)
    assert evaluator.report is not None
    return evaluator.report


def metrics_of(report: RankReport, prefix: str = "") -> dict[str, float]:
    """Metrics of both sides together by name, and the mean reciprocal rank of each."""
    values = {name: report[name] for name in _NAMES}
    values |= {f"{side}_mrr": report[f"{side}.mrr"] for side in report.sides}
    return {f"{prefix}{name}": value for name, value in values.items()}


def relation_rows(
    report: RankReport, graph: UnionDataset, split: Split = "test"
) -> list[list[Any]]:
    """Label, count of triples, MRR and hits@10 of each relation, the most frequent first."""
    relation = _triples(graph, split)[0][:, 1]
    count = torch.bincount(relation, minlength=graph.training.real_num_relations).tolist()
    labels = {number: label for label, number in graph.relation_to_id.items()}
    found = report.by_relation()
    order = sorted(found, key=lambda one: (-count[one], labels[one]))
    return [
        [labels[one], count[one], found[one]["mean_reciprocal_rank"], found[one]["hits@10"]]
        for one in order
    ]


@torch.no_grad()
def ogb_figures(
    model: Model,
    graph: UnionDataset,
    split: Split,
    *,
    candidates: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    """Metrics of the Open Graph Benchmark: each answer against some random false ones.

    Ties are averaged, and both sides count alike (Hu et al., 2020, arXiv 2005.00687). OGB's own
    data sets come with candidates, which are used unless a number is given: the figures are those
    of OGB's evaluator. For any other graph as many entities are drawn uniformly with ``seed`` for
    each triple and side, never a true answer of any split, so that figures compare with runs on the
    same graph only. They are higher than those of all entities.

    Args:
        model: to be judged.
        graph: the graph that it was trained on.
        split: what is ranked.
        candidates: how many to draw; by default OGB's own, or else 500.
        seed: of the draws.
        progress: write progress to standard error.

    Raises:
        ValueError: ``candidates`` below 1, or not fewer than there are entities.
    """
    if candidates is None and isinstance(graph, OGBDataset):
        return _official_figures(model, graph, split, progress)
    candidates = DRAWN if candidates is None else candidates
    if not 1 <= candidates < graph.num_entities:
        raise ValueError(
            f"candidates must lie between 1 and {graph.num_entities - 1}, fewer than there are "
            f"entities, got {candidates}; the protocol filtered ranks among all"
        )
    generator = torch.Generator().manual_seed(seed)
    known = all_known(graph)

    def drawn(rows: slice, part: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        return draw_false(part, COLUMN[side], candidates, known, generator)

    return _against(model, _triples(graph, split)[0], candidates, drawn, progress)


def ogb_protocol(graph: UnionDataset, candidates: int | None = None) -> str:
    """What :func:`ogb_figures` ranks against, in words."""
    if candidates is None and isinstance(graph, OGBDataset):
        return "candidates: OGB's own of each triple and side"
    return f"candidates: {candidates or DRAWN} drawn entities; left out: all true answers"


def _official_figures(
    model: Model, graph: OGBDataset, split: Split, progress: bool
) -> dict[str, float]:
    given = graph.candidates(split)

    def own(rows: slice, part: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        ids = given[side][rows].long()
        return ids, torch.ones_like(ids, dtype=torch.bool)

    return _against(model, _triples(graph, split)[0], given["head"].shape[1], own, progress)


def _against(
    model: Model,
    triples: Tensor,
    width: int,
    candidates: Callable[[slice, Tensor, Side], tuple[Tensor, Tensor]],
    progress: bool,
) -> dict[str, float]:
    """Mean metrics of triples (n, 3) against ``width`` candidates for each and side."""
    lists: dict[str, list[Tensor]] = {}
    bar = Progress(len(triples) * len(COLUMN), progress)
    with undisturbed(model):
        scorer = candidate_scorer(model, shared=False, own_ids=False)
        for rows in blocks(len(triples), max(1, min(_OGB_ROWS, scorer.block // width))):
            part = triples[rows]
            for side in TAIL_FIRST:
                column = COLUMN[side]
                ids, valid = candidates(rows, part, side)
                pool = torch.cat((part[:, column : column + 1], ids), 1)
                scores = scorer.scores(part, side, pool)
                negative = scores[:, 1:].masked_fill(~valid, -torch.inf)
                for name, values in ogb_mrr(scores[:, 0], negative).items():
                    lists.setdefault(name.removesuffix("_list"), []).append(values)
                bar.advance(len(part))
    return {name: float(torch.cat(values).double().mean()) for name, values in lists.items()}


def draw_false(
    triples: Tensor, column: int, count: int, known: KnownTriples, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random entities (B, count) that make none of ``known`` in that column, and which are valid.

    Not valid is what stands where no entity is left.
    """
    ids = torch.randint(known.num_entities, (len(triples), count), generator=generator)
    found = redraw_known(
        ids,
        triples,
        torch.full((count,), column),
        known,
        draw=lambda row, slot: torch.randint(
            known.num_entities, row.shape, generator=generator, device=row.device
        ),
        generator=generator,
    )
    return found.ids, found.valid


def all_known(graph: UnionDataset) -> KnownTriples:
    """The triples of all three splits."""
    return KnownTriples(
        torch.cat([graph.training.mapped_triples, *_held_out(graph).values()]),
        num_entities=graph.num_entities,
        num_relations=graph.training.real_num_relations,
    )


def _held_out(graph: UnionDataset) -> Mapping[str, Tensor]:
    assert graph.validation is not None
    return {
        "validation": graph.validation.mapped_triples,
        "test": graph.testing.mapped_triples,
    }


def _triples(graph: UnionDataset, split: Split) -> tuple[Tensor, list[Tensor]]:
    """Triples of a split, and those beside them that a filter may know."""
    held_out = _held_out(graph)
    others = [graph.training.mapped_triples]
    if split == "test":
        others.append(held_out["validation"])
    return held_out[split], others
