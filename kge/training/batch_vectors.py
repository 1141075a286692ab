"""The vectors of a query-key model for one batch, each entity looked up once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kge.query_vectors import QueryKeyModel
from kge.sides import Side

if TYPE_CHECKING:  # PyKEEN may be half loaded when this module is registered with it
    from collections.abc import Iterator

    from pykeen.nn.representation import Representation


class BatchVectors:
    """Queries and keys of a batch, from one look-up of all entities that it names.

    The gradient of a look-up has the size of all entities, so that one is much cheaper than one
    for each use. Penalties on the entities see what queries are made of, not the candidates.

    Args:
        vectors: of the model in training.
        ids: entities that will be asked for by id, repetitions allowed.
        every: whether :meth:`keys` will be asked for all entities as well.
    """

    def __init__(self, vectors: QueryKeyModel, ids: Tensor, *, every: bool = False) -> None:
        self.model, self.score = vectors.model, vectors.score
        representation = vectors.entities
        ids = self._ids = ids.unique()
        with _unregularised(representation):
            self._every = representation(None) if every else None
            self._table = representation(ids) if self._every is None else _rows(self._every, ids)
        self._penalty = representation.regularizer
        self._vectors = vectors.with_entities(self._facts)

    def queries(self, triples: Tensor, side: Side) -> Tensor:
        """See :meth:`kge.query_vectors.QueryKeyModel.queries`."""
        return self._vectors.queries(triples, side)

    def asked(self, triples: Tensor, side: Side) -> Tensor:
        """See :meth:`kge.query_vectors.QueryKeyModel.asked`."""
        return self._vectors.asked(triples, side)

    def factors(self, triples: Tensor, side: Side) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (B, d) of heads, relations and tails as a side is asked for; no penalty sees them.

        With inverse relations, asking for heads means the factors of the inverse triples.
        """
        heads, relations, tails = self.asked(triples, side).T
        with _unregularised(self._vectors.relations):
            return self._rows(heads), self._vectors.relations(relations), self._rows(tails)

    def relation_queries(self, triples: Tensor, side: Side) -> Tensor | None:
        """See :meth:`kge.query_vectors.QueryKeyModel.relation_queries`; no penalty sees them."""
        heads, _, tails = self.asked(triples, side).T
        return self._vectors.with_entities(self._rows).relation_queries(heads, tails)

    def relation_keys(self) -> Tensor:
        """Keys (R, D) of all relations by the model's own ids, inverse ones among them."""
        relations = self._vectors.relations
        # Looked up, so that a gradient of rows stays one.
        every = torch.arange(relations.max_id, device=self._table.device)
        with _unregularised(relations):
            return self._vectors.as_key(relations(every))

    def keys(self, ids: Tensor) -> Tensor:
        """Keys (n, D) of (n,) entities; all of them, in their order, are not copied."""
        if self._every is not None and len(ids) == len(self._every):
            return self._vectors.as_key(self._every)
        return self._vectors.as_key(self._rows(ids))

    def _facts(self, ids: Tensor) -> Tensor:
        rows = self._rows(ids)
        if self._penalty is not None:
            self._penalty.update(rows)
        return rows

    def _rows(self, ids: Tensor) -> Tensor:
        return _rows(self._table, torch.searchsorted(self._ids, ids.contiguous()))


def _rows(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table, which may be complex."""
    if not table.is_complex():
        return F.embedding(ids, table)
    pairs = torch.view_as_real(table).flatten(1)
    return torch.view_as_complex(F.embedding(ids, pairs).unflatten(1, (-1, 2)))


@contextmanager
def _unregularised(representation: Representation) -> Iterator[None]:
    """Within, what is looked up adds nothing to the regularisation term."""
    parts: list[Any] = [
        part for part in representation.modules() if getattr(part, "regularizer", None)
    ]
    kept = [part.regularizer for part in parts]
    for part in parts:
        part.regularizer = None
    try:
        yield
    finally:
        for part, regularizer in zip(parts, kept, strict=True):
            part.regularizer = regularizer
