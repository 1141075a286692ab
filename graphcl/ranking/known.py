"""Known triples: exact membership and the known answers of a query, by binary search."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from graphcl.kernels.exclusions import Exclude

_LARGEST = 2**63 - 1


class Answers(NamedTuple):
    """Known answers of B queries: those of query i are ``ids[ptr[i]:ptr[i + 1]]``, ascending."""

    ptr: Tensor
    ids: Tensor

    def where(self, mask: Tensor) -> Answers:
        """Those that ``mask``, one truth value for each id, keeps."""
        before = torch.zeros(len(mask) + 1, dtype=torch.int64, device=mask.device)
        torch.cumsum(mask, 0, out=before[1:])
        return Answers(before[self.ptr], self.ids[mask])

    def rows(self) -> Tensor:
        """The query of each id."""
        queries = torch.arange(len(self.ptr) - 1, device=self.ptr.device)
        return queries.repeat_interleave(self.ptr.diff())


class KnownTriples:
    """A set of (head, relation, tail) triples that answers in bulk, without Python containers.

    Triples are kept as sorted int64 keys: a pair of columns becomes its rank among the pairs that
    occur, so that no key comes near 2^63 even for billions of entities. Each of the three ways to
    ask (for tails, heads or relations) sorts the triples once, when first used.

    Args:
        triples: (n, 3) integer ids, in any order; repetitions are dropped.
        num_entities: count of entities; by default one more than the largest id.
        num_relations: count of relations, likewise.

    Raises:
        ValueError: wrong shape or dtype, an id out of range, or counts too large for int64 keys.

    Example:
        >>> import torch
        >>> known = KnownTriples(torch.tensor([[0, 0, 1], [0, 0, 2], [2, 0, 1]]))
        >>> known.tails(torch.tensor([0]), torch.tensor([0])).ids
        tensor([1, 2])
        >>> known.contains(torch.tensor([[2, 0, 1], [1, 0, 2]]))
        tensor([ True, False])
    """

    def __init__(
        self,
        triples: Tensor,
        *,
        num_entities: int | None = None,
        num_relations: int | None = None,
    ) -> None:
        if triples.dim() != 2 or triples.shape[1] != 3 or not _is_integer(triples):
            raise ValueError(
                f"triples must be integer ids of shape (n, 3), got {triples.dtype} of shape "
                f"{tuple(triples.shape)}"
            )
        triples = triples.detach().long()
        entities = triples[:, 0::2]
        self.num_entities = _count("entity", entities, num_entities)
        self.num_relations = _count("relation", triples[:, 1], num_relations)
        pairs = self.num_entities * max(self.num_entities, self.num_relations)
        seconds = len(triples) * max(self.num_entities, self.num_relations)
        if max(pairs, seconds) > _LARGEST:
            raise ValueError(
                f"{self.num_entities} entities, {self.num_relations} relations and "
                f"{len(triples)} triples are too many for int64 keys; renumber the ids densely"
            )
        first = _AnswerLists(
            triples[:, 0], triples[:, 1], triples[:, 2], self.num_relations, self.num_entities
        )
        self.triples = first.rows()
        """(n, 3) int64, without repetitions, in ascending order."""
        self._lists = {"tail": first}

    def __len__(self) -> int:
        return len(self.triples)

    def __repr__(self) -> str:
        return (
            f"KnownTriples({len(self)} triples, {self.num_entities} entities, "
            f"{self.num_relations} relations)"
        )

    @property
    def device(self) -> torch.device:
        """Where the triples lie, and queries must."""
        return self.triples.device

    def to(self, device: torch.device | str) -> KnownTriples:
        """The same set on ``device``."""
        if torch.device(device) == self.device:
            return self
        return KnownTriples(
            self.triples.to(device),
            num_entities=self.num_entities,
            num_relations=self.num_relations,
        )

    def union(self, *others: KnownTriples) -> KnownTriples:
        """Triples of any of the sets; ids must mean the same in all of them."""
        sets = (self, *others)
        return KnownTriples(
            torch.cat([one.triples.to(self.device) for one in sets]),
            num_entities=max(one.num_entities for one in sets),
            num_relations=max(one.num_relations for one in sets),
        )

    def contains(self, triples: Tensor) -> Tensor:
        """Whether each of (..., 3) triples is known, bool (...); unknown ids are not."""
        if triples.shape[-1:] != (3,) or not _is_integer(triples):
            raise ValueError(
                f"triples must be integer ids of shape (..., 3), got {triples.dtype} of shape "
                f"{tuple(triples.shape)}"
            )
        return self._answers("tail").contain(*triples.long().unbind(-1))

    def tails(self, heads: Tensor, relations: Tensor) -> Answers:
        """Known tails of B pairs (h, r)."""
        return self._answers("tail").of(heads, relations)

    def heads(self, relations: Tensor, tails: Tensor) -> Answers:
        """Known heads of B pairs (r, t)."""
        return self._answers("head").of(relations, tails)

    def relations(self, heads: Tensor, tails: Tensor) -> Answers:
        """Known relations between B pairs (h, t)."""
        return self._answers("relation").of(heads, tails)

    def answers(self, triples: Tensor, side: Literal["head", "tail", "relation"]) -> Answers:
        """Known answers of B queries, triples (B, 3) whose ``side`` is asked for."""
        head, relation, tail = triples.unbind(1)
        if side == "tail":
            return self.tails(head, relation)
        if side == "head":
            return self.heads(relation, tail)
        return self.relations(head, tail)

    def exclude_tails(
        self, heads: Tensor, relations: Tensor, *, keep: Tensor | None = None
    ) -> Exclude:
        """Exclude from each of B queries (h, r) its known tails, except its own ``keep`` (B,)."""
        return _exclude(self.tails(heads, relations), keep)

    def exclude_heads(
        self, relations: Tensor, tails: Tensor, *, keep: Tensor | None = None
    ) -> Exclude:
        """Exclude from each of B queries (r, t) its known heads, except its own ``keep`` (B,)."""
        return _exclude(self.heads(relations, tails), keep)

    def exclude_relations(
        self, heads: Tensor, tails: Tensor, *, keep: Tensor | None = None
    ) -> Exclude:
        """Exclude from each of B queries (h, t) its known relations, except its own ``keep``."""
        return _exclude(self.relations(heads, tails), keep)

    def _answers(self, wanted: str) -> _AnswerLists:
        if wanted not in self._lists:
            head, relation, tail = self.triples.unbind(1)
            if wanted == "head":
                lists = _AnswerLists(relation, tail, head, self.num_entities, self.num_entities)
            else:
                lists = _AnswerLists(head, tail, relation, self.num_entities, self.num_relations)
            self._lists[wanted] = lists
        return self._lists[wanted]


class _AnswerLists:
    """Sorted answers per pair of ids (a, b)."""

    def __init__(self, a: Tensor, b: Tensor, answer: Tensor, num_b: int, num_answers: int) -> None:
        self.num_b, self.num_answers = max(1, num_b), max(1, num_answers)
        self.pairs, rank = torch.unique(a * self.num_b + b, return_inverse=True)
        self.keys = torch.unique(rank * self.num_answers + answer)
        rank = self.keys.div(self.num_answers, rounding_mode="floor")
        self.answers = self.keys - rank * self.num_answers
        self.ptr = torch.searchsorted(rank, torch.arange(len(self.pairs) + 1, device=rank.device))

    def rows(self) -> Tensor:
        """The distinct (a, b, answer), ascending."""
        pair = self.pairs.repeat_interleave(self.ptr.diff())
        a = pair.div(self.num_b, rounding_mode="floor")
        return torch.stack((a, pair - a * self.num_b, self.answers), 1)

    def _find(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Rank of each pair, and whether it occurs."""
        pair = a * self.num_b + b
        # A b out of range would be the key of another pair; a is safe, as its key would not occur,
        # unless it is so large that the product wraps around.
        sane = (b >= 0) & (b < self.num_b) & (a >= 0) & (a <= _LARGEST // self.num_b - 1)
        return _search(self.pairs, pair, sane)

    def contain(self, a: Tensor, b: Tensor, answer: Tensor) -> Tensor:
        rank, sane = self._find(a, b)
        sane &= (answer >= 0) & (answer < self.num_answers)
        return _search(self.keys, rank * self.num_answers + answer, sane)[1]

    def of(self, a: Tensor, b: Tensor) -> Answers:
        if a.dim() != 1 or a.shape != b.shape or not (_is_integer(a) and _is_integer(b)):
            raise ValueError(
                "queries must be two integer tensors of shape (B,), got "
                f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
            )
        rank, occurs = self._find(a.long(), b.long())
        ptr = torch.zeros(len(a) + 1, dtype=torch.int64, device=a.device)
        if len(self.keys) == 0:
            return Answers(ptr, self.answers)
        start = self.ptr[rank]
        torch.cumsum((self.ptr[rank + 1] - start) * occurs, 0, out=ptr[1:])
        shift = (start - ptr[:-1]).repeat_interleave(ptr.diff())
        return Answers(ptr, self.answers[shift + torch.arange(len(shift), device=a.device)])


def _search(sorted_keys: Tensor, keys: Tensor, sane: Tensor) -> tuple[Tensor, Tensor]:
    """Place of each key (0 where absent), and whether it is there and ``sane``."""
    if len(sorted_keys) == 0:
        return torch.zeros_like(keys), torch.zeros_like(sane)
    place = torch.searchsorted(sorted_keys, keys.contiguous()).clamp_(max=len(sorted_keys) - 1)
    found = sane & (sorted_keys[place] == keys)
    return place * found, found


def _exclude(answers: Answers, keep: Tensor | None) -> Exclude:
    if keep is not None:
        count = len(answers.ptr) - 1
        if keep.shape != (count,):
            raise ValueError(
                f"keep must hold one id per query, ({count},), got {tuple(keep.shape)}"
            )
        answers = answers.where(answers.ids != keep[answers.rows()])
    return Exclude.csr(*answers)


def _is_integer(ids: Tensor) -> bool:
    return not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)


def _count(kind: str, ids: Tensor, count: int | None) -> int:
    low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, -1)
    if low < 0:
        raise ValueError(f"triples name {kind} {low}, but ids start at 0")
    if count is not None and high >= count:
        raise ValueError(f"triples name {kind} {high}, but there are {count}: ids run from 0")
    return high + 1 if count is None else int(count)
