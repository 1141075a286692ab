"""What every method on a heterogeneous graph offers beyond a method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphcl.encoders.evaluating import evaluating
from graphcl.hetero.features import node_features, type_widths
from graphcl.hetero.inputs import HeteroInputs
from graphcl.metapaths.composition import MetaPath, PathLike, compose
from graphcl.methods.method import Method


class HeteroMethod(Method):
    """A self-supervised method that embeds the nodes of one type along meta-paths.

    A plain loop::

        method = MEOW(MEOW.input_channels(data), ["PAP", "PSP"])
        graph = method.prepare(data)
        optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
        for step in range(epochs):
            method.train()
            optimizer.zero_grad()
            method(graph).backward()
            optimizer.step()
            method.after_step(step, epochs)
        z = method.embed(graph)

    Masks are drawn from torch's global random generator.

    Args:
        in_channels: width of the features of each node type, see :meth:`input_channels`.
        metapaths: round trips of one node type, see :func:`~graphcl.metapaths.compose`.

    Raises:
        ValueError: no meta-path.
    """

    takes: ClassVar[type] = HeteroData

    def __init__(self, in_channels: Mapping[str, int], metapaths: Sequence[PathLike]) -> None:
        super().__init__()
        if not isinstance(in_channels, Mapping):
            raise ValueError(
                f"in_channels must give the width of each node type, got {in_channels!r}; use "
                f"{type(self).__name__}.input_channels(data)"
            )
        if isinstance(metapaths, str) or not metapaths:
            raise ValueError(f'metapaths must be a list such as ["PAP", "PSP"], got {metapaths!r}')
        self.in_channels, self.metapaths = dict(in_channels), list(metapaths)

    @classmethod
    def input_channels(cls, data: HeteroData) -> dict[str, int]:
        """Width of the features of each node type; a type without features has one-hot rows."""
        return type_widths(data)

    def paths(self, data: HeteroData) -> list[MetaPath]:
        """The meta-paths in a graph.

        Raises:
            ValueError: they do not compose, or are not round trips of one node type.
        """
        paths = [compose(data, path) for path in self.metapaths]
        for path in paths:
            path.check_round_trip()
            if path.types[0] != paths[0].types[0]:
                raise ValueError(
                    f"meta-paths start at {paths[0].types[0]!r} and at {path.types[0]!r}; all must "
                    "start at the type that is embedded"
                )
        return paths

    def features(self, data: HeteroData) -> dict[str, Tensor]:
        """Features of each type on the CPU, checked against the widths of the method.

        What is prepared goes back to the device of the data as a whole, see :meth:`place`.
        """
        found = {kind: node_features(data, kind).cpu() for kind in self.in_channels}
        for kind, x in found.items():
            if x.shape[1] != self.in_channels[kind]:
                raise ValueError(
                    f"features of {kind!r} are {x.shape[1]} wide, but the method was made for "
                    f"{self.in_channels[kind]}"
                )
        return found

    @staticmethod
    def place(data: HeteroData) -> torch.device:
        """Device of the graph: of its first edges."""
        return next(store.edge_index.device for store in data.edge_stores)

    @abstractmethod
    def prepare(self, data: HeteroData, *, seed: int = 0) -> HeteroInputs:
        """See :meth:`Method.prepare`."""

    @abstractmethod
    def forward(self, graph: HeteroInputs) -> Tensor:
        """The training loss of one step on freshly drawn masks, a scalar."""

    @abstractmethod
    def encode(self, graph: HeteroInputs) -> Tensor:
        """Embeddings (N, D) of the target nodes, with gradients and in the current mode."""

    def embed(self, graph: HeteroInputs) -> Tensor:
        """Embeddings (N, D) of the target nodes without masks, in evaluation mode, detached."""
        with evaluating(self):
            return self.encode(graph)

    def training_loss(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`Method.training_loss`."""
        loss: Tensor = self(graph)
        return loss

    def embeddings(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`Method.embeddings`."""
        return self.embed(graph)


def kept_neighbours(top_n: Any, count: int) -> tuple[int | None, ...]:
    """Numbers of neighbours kept along each meta-path, ``None`` for all.

    Raises:
        ValueError: one of them is below 1, or a list of another length.
    """
    numbers = per_path("top_n", top_n, count)
    for number in numbers:
        if number is not None and (not isinstance(number, Integral) or number < 1):
            raise ValueError(f"top_n must be an integer of at least 1, or None, got {number!r}")
    return tuple(None if number is None else int(number) for number in numbers)


def per_path(name: str, value: Any, count: int) -> tuple[Any, ...]:
    """One value for each meta-path: a list of them, or one that serves all.

    Raises:
        ValueError: a list of another length.
    """
    if isinstance(value, list | tuple):
        if len(value) != count:
            raise ValueError(f"{name} has {len(value)} values for {count} meta-paths: {value}")
        return tuple(value)
    return (value,) * count
