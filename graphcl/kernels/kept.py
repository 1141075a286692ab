"""What was derived from tensors, kept while equal tensors are passed."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Kept(Generic[T]):
    """A value, and what it was derived from.

    It is not part of a pickle, which would hold the graph: an unpickled one is of no sources.
    Copies of a module share it. Changes that torch does not count (of tensors made in inference
    mode, by ``.data`` or by numpy) go unseen.

    Args:
        value: what is kept.
        sources: tensors and other things, told apart by equality. Of the same tensor only the
            count of its changes in place is compared.

    Example:
        >>> import torch
        >>> edges = torch.tensor([[0], [1]])
        >>> degrees = Kept(edges.flatten().bincount(), edges)
        >>> degrees.is_of(edges), degrees.is_of(edges.clone()), degrees.is_of(edges.flip(0))
        (True, True, False)
        >>> degrees.is_of(edges.fill_(0))
        False
    """

    def __init__(self, value: T, *sources: object) -> None:
        self.value, self.sources = value, sources
        self._versions = [version(source) for source in sources]

    def is_of(self, *sources: object) -> bool:
        """Whether the value belongs to these sources."""
        return len(sources) == len(self.sources) and all(
            version(its) == then and _equal(mine, its)
            for mine, its, then in zip(sources, self.sources, self._versions, strict=True)
        )

    def __deepcopy__(self, memo: Any) -> Kept[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (None,)


def _equal(mine: object, its: object) -> bool:
    if mine is its:
        return True
    if not isinstance(mine, Tensor) or not isinstance(its, Tensor):
        return type(mine) is type(its) and mine == its
    kinds = [(one.shape, one.dtype, one.device, one.layout) for one in (mine, its)]
    if kinds[0] != kinds[1]:
        return False
    if mine.layout not in (torch.strided, torch.sparse_csr):
        return False
    return all(map(torch.equal, dense_parts(mine), dense_parts(its)))


def dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """What a dense or CSR tensor is stored in."""
    if tensor.layout == torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return (tensor,)


def version(source: object) -> int:
    """How often a tensor was changed in place; 0 for what has no count."""
    if not isinstance(source, Tensor) or source.is_inference():
        return 0
    return source._version
