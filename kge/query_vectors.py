"""PyKEEN models that compare one query vector per question with one key vector per entity."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import torch
from pykeen.models import ERModel, Model
from pykeen.nn.modules import (
    ComplExInteraction,
    DistMultInteraction,
    Interaction,
    RotatEInteraction,
    TransEInteraction,
)
from pykeen.nn.representation import Representation
from torch import Tensor

from graphcl.kernels.ranks import Score
from graphcl.ranking.ranks import Side


class QueryRule(NamedTuple):
    """How an interaction turns an entity and a relation into a query vector.

    Attributes:
        score: how queries and keys are compared, see :func:`graphcl.kernels.rank_counts`.
        tail: query for tails from (B, D) heads and relations.
        head: query for heads from (B, D) tails and relations.
        relation: query for relations from (B, D) heads and tails; None where there is none.
    """

    score: Score
    tail: Callable[[Tensor, Tensor], Tensor]
    head: Callable[[Tensor, Tensor], Tensor]
    relation: Callable[[Tensor, Tensor], Tensor] | None = None


class QueryKeyModel:
    """The vectors of a model whose scores compare a query with a key.

    Complex vectors come as real ones of twice the width, real and imaginary parts side by side:
    neither the real part of a Hermitian product nor a Euclidean distance needs more. The keys of
    plain embeddings are a view of the parameters. Gradients flow.

    Attributes:
        model: the model itself.
        score: how queries and keys are compared. Only the order of the model's own scores is kept:
            powers of norms are not taken.
        entities: what represents the entities.
        relations: what represents the relations.
    """

    def __init__(self, model: ERModel[Any, Any, Any], rule: QueryRule) -> None:
        self.model: Model = model
        self._rule, self.score = rule, rule.score
        self.entities: Representation = model.entity_representations[0]
        self.relations: Representation = model.relation_representations[0]
        self._entity_rows: Callable[[Tensor], Tensor] = self.entities

    def with_entities(self, rows: Callable[[Tensor], Tensor]) -> QueryKeyModel:
        """The same model, whose queries take their entities' rows from ``rows(ids)``."""
        other = copy(self)
        other._entity_rows = rows
        return other

    def queries(self, triples: Tensor, side: Side) -> Tensor:
        """Queries (B, D) for the heads or tails of (B, 3) triples without inverse relations.

        A model trained with inverse relations is asked for tails of the inverse in place of heads.
        """
        heads, relations, tails = self.asked(triples, side).T
        if side == "tail" or self.model.use_inverse_triples:
            return self.tail_queries(heads, relations)
        return self.head_queries(relations, tails)

    def asked(self, triples: Tensor, side: Side) -> Tensor:
        """See :func:`asked_triples`."""
        return asked_triples(self.model, triples, side)

    def tail_queries(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Queries (B, D) for the tails of (h, r, ?), by the ids that the model itself uses."""
        return _as_real(self._rule.tail(self._entity_rows(heads), self.relations(relations)))

    def head_queries(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Queries (B, D) for the heads of (?, r, t), by the ids that the model itself uses."""
        return _as_real(self._rule.head(self._entity_rows(tails), self.relations(relations)))

    def relation_queries(self, heads: Tensor, tails: Tensor) -> Tensor | None:
        """Queries (B, D) for the relations of (h, ?, t), or None if no query compares them."""
        if self._rule.relation is None:
            return None
        return _as_real(self._rule.relation(self._entity_rows(heads), self._entity_rows(tails)))

    def keys(self, side: Side = "tail") -> Tensor:
        """Keys (E, D) of all entities; the same for both sides."""
        return self.as_key(self.entities(None))

    def as_key(self, rows: Tensor) -> Tensor:
        """Keys (n, D) from entities' rows, which may be complex."""
        return _as_real(rows)


def asked_triples(model: Model, triples: Tensor, side: Side) -> Tensor:
    """The (B, 3) triples by the ids that the model itself uses when asked for that side.

    With inverse relations, a question for heads is one for the tails of the inverse triple.
    """
    if side == "tail" or not model.use_inverse_triples:
        return model._prepare_batch(triples, index_relation=1)
    known = model._prepare_batch(triples[:, 1:], index_relation=0)
    inverse = model._prepare_inverse_batch(known, index_relation=0)
    return torch.cat([inverse, triples[:, :1].to(inverse.device)], 1)


def query_key_model(model: Model) -> tuple[QueryKeyModel | None, str]:
    """The model's query and key vectors if it has such, and the reason for the answer.

    DistMult, ComplEx, TransE (L1 and L2) and RotatE do, whatever represents their entities, as long
    as nothing in the model changes how scores come about. So does a model with a method
    ``query_key()`` that returns them.
    """
    own = getattr(model, "query_key", None)
    if own is not None and not model.predict_with_sigmoid:
        return own(), f"{type(model).__name__} compares queries and keys by itself"
    if not isinstance(model, ERModel):
        return None, f"{type(model).__name__} has no interaction of entity representations"
    changed = [name for name in _SCORING if _overrides(model, name)]
    if changed:
        return None, f"{type(model).__name__} has its own {changed[0]}"
    if model.predict_with_sigmoid:
        return None, "the sigmoid makes ties of large scores, so that it changes ranks"
    if len(model.entity_representations) != 1 or len(model.relation_representations) != 1:
        return None, "an entity or relation has several representations"
    name = type(model.interaction).__name__
    rule = _rule(model.interaction)
    if rule is None:
        return None, f"{name} is not a comparison of query and key vectors"
    entities, relations = model.entity_representations[0], model.relation_representations[0]
    if len(entities.shape) != 1 or entities.shape != relations.shape:
        return None, f"entities {entities.shape} and relations {relations.shape} differ in shape"
    first = torch.zeros(1, dtype=torch.int64, device=model.device)
    if isinstance(model.interaction, _COMPLEX):
        with torch.no_grad():  # so that a regulariser does not count it
            if not entities(first).is_complex():
                return None, f"{name} is used with real representations"
    return QueryKeyModel(model, rule), f"{name} compares queries and keys by {rule.score}"


_COMPLEX = (ComplExInteraction, RotatEInteraction)
# What of a model takes part in scoring all entities.
_SCORING = (
    "predict",
    "predict_h",
    "predict_t",
    "score_h",
    "score_t",
    "score_h_inverse",
    "_get_representations",
    "_get_entity_representations_from_inductive_mode",
    "_prepare_batch",
    "_prepare_inverse_batch",
)


def _overrides(model: ERModel[Any, Any, Any], name: str) -> bool:
    return name in vars(model) or getattr(type(model), name) is not getattr(ERModel, name)


def _rule(interaction: Interaction[Any, Any, Any]) -> QueryRule | None:
    kind = type(interaction)  # a subclass may compute anything
    if kind is DistMultInteraction:
        return QueryRule("dot", torch.mul, torch.mul, torch.mul)
    if kind is ComplExInteraction:
        return QueryRule("dot", torch.mul, _rotate_back, lambda head, tail: head.conj() * tail)
    if kind is RotatEInteraction:
        # PyKEEN takes the Euclidean norm of the complex difference, not the sum of moduli of the
        # paper, and rotates tails back by the conjugate, whatever the modulus of the relation.
        return QueryRule("l2", torch.mul, _rotate_back)
    if isinstance(interaction, TransEInteraction) and kind is TransEInteraction:
        norms: dict[float, Score] = {1: "l1", 2: "l2"}
        norm = norms.get(interaction.p)
        return None if norm is None else QueryRule(norm, torch.add, torch.sub, _difference)
    return None


def _difference(head: Tensor, tail: Tensor) -> Tensor:
    return tail - head


def _rotate_back(tail: Tensor, relation: Tensor) -> Tensor:
    return tail * relation.conj()


def _as_real(vectors: Tensor) -> Tensor:
    if not vectors.is_complex():
        return vectors
    return torch.view_as_real(vectors.resolve_conj()).flatten(-2)
