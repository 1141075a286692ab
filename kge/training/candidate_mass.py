"""Log-sum-exp of a model's scores over candidates, in memory that does not grow with them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphcl.kernels import Exclude, KeyWeight, SimilarityWeight, TileWeight, negative_logsumexp
from kge.query_vectors import asked_triples, query_key_model
from kge.sides import COLUMN, Side
from kge.training.batch_vectors import BatchVectors
from kge.training.query_groups import Queries

if TYPE_CHECKING:  # PyKEEN may be half loaded when this module is registered with it
    from pykeen.models import Model
    from pykeen.nn.representation import Representation
    from pykeen.typing import InductiveMode

_PAIRS = 2**22
"""Scores of one tile; a distance or an unknown model holds about this many numbers at once."""


class Fold(NamedTuple):
    """How the queries of one side are summed over candidates.

    Attributes:
        positive: (B,) scores of the rows' own answers.
        sum: ``sum(tau, beta, log_weight, exclude)`` is the logarithm (Q,) of
            sum_j w_j exp(s_j / tau + beta * s_j), the factor exp(beta * s_j) held constant.
        queries: Q, how many are summed over; as many as rows if all are.
        candidates: how many there are.
    """

    positive: Tensor
    sum: Callable[[float, float, Tensor, Exclude], Tensor]
    queries: int
    candidates: int


def candidate_mass(
    fold: Fold, *, tau: float, beta: float, log_weight: Tensor, exclude: Exclude
) -> Tensor:
    r"""Logarithm (Q,) of what the candidates of each query weigh against a positive.

    Without a tilt it is :math:`\log \sum_j w_j e^{s_j / \tau}`. With ``beta`` the candidates' total
    weight is shared out in proportion to :math:`w_j e^{\beta s_j}`, without gradient (Robinson et
    al., 2021, arXiv 2010.04592). A query without candidates gives -inf.
    """
    if beta == 0:
        return fold.sum(tau, 0.0, log_weight, exclude)
    tilted = fold.sum(tau, beta, log_weight, exclude)
    with torch.no_grad():
        tilt = fold.sum(1 / beta, 0.0, log_weight, exclude)
        flat = fold.positive.new_zeros(fold.queries, 1)
        weight = KeyWeight(log_weight) if log_weight.numel() else None
        total = negative_logsumexp(
            flat, flat.new_zeros(fold.candidates, 1), log_weight=weight, exclude=exclude
        )
        shift = torch.where(total == -torch.inf, 0.0, total - tilt)
    return tilted + shift


def batch_vectors(
    model: Model, named: Tensor, *, every: bool = False, mode: InductiveMode | None = None
) -> BatchVectors | None:
    """The vectors that a batch needs, or None where the model compares none.

    Args:
        model: in training.
        named: entities of the batch, repetitions allowed.
        every: whether all entities are candidates of a side.
        mode: PyKEEN's inductive mode.
    """
    vectors, _ = query_key_model(model) if mode is None else (None, "")
    if vectors is None or _power_norm(vectors.model):
        return None
    return BatchVectors(vectors, named, every=every)


def batch_fold(
    model: Model,
    vectors: BatchVectors | None,
    triples: Tensor,
    side: Side,
    ids: Tensor,
    *,
    queries: Queries | None = None,
    dropout: float = 0.0,
    mode: InductiveMode | None = None,
) -> Fold:
    """The fold that suits the model: matrix products, distances, or its own scores.

    Args:
        model: in training.
        vectors: what :func:`batch_vectors` gave.
        triples: (B, 3) triples without inverse relations, on the model's device.
        side: what the candidates replace.
        ids: (C,) ascending distinct candidates.
        queries: the distinct queries of the rows, which are summed over; None to sum for each row.
        dropout: chance of each component of a query to be left out, the others scaled up.
        mode: PyKEEN's inductive mode.

    Raises:
        ValueError: the model scores all entities or none; dropout of scores that are no products.
    """
    rows = None if queries is None else queries.rows
    if dropout and (vectors is None or vectors.score != "dot"):
        raise ValueError(
            f"dropout={dropout} needs scores that are products of a query and a key, as those of "
            f"ComplEx or DistMult: {type(model).__name__} has others"
        )
    if vectors is None:
        return _model_fold(model, triples, side, ids, rows, mode)
    of_rows = vectors.queries(triples, side)
    asked = F.dropout(of_rows if rows is None else of_rows[rows], dropout, model.training)
    if dropout:
        of_rows = asked if queries is None else F.embedding(queries.of, asked)
    own, keys = vectors.keys(triples[:, COLUMN[side]]), vectors.keys(ids)
    if vectors.score == "dot":
        positive = (of_rows * own).sum(1)
        return Fold(positive, _product_sum(asked, keys), len(asked), len(ids))
    p = 1.0 if vectors.score == "l1" else 2.0

    def distances(columns: slice) -> Tensor:
        return -torch.cdist(asked, keys[columns], p=p)

    positive = -torch.linalg.vector_norm(of_rows - own, ord=p, dim=1)
    return Fold(positive, _tiled_sum(distances, len(asked), len(ids)), len(asked), len(ids))


def _power_norm(model: Model) -> bool:
    return bool(getattr(getattr(model, "interaction", None), "power_norm", False))


def _product_sum(
    queries: Tensor, keys: Tensor
) -> Callable[[float, float, Tensor, Exclude], Tensor]:
    def total(tau: float, beta: float, log_weight: Tensor, exclude: Exclude) -> Tensor:
        weight: TileWeight | None = KeyWeight(log_weight) if log_weight.numel() else None
        if beta:
            tilt = SimilarityWeight(lambda s: beta * s)
            weight = tilt if weight is None else weight + tilt
        return negative_logsumexp(queries, keys, tau=tau, log_weight=weight, exclude=exclude)

    return total


def _tiled_sum(
    scores: Callable[[slice], Tensor], rows: int, count: int, *, width: int = 1
) -> Callable[[float, float, Tensor, Exclude], Tensor]:
    """Sum over tiles of columns, each scored again in the backward pass.

    Args:
        scores: (rows, columns) scores of a slice of the candidates.
        rows: count of queries.
        count: count of candidates.
        width: numbers held for each score.
    """
    step = max(1, _PAIRS // max(1, rows * width))

    def total(tau: float, beta: float, log_weight: Tensor, exclude: Exclude) -> Tensor:
        hide = exclude.rows(0, rows)

        def part(first: int) -> Tensor:
            columns = slice(first, min(first + step, count))
            tile = scores(columns)
            logits = tile / tau
            if beta:
                logits = logits + beta * tile.detach()
            if log_weight.numel():
                logits = logits + log_weight[columns]
            logits = logits.clone()
            hide(logits, columns.start, columns.stop)
            return logits.logsumexp(1)

        if count <= step:
            return part(0)
        parts = [checkpoint(part, first, use_reentrant=False) for first in range(0, count, step)]
        return torch.stack(parts, 1).logsumexp(1)

    return total


def _model_fold(
    model: Model,
    triples: Tensor,
    side: Side,
    ids: Tensor,
    rows: Tensor | None,
    mode: InductiveMode | None,
) -> Fold:
    """Scores as the model itself gives them, for its own ids of (inverse) relations."""
    by_tail = side == "tail" or model.use_inverse_triples
    method: Callable[..., Tensor] = model.score_t if by_tail else model.score_h
    name = "tails" if by_tail else "heads"
    if name not in inspect.signature(method).parameters:
        raise ValueError(
            f"{type(model).__name__} cannot score some entities alone, which in-batch training "
            "needs; train it with training_loop='lcwa' or 'slcwa'"
        )
    whole = asked_triples(model, triples, side)
    asked = whole[:, :2] if by_tail else whole[:, 1:]
    own = model.score_hrt(whole, mode=mode)[:, 0]
    asked = asked if rows is None else asked[rows]

    def scores(columns: slice) -> Tensor:
        return method(asked, mode=mode, **{name: ids[columns]})

    # Most interactions hold a vector for each score.
    width = max((math.prod(e.shape) for e in _representations(model)), default=64)
    total = _tiled_sum(scores, len(asked), len(ids), width=width)
    return Fold(own, total, len(asked), len(ids))


def _representations(model: Model) -> list[Representation]:
    return list(getattr(model, "entity_representations", ()))
