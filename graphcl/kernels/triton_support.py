"""What the Triton kernels can take, decided without loading Triton, and why when they cannot."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from graphcl.kernels.exclusions import (
    CsrExclusion,
    DiagonalExclusion,
    Exclude,
    GroupExclusion,
    UnionExclusion,
)
from graphcl.kernels.triton_expressions import Expression, Untranslatable, translate
from graphcl.kernels.weights import (
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
    WeightSum,
)

Precision = Literal["ieee", "tf32", "tf32x3"]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Unsupported(ValueError):
    """The Triton kernels cannot compute this; the message says why."""


@dataclass(frozen=True)
class WeightPlan:
    """Where each kind of weight keeps its tensors, as first positions among the parameters.

    Attributes:
        keys: positions of the (K,) log-weights, which are added up.
        group: position of a (G, H) table, followed by both labels; or None.
        low_rank: position of a query factor, followed by the key factor; or None.
        value: position of the similarity function's (Q,) value; or None.
        function: the function of the similarity; or None.
        feeds: whether gradients flow through that function into the similarity.
    """

    keys: tuple[int, ...] = ()
    group: int | None = None
    low_rank: int | None = None
    value: int | None = None
    function: Expression | None = None
    feeds: bool = False


def plan_weight(weight: TileWeight | None) -> WeightPlan:
    """Sort the parts of a weight by kind.

    Raises:
        Unsupported: two weights of one kind other than :class:`KeyWeight`, a similarity function
            beyond element-wise arithmetic, or a user's own weight.
    """
    parts = () if weight is None else weight.parts if isinstance(weight, WeightSum) else (weight,)
    keys: list[int] = []
    once: dict[type[TileWeight], int] = {}
    function, feeds, value, position = None, False, None, 0
    for part in parts:
        kind = type(part)
        if kind not in (KeyWeight, GroupWeight, LowRankWeight, SimilarityWeight):
            raise Unsupported(f"{kind.__name__} has no Triton form")
        if kind is not KeyWeight and kind in once:
            raise Unsupported(f"two {kind.__name__}s in one sum have no Triton form")
        if kind is KeyWeight:
            keys.append(position)
        once[kind] = position
        if isinstance(part, SimilarityWeight):
            try:
                function = translate(part.function, len(part.parameters) + 1)
            except Untranslatable as error:
                raise Unsupported(f"the SimilarityWeight has no Triton form: {error}") from error
            feeds = part.feeds_similarity
            value = position if part.parameters else None
        position += len(part.parameters)
    return WeightPlan(
        tuple(keys), once.get(GroupWeight), once.get(LowRankWeight), value, function, feeds
    )


@dataclass(frozen=True)
class ExclusionPlan:
    """An exclusion as at most one diagonal, one pair of labels and one sorted list of pairs."""

    offset: int | None = None
    groups: tuple[Tensor, Tensor] | None = None
    lists: tuple[tuple[Tensor, Tensor], ...] = ()
    """CSR offsets (Q + 1,) and key ids of each list."""

    def pairs(self, num_queries: int, num_keys: int, *, by_key: bool) -> tuple[Tensor, Tensor]:
        """Offsets and ascending ids of the listed pairs, rows being queries or keys."""
        codes = []
        for ptr, key in self.lists:
            query = torch.arange(num_queries, device=key.device).repeat_interleave(ptr.diff())
            codes.append(key * num_queries + query if by_key else query * num_keys + key)
        code = torch.cat(codes).unique()
        rows, width = (num_keys, num_queries) if by_key else (num_queries, num_keys)
        edges = torch.arange(rows + 1, device=code.device) * width
        return torch.searchsorted(code, edges), code % max(1, width)


def plan_exclusion(exclude: Exclude | None) -> ExclusionPlan:
    """Sort the parts of an exclusion by kind.

    Raises:
        Unsupported: two diagonals, two pairs of group labels, or a user's own exclusion.
    """
    offset, groups, lists = None, None, []
    for part in _exclusion_parts(exclude):
        if isinstance(part, CsrExclusion):
            lists.append((part.ptr, part.index))
        elif isinstance(part, DiagonalExclusion):
            if offset not in (None, part.offset):
                raise Unsupported("two different diagonals in one exclusion have no Triton form")
            offset = part.offset
        elif isinstance(part, GroupExclusion):
            if groups is not None:
                raise Unsupported("two group exclusions in one have no Triton form")
            groups = part.query_group, part.key_group
        else:
            raise Unsupported(f"{type(part).__name__} has no Triton form")
    return ExclusionPlan(offset, groups, tuple(lists))


def _exclusion_parts(exclude: Exclude | None) -> list[Exclude]:
    if exclude is None:
        return []
    if isinstance(exclude, UnionExclusion):
        return [inner for part in exclude.parts for inner in _exclusion_parts(part)]
    return [exclude]


def interpreting() -> bool:
    """Whether Triton runs in its interpreter, on the CPU: ``TRITON_INTERPRET=1``."""
    return os.environ.get("TRITON_INTERPRET", "0") in ("1", "true", "on", "yes", "y")


@lru_cache(maxsize=1)
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def missing(device: torch.device) -> str | None:
    """Why Triton cannot run on this device, or None."""
    if not _installed():
        return "Triton is not installed (pip install 'graphcl-kge[triton]')"
    if device.type != "cuda" and not interpreting():
        return f"Triton needs a CUDA device (or TRITON_INTERPRET=1), the tensors are on {device}"
    return None


def inexpressible(
    queries: Tensor, weight: TileWeight | None = None, exclude: Exclude | None = None
) -> str | None:
    """Why the kernels cannot compute a call, or None."""
    if queries.dtype not in DTYPES:
        return f"the Triton kernels accumulate in float32, the inputs are {queries.dtype}"
    try:
        plan_weight(weight)
        plan_exclusion(exclude)
    except Unsupported as error:
        return str(error)
    return None
