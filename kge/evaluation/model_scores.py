"""Scores of any PyKEEN model, for the candidates asked for and no others, and what they cost."""

from __future__ import annotations

import inspect
import math
from typing import Any, Literal, NamedTuple

import torch
from pykeen.models import Model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphcl.ranking.ranks import Side

InductiveMode = Literal["training", "validation", "testing"]
Sides = Literal["both", "head", "tail"]


class ScoreCost(NamedTuple):
    """What it takes to score triples against all candidates.

    Attributes:
        rows: triples to be scored.
        columns: candidates of each.
        bytes_per_pair: upper bound of the memory for one (triple, candidate) pair.
        sliceable: whether some candidates can be scored without the others.
    """

    rows: int
    columns: int
    bytes_per_pair: float
    sliceable: bool

    def chunk(self, allowed: int) -> tuple[int, int]:
        """Triples and candidates at once, for ``allowed`` bytes; at least one of each."""
        pairs = max(1, int(allowed / self.bytes_per_pair))
        columns = self.columns
        if self.sliceable:
            columns = min(columns, 2 * math.isqrt(pairs) + 1)
        return max(1, min(self.rows, pairs // columns)), columns


class ModelScores:
    """Scores triples with one side replaced by each candidate, by the model's own predictions.

    Calling it with (B, 3) triples, a side and (C,) candidate ids gives (B, C) scores.

    Args:
        model: any PyKEEN model.
        mode: the mode of an inductive model.
    """

    def __init__(self, model: Model, mode: InductiveMode | None = None) -> None:
        self.model, self.mode = model, mode

    def selects(self, side: Side) -> bool:
        """Whether the model can score some entities alone; baselines always score all."""
        by_tail = side == "tail" or self.model.use_inverse_triples
        method = self.model.score_t if by_tail else self.model.score_h
        return ("tails" if by_tail else "heads") in inspect.signature(method).parameters

    def __call__(self, triples: Tensor, side: Side, candidates: Tensor) -> Tensor:
        """Scores (B, C) of (B, 3) triples with ``side`` replaced by each of (C,) candidates."""
        if self.selects(side):
            return self.model.predict(triples, side, ids=candidates, mode=self.mode)
        scores = self.model.predict(triples, side, mode=self.mode)
        return scores.index_select(1, candidates.to(scores.device)).to(triples.device)

    def cost(self, triples: Tensor, sides: Sides, num_entities: int) -> ScoreCost:
        """What ranking (n, 3) triples costs, found out by scoring one or two of them."""
        ranked: list[Side] = ["head", "tail"] if sides == "both" else [sides]
        return ScoreCost(
            rows=len(triples),
            columns=num_entities,
            bytes_per_pair=max(self._bytes_per_pair(triples, s, num_entities) for s in ranked),
            sliceable=all(self.selects(side) for side in ranked),
        )

    def _bytes_per_pair(self, triples: Tensor, side: Side, num_entities: int) -> float:
        """Memory for one more pair; what is allocated on the way counts as if never freed."""
        ids = torch.arange(num_entities, device=triples.device)
        if not self.selects(side):
            few, more = triples[:1], triples[:1].expand(2, 3)
            grown = self._allocated(more, side, ids) - self._allocated(few, side, ids)
            return max(grown, 1) / num_entities
        count = max(1, min(16, num_entities // 2))
        rows = triples[:1].expand(2, 3)
        few_ids, more_ids = ids[:count], ids[: 2 * count]
        grown = self._allocated(rows, side, more_ids) - self._allocated(rows, side, few_ids)
        return max(grown, 1) / (2 * count)

    def _allocated(self, triples: Tensor, side: Side, candidates: Tensor) -> int:
        with _Allocations() as allocations:
            self(triples, side, candidates)
        return allocations.bytes


class _Allocations(TorchDispatchMode):
    """Adds up the memory of all tensors that are created."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = {_storage(one) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and _storage(one) not in given:
                self.bytes += one.numel() * one.element_size()
        return result


def _storage(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # a sparse tensor has none
        return id(tensor)
