"""What was derived from tensors, kept while the same tensors are passed unchanged."""

from __future__ import annotations

from typing import Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class Kept(Generic[T]):
    """A value, and what it was derived from.

    Args:
        value: what is kept.
        sources: tensors, told apart by identity and by whether they were changed in place since,
            and other things, told apart by equality.

    Example:
        >>> import torch
        >>> edges = torch.tensor([[0], [1]])
        >>> degrees = Kept(edges.flatten().bincount(), edges)
        >>> degrees.is_of(edges), degrees.is_of(edges.clone())
        (True, False)
        >>> degrees.is_of(edges.fill_(0))
        False
    """

    def __init__(self, value: T, *sources: object) -> None:
        self.value, self._sources = value, sources
        self._versions = [version(source) for source in sources]

    def is_of(self, *sources: object) -> bool:
        """Whether the value belongs to these sources."""
        return len(sources) == len(self._sources) and all(
            (mine is its if isinstance(its, Tensor) else mine == its) and version(its) == then
            for mine, its, then in zip(self._sources, sources, self._versions, strict=True)
        )


def version(source: object) -> int:
    """How often a tensor was changed in place; 0 for what cannot be."""
    if not isinstance(source, Tensor) or source.is_inference():
        return 0
    return source._version
