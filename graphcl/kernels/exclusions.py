"""Which (query, key) pairs take no part in a sum or a ranking, without a dense mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

Hide = Callable[[Tensor, int, int], None]
"""``hide(tile, first_key, last_key)`` writes -inf over the excluded pairs of a tile in place."""


class Exclude(ABC):
    """Pairs (i, j) that take no part, given as ids or labels and evaluated inside a tile.

    Build one with :meth:`diagonal`, :meth:`csr` or :meth:`same_group`; ``a | b`` excludes the pairs
    of either. No (Q, K) mask is ever formed outside :meth:`dense`, which is for references and
    tests.

    Example:
        >>> import torch
        >>> Exclude.diagonal().dense(2, 3)
        tensor([[ True, False, False],
                [False,  True, False]])
    """

    symmetric: bool = False
    """Whether (i, j) is excluded exactly when (j, i) is, for queries that are the keys."""

    @staticmethod
    def diagonal(offset: int = 0) -> Exclude:
        """Exclude key ``i + offset`` for query ``i`` (a shard's own rows start at its offset)."""
        return DiagonalExclusion(offset)

    @staticmethod
    def csr(ptr: Tensor, index: Tensor) -> Exclude:
        """Exclude keys ``index[ptr[i]:ptr[i + 1]]`` for query ``i``.

        Args:
            ptr: (Q + 1,) int64, non-decreasing, from 0 to ``len(index)``.
            index: int64 key ids, in any order, repetitions allowed.
        """
        return CsrExclusion(ptr, index)

    @staticmethod
    def same_group(query_group: Tensor, key_group: Tensor) -> Exclude:
        """Exclude pairs whose int64 labels agree; a negative label belongs to no group.

        Args:
            query_group: (Q,) labels of the queries.
            key_group: (K,) labels of the keys.
        """
        return GroupExclusion(query_group, key_group)

    def __or__(self, other: Exclude) -> Exclude:
        """Exclude the pairs that either excludes."""
        if not isinstance(other, Exclude):
            return NotImplemented
        return UnionExclusion((self, other))

    @abstractmethod
    def check(self, num_queries: int, num_keys: int) -> None:
        """Raise ``ValueError`` when the exclusion does not fit (Q, K)."""

    @abstractmethod
    def to(self, device: torch.device) -> Exclude:
        """The same exclusion with its tensors on ``device``."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Hide:
        """Prepare queries ``start:stop``; the result hides their excluded pairs in one tile."""

    def dense(self, num_queries: int, num_keys: int) -> Tensor:
        """The (Q, K) boolean mask of excluded pairs: the definition, for references and tests."""
        self.check(num_queries, num_keys)
        tile = torch.zeros(num_queries, num_keys)
        self.rows(0, num_queries)(tile, 0, num_keys)
        return tile.isinf()


def check_exclusions(exclude: object) -> None:
    """Raise ``ValueError`` for what is neither None nor an :class:`Exclude`, such as a mask."""
    if exclude is not None and not isinstance(exclude, Exclude):
        raise ValueError(
            f"exclude must be an Exclude, got {type(exclude).__name__}: build one with "
            "Exclude.diagonal(), Exclude.same_group(query_group, key_group) or Exclude.csr(ptr, "
            "index)"
        )


class DiagonalExclusion(Exclude):
    """Key ``i + offset`` is hidden from query ``i``."""

    def __init__(self, offset: int) -> None:
        self.offset = int(offset)
        self.symmetric = self.offset == 0

    def check(self, num_queries: int, num_keys: int) -> None:
        """Any offset fits: pairs outside (Q, K) do not exist."""

    def to(self, device: torch.device) -> Exclude:
        """Holds no tensor."""
        return self

    def rows(self, start: int, stop: int) -> Hide:
        """See :meth:`Exclude.rows`."""

        def hide(tile: Tensor, first: int, last: int) -> None:
            shift = start + self.offset - first
            if -tile.shape[0] < shift < tile.shape[1]:
                tile.diagonal(shift).fill_(-torch.inf)

        return hide


class CsrExclusion(Exclude):
    """A list of hidden keys per query."""

    def __init__(self, ptr: Tensor, index: Tensor) -> None:
        if ptr.dim() != 1 or index.dim() != 1 or ptr.numel() == 0:
            raise ValueError(
                f"Exclude.csr needs 1-d ptr (Q + 1,) and index, got shapes {tuple(ptr.shape)} "
                f"and {tuple(index.shape)}"
            )
        if ptr.is_floating_point() or index.is_floating_point():
            raise ValueError(f"Exclude.csr needs integer ids, got {ptr.dtype} and {index.dtype}")
        ptr, index = ptr.long(), index.long()
        if ptr[0] != 0 or ptr[-1] != index.numel() or bool((ptr.diff() < 0).any()):
            raise ValueError(
                f"ptr must rise from 0 to len(index) = {index.numel()}, but starts at "
                f"{int(ptr[0])}, ends at {int(ptr[-1])}"
                + (" and decreases in between" if bool((ptr.diff() < 0).any()) else "")
            )
        self.ptr, self.index = ptr, index

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`Exclude.check`."""
        if self.ptr.numel() != num_queries + 1:
            raise ValueError(
                f"Exclude.csr describes {self.ptr.numel() - 1} queries, but there are {num_queries}"
            )
        if self.index.numel():
            low, high = int(self.index.min()), int(self.index.max())
            if low < 0 or high >= num_keys:
                bad = low if low < 0 else high
                raise ValueError(
                    f"Exclude.csr names key {bad}, but keys run from 0 to {num_keys - 1}"
                )

    def to(self, device: torch.device) -> Exclude:
        """See :meth:`Exclude.to`."""
        if self.index.device == device:
            return self
        return CsrExclusion(self.ptr.to(device), self.index.to(device))

    def rows(self, start: int, stop: int) -> Hide:
        """See :meth:`Exclude.rows`; the ids of the block are sorted once, then cut per tile."""
        ptr = self.ptr[start : stop + 1]
        begin, end = int(ptr[0]), int(ptr[-1])
        key, order = self.index[begin:end].sort()
        row = torch.arange(stop - start, device=key.device).repeat_interleave(ptr.diff())[order]

        def hide(tile: Tensor, first: int, last: int) -> None:
            low, high = torch.searchsorted(key, key.new_tensor([first, last])).tolist()
            if low < high:
                tile[row[low:high], key[low:high] - first] = -torch.inf

        return hide


class GroupExclusion(Exclude):
    """Pairs of one group are hidden."""

    def __init__(self, query_group: Tensor, key_group: Tensor) -> None:
        for name, group in (("query_group", query_group), ("key_group", key_group)):
            if group.dim() != 1 or group.is_floating_point():
                raise ValueError(
                    f"{name} must hold one integer label each, got shape {tuple(group.shape)} "
                    f"of {group.dtype}"
                )
        self.query_group, self.key_group = query_group, key_group
        self.symmetric = query_group is key_group

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`Exclude.check`."""
        got = (self.query_group.numel(), self.key_group.numel())
        if got != (num_queries, num_keys):
            raise ValueError(
                f"Exclude.same_group has {got[0]} and {got[1]} labels, but there are {num_queries} "
                f"queries and {num_keys} keys"
            )

    def to(self, device: torch.device) -> Exclude:
        """See :meth:`Exclude.to`."""
        if self.query_group.device == device and self.key_group.device == device:
            return self
        query_group = self.query_group.to(device)
        return GroupExclusion(
            query_group, query_group if self.symmetric else self.key_group.to(device)
        )

    def rows(self, start: int, stop: int) -> Hide:
        """See :meth:`Exclude.rows`."""
        own = self.query_group[start:stop, None]

        def hide(tile: Tensor, first: int, last: int) -> None:
            tile.masked_fill_((own == self.key_group[first:last]) & (own >= 0), -torch.inf)

        return hide


class UnionExclusion(Exclude):
    """Pairs hidden by any of several exclusions."""

    def __init__(self, parts: tuple[Exclude, ...]) -> None:
        self.parts = parts
        self.symmetric = all(part.symmetric for part in parts)

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`Exclude.check`."""
        for part in self.parts:
            part.check(num_queries, num_keys)

    def to(self, device: torch.device) -> Exclude:
        """See :meth:`Exclude.to`."""
        return UnionExclusion(tuple(part.to(device) for part in self.parts))

    def rows(self, start: int, stop: int) -> Hide:
        """See :meth:`Exclude.rows`."""
        hides = [part.rows(start, stop) for part in self.parts]

        def hide(tile: Tensor, first: int, last: int) -> None:
            for one in hides:
                one(tile, first, last)

        return hide
