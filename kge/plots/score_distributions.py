"""How a model scores true triples and the kinds of negatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from graphcl.ranking.known import KnownTriples
from kge.datasets import UnionDataset
from kge.experiment.figures import all_known, draw_false
from kge.query_vectors import asked_triples
from kge.sampling.candidate_scores import undisturbed
from kge.sampling.filtering import corrupt
from kge.sampling.mining import mine
from kge.sides import COLUMN, TAIL_FIRST, Side
from kge.structure import StructureIndex

if TYPE_CHECKING:
    from pykeen.models import Model

KINDS = ("positive", "hard", "structural", "random")

_PER_TRIPLE = 4
_POOL = 4096
_MAX_DEGREE = 1000
_CHUNK = 4096


def sample_scores(
    model: Model, graph: UnionDataset, *, rows: int = 500, seed: int = 0
) -> dict[str, np.ndarray]:
    """Scores of some test triples and of negatives of theirs, by kind.

    ``hard`` are the best scored of a random pool of entities, ``structural`` are within two steps
    of the entity that stays, ``random`` are any. None of them is a triple of the three splits.
    A model with inverse relations scores heads as it ranks them, by the inverse triples.

    Args:
        model: whose scores.
        graph: with the test triples.
        rows: how many test triples, at most.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    known = all_known(graph)
    test = graph.testing.mapped_triples
    picked = test[torch.randperm(len(test), generator=generator)[:rows]]
    pool = torch.randperm(graph.num_entities, generator=generator)[:_POOL]
    index = StructureIndex(
        graph.training.mapped_triples,
        num_entities=graph.num_entities,
        num_relations=graph.training.real_num_relations,
        max_degree=_MAX_DEGREE,
        max_members=256,
    )
    parts: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    parts["positive"].append(asked_triples(model, picked, "tail"))
    with undisturbed(model):
        for side in TAIL_FIRST:
            column = COLUMN[side]
            hard = mine(model, picked, side, pool, _PER_TRIPLE, known, own_ids=False)
            near = _structural(index, picked, side, known, generator)
            ids, valid = draw_false(picked, column, _PER_TRIPLE, known, generator)
            negatives = {
                "hard": _corrupted(picked, hard.ids, column)[hard.found],
                "structural": near,
                "random": _corrupted(picked, ids, column)[valid],
            }
            for kind, triples in negatives.items():
                parts[kind].append(asked_triples(model, triples, side))
        return {kind: _scores(model, torch.cat(triples)) for kind, triples in parts.items()}


def score_distributions(scores: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draw the densities of scores by kind, over the same bins."""
    drawn = {kind: values for kind, values in scores.items() if len(values)}
    every = np.concatenate([*drawn.values()])
    low, high = float(every.min()), float(every.max())
    edges = np.linspace(low, max(high, low + 1e-6), 60).tolist()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for kind, values in drawn.items():
        axes.hist(values, edges, density=True, histtype="step", label=f"{kind} ({len(values)})")
    axes.set(xlabel="score", ylabel="density", title=title)
    axes.legend()
    return figure


def _structural(
    index: StructureIndex,
    triples: Tensor,
    side: Side,
    known: KnownTriples,
    generator: torch.Generator,
) -> Tensor:
    """Some structural candidates of each triple in its place, without known ones."""
    found = index.candidates(triples, side)
    row = torch.arange(len(triples)).repeat_interleave(found.ptr.diff())
    near = triples[row].clone()
    near[:, COLUMN[side]] = found.ids
    # As many as of the other kinds, from all balls alike.
    near = near[~known.contains(near)]
    order = torch.randperm(len(near), generator=generator)[: _PER_TRIPLE * len(triples)]
    return near[order]


def _corrupted(triples: Tensor, ids: Tensor, column: int) -> Tensor:
    return corrupt(triples, ids, torch.full((ids.shape[1],), column))


def _scores(model: Model, triples: Tensor) -> np.ndarray:
    parts = [model.score_hrt(part.to(model.device)).view(-1) for part in triples.split(_CHUNK)]
    if not parts:
        return np.zeros(0)
    scores: np.ndarray = torch.cat(parts).float().cpu().numpy()
    return scores
