"""Scores of candidates by a model in training, cheaply where its form allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from kge.sides import Side

if TYPE_CHECKING:  # PyKEEN may be half loaded when this module is registered with it
    from pykeen.models import Model
    from pykeen.typing import InductiveMode

Scores = Callable[[Tensor, Side, Tensor], Tensor]
"""``scores(queries (B, 3), side, pool (P,) or (B, P)) -> (B, P)``, on the CPU."""


class CandidateScorer(NamedTuple):
    """How a model scores candidates.

    Attributes:
        scores: larger is better. Only the order within a row and side is the model's own.
        block: how many scores to ask for at once, so that memory stays bounded.
        reason: why it is done this way.
    """

    scores: Scores
    block: int
    reason: str


@contextmanager
def undisturbed(model: Model) -> Iterator[Model]:
    """Score with a model in the middle of training and leave no trace.

    Within, nothing records gradients, and dropout and batch statistics stand still. Afterwards
    each module is in its own mode again, and what graph models cache has been dropped: they
    would reuse it, without gradients, for the next step.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for module, mode in modes:
            module.training = mode
        model.post_parameter_update()


def candidate_scorer(
    model: Model, *, shared: bool, mode: InductiveMode | None = None, own_ids: bool = True
) -> CandidateScorer:
    """The quickest way to score candidates with ``model``.

    Candidates shared by all queries are scored by one matrix product or distance table, for
    models that compare a query vector with an entity's; all else goes through the model's own
    ``score_t`` and ``score_h``.

    Args:
        model: any PyKEEN model.
        shared: whether pools will be (P,), not (B, P).
        mode: PyKEEN's inductive mode.
        own_ids: queries name relations as the model does, which with inverse relations counts
            both, as PyKEEN's samplers get them. False: as the graph does; heads are then asked
            for as in evaluation, by the inverse relation.
    """
    from pykeen.nn.representation import Embedding

    from kge.query_vectors import asked_triples, query_key_model

    def own(queries: Tensor, side: Side, pool: Tensor) -> Tensor:
        queries, pool = queries.to(model.device), pool.to(model.device)
        if not own_ids:
            queries = asked_triples(model, queries, side)
        if side == "tail" or (model.use_inverse_triples and not own_ids):
            scores = model.score_t(queries[:, :2], tails=pool, mode=mode)
        else:
            scores = model.score_h(queries[:, 1:], heads=pool, mode=mode)
        return scores.float().cpu()

    vectors, reason = query_key_model(model)
    if vectors is None or not shared or mode is not None:
        return CandidateScorer(own, 2**17, reason)
    if not isinstance(vectors.entities, Embedding):
        return CandidateScorer(own, 2**17, "entity vectors are computed, not looked up")

    def compared(queries: Tensor, side: Side, pool: Tensor) -> Tensor:
        queries = queries.to(model.device)
        head, relation, tail = queries.unbind(1)
        if not own_ids:
            ours = vectors.queries(queries, side)
        elif side == "tail":
            ours = vectors.tail_queries(head, relation)
        else:
            ours = vectors.head_queries(relation, tail)
        theirs = vectors.keys(side)[pool.to(model.device)]
        if vectors.score == "dot":
            return (ours @ theirs.T).float().cpu()
        norm = 1.0 if vectors.score == "l1" else 2.0
        return -torch.cdist(ours, theirs, p=norm).float().cpu()

    return CandidateScorer(compared, 2**20, reason)
