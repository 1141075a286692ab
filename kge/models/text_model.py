"""What models of texts have in common: a query vector for a question, a vector for each answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from pykeen.losses import CrossEntropyLoss, Loss
from pykeen.models import Model
from torch import Tensor, nn

from kge.models.text_vectors import TextVectors
from kge.query_vectors import QueryKeyModel

Rows = Callable[[Tensor], Tensor]


class TextModel(Model, ABC):
    """Scores (h, r, t) by the product of a query vector of (h, r) with a vector of t.

    Heads are asked for as tails of the inverse relation, so that the training triples must come
    with inverse ones. ``score_h``, which samplers use to corrupt heads of the relation itself,
    compares the queries of all heads with the one tail: the same score, at more expense.

    Attributes:
        entity_representations: the answers' vectors, one :class:`TextVectors`.

    Raises:
        ValueError: the triples have no inverse relations.
    """

    loss_default: ClassVar[type[Loss]] = CrossEntropyLoss
    loss_default_kwargs: ClassVar[dict[str, Any]] = {}
    needs_inverse_triples: ClassVar[bool] = True
    entity_representations: nn.ModuleList

    def __init__(self, *, triples_factory: Any, **kwargs: Any) -> None:
        if not triples_factory.create_inverse_triples:
            raise ValueError(
                f"{type(self).__name__} asks for heads as tails of inverse relations: give the "
                "data set create_inverse_triples=True (dataset_kwargs in pipeline)"
            )
        super().__init__(triples_factory=triples_factory, **kwargs)

    @property
    def entity_vectors(self) -> TextVectors:
        """Vectors of answers by id."""
        vectors = self.entity_representations[0]
        assert isinstance(vectors, TextVectors)
        return vectors

    @abstractmethod
    def queries(self, heads: Tensor, relations: Tensor, rows: Rows | None = None) -> Tensor:
        """Query vectors (..., D) of heads and relations whose shapes broadcast.

        Args:
            heads: entity ids.
            relations: ids of relations or inverse relations.
            rows: where to look up the entities' vectors, if the query is made of such.
        """

    def query_key(self) -> QueryKeyModel:
        """The model for :func:`kge.query_vectors.query_key_model`."""
        return _TextQueries(self)

    def score_hrt(self, hrt_batch: Tensor, *, mode: Any = None) -> Tensor:
        """Scores (B, 1) of (B, 3) triples."""
        _transductive(mode)
        heads, relations, tails = hrt_batch.unbind(1)
        queries = self.queries(heads, relations)
        return (queries * self.entity_vectors(tails)).sum(-1, keepdim=True)

    def score_t(
        self,
        hr_batch: Tensor,
        *,
        slice_size: int | None = None,
        mode: Any = None,
        tails: Tensor | None = None,
    ) -> Tensor:
        """Scores (B, P) of tails (P,) or (B, P), by default all, for (B, 2) heads and relations."""
        _transductive(mode)
        queries = self.queries(hr_batch[:, 0], hr_batch[:, 1])

        def some(ids: Tensor | None) -> Tensor:
            keys = self.entity_vectors(ids)
            return queries @ keys.T if keys.ndim == 2 else torch.einsum("bd,bpd->bp", queries, keys)

        return self._sliced(some, tails, slice_size, None)

    def score_h(
        self,
        rt_batch: Tensor,
        *,
        slice_size: int | None = None,
        mode: Any = None,
        heads: Tensor | None = None,
    ) -> Tensor:
        """Scores (B, P) of heads (P,) or (B, P), by default all, for (B, 2) relations and tails."""
        _transductive(mode)
        keys, relations = self.entity_vectors(rt_batch[:, 1]), rt_batch[:, :1]

        def some(ids: Tensor | None) -> Tensor:
            assert ids is not None
            return torch.einsum("bpd,bd->bp", self.queries(ids, relations), keys)

        return self._sliced(some, heads, slice_size, self.num_entities)

    def score_r(
        self,
        ht_batch: Tensor,
        *,
        slice_size: int | None = None,
        mode: Any = None,
        relations: Tensor | None = None,
    ) -> Tensor:
        """Scores (B, P) of relations (P,) or (B, P), by default all, for (B, 2) heads and tails."""
        _transductive(mode)
        keys, heads = self.entity_vectors(ht_batch[:, 1]), ht_batch[:, :1]

        def some(ids: Tensor | None) -> Tensor:
            assert ids is not None
            return torch.einsum("bpd,bd->bp", self.queries(heads, ids), keys)

        return self._sliced(some, relations, slice_size, self.num_relations)

    def _sliced(
        self,
        some: Callable[[Tensor | None], Tensor],
        ids: Tensor | None,
        size: int | None,
        count: int | None,
    ) -> Tensor:
        """Scores of all ids, ``size`` at a time; all of ``count`` where none are given."""
        if ids is None and (size or count):
            ids = torch.arange(count or self.num_entities, device=self.device)
        if ids is None or not size:
            return some(ids)
        return torch.cat([some(part) for part in ids.split(size, dim=-1)], -1)

    def collect_regularization_term(self) -> Tensor:
        """Nothing is regularised."""
        return torch.zeros((), device=self.device)

    def post_parameter_update(self) -> None:
        """Called after each step: vectors that were kept are out of date."""
        for part in self.modules():
            if isinstance(part, TextVectors):
                part.post_parameter_update()

    def _get_entity_len(self, *, mode: Any = None) -> int:
        _transductive(mode)
        return self.num_entities


class _TextQueries(QueryKeyModel):
    """Queries of a text model, which may read the entities' texts anew, and its keys."""

    def __init__(self, model: TextModel) -> None:
        self.model, self.score, self.entities = model, "dot", model.entity_vectors
        self._text_model, self._entity_rows = model, model.entity_vectors

    def tail_queries(self, heads: Tensor, relations: Tensor) -> Tensor:
        return self._text_model.queries(heads, relations, self._entity_rows)

    def head_queries(self, relations: Tensor, tails: Tensor) -> NoReturn:
        raise NotImplementedError("heads are asked for as tails of the inverse relation")


def _transductive(mode: Any) -> None:
    if mode is not None:
        raise ValueError(f"models of texts have no inductive mode, got {mode!r}")
