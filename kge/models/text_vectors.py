"""Vectors of entities or relations that are computed from texts, as PyKEEN representations."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pykeen.nn.representation import Representation
from torch import Tensor, nn

from kge.models.text_sources import Source

_State = tuple[tuple[int, int], ...]


class TextVectors(Representation):
    """Rows of a source, finished by a module (a projection, say); each id is computed once a call.

    In evaluation, when all rows are asked for, they are computed ``chunk`` at a time and kept until
    a parameter changes.

    Args:
        source: vectors by id.
        finish: from (n, source.width) to (n, dim).
        count: how many ids there are.
        dim: width of the result.
        chunk: rows computed at once.
    """

    def __init__(
        self, source: Source, finish: nn.Module, *, count: int, dim: int, chunk: int = 256
    ) -> None:
        super().__init__(max_id=count, shape=dim, unique=True)
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        self.source, self.finish, self.chunk = source, finish, chunk
        self._table: Tensor | None = None
        self._state: _State = ()

    def _plain_forward(self, indices: Tensor | None = None) -> Tensor:
        settled = not self.training and not torch.is_grad_enabled()
        if settled and self._table is not None and self._state == self._now():
            return self._table if indices is None else self._table[indices]
        if indices is None:
            table = self._rows(torch.arange(self.max_id, device=next(self._tensors()).device))
            if settled:
                self._table, self._state = table, self._now()
            return table
        return self._rows(indices)

    def post_parameter_update(self) -> None:
        """Forget the kept rows."""
        self._table = None

    def _rows(self, ids: Tensor) -> Tensor:
        return torch.cat([self.finish(self.source(part)) for part in ids.split(self.chunk)])

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.parameters()
        yield from self.buffers()

    def _now(self) -> _State:
        """Changes whenever a parameter is replaced or written to."""
        return tuple((one.data_ptr(), one._version) for one in self._tensors())
