"""What every method offers to a training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data


class Method(nn.Module, ABC):
    """A self-supervised method as a training loop sees it: data, what is made of them, a loss."""

    paper: ClassVar[str] = ""
    """Name, year and arXiv id of the paper."""
    takes: ClassVar[type] = Data
    """Class of the data that the method is for."""

    @classmethod
    @abstractmethod
    def input_channels(cls, data: Any) -> Any:
        """First argument of the constructor, for these data."""

    @abstractmethod
    def prepare(self, data: Any, *, seed: int = 0) -> Any:
        """What the method reads of the data, made ready once before training; has ``to``.

        Args:
            data: the graph.
            seed: of what is drawn on the way.
        """

    @abstractmethod
    def training_loss(self, graph: Any) -> Tensor:
        """The loss of one step on prepared data, a scalar."""

    @abstractmethod
    def embeddings(self, graph: Any) -> Tensor:
        """Embeddings (N, D) of prepared data in evaluation mode, detached."""

    def after_step(self, step: int, total: int) -> None:
        """Called after optimiser step ``step`` (from 0) of ``total``; moving targets go here."""


class GraphMethod(Method):
    """A self-supervised method on one graph: call it for a loss, then :meth:`embed` the nodes.

    A plain loop::

        optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
        for step in range(epochs):
            method.train()
            optimizer.zero_grad()
            method(x, edge_index).backward()
            optimizer.step()
            method.after_step(step, epochs)
        z = method.embed(x, edge_index)

    Views are drawn from torch's global random generator.
    """

    @abstractmethod
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """The training loss of one step on freshly drawn views, a scalar.

        Args:
            x: (N, F) node features.
            edge_index: (2, E) directed edges; an undirected graph stores both directions.
        """

    @abstractmethod
    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embed the nodes of a graph as it is, (N, D), with gradients and in the current mode."""

    @torch.no_grad()
    def embed(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Node embeddings (N, D) of the unaugmented graph, in evaluation mode, detached."""
        training = self.training
        self.eval()
        try:
            return self.encode(x, edge_index)
        finally:
            self.train(training)

    @classmethod
    def input_channels(cls, data: Data) -> int:
        """Width F of the features."""
        return data.num_node_features

    def prepare(self, data: Data, *, seed: int = 0) -> Data:
        """The graph's features and edges."""
        if data.x is None:
            raise ValueError("the graph has no node features x; methods on nodes need them")
        return Data(x=data.x, edge_index=data.edge_index)

    def training_loss(self, graph: Data) -> Tensor:
        """See :meth:`Method.training_loss`."""
        loss: Tensor = self(graph.x, graph.edge_index)
        return loss

    def embeddings(self, graph: Data) -> Tensor:
        """See :meth:`Method.embeddings`."""
        assert graph.x is not None
        assert graph.edge_index is not None
        return self.embed(graph.x, graph.edge_index)
