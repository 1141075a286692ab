"""What every method on a homogeneous graph offers to a training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from graphcl.methods.preparation import Preparation


class GraphMethod(nn.Module, ABC):
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

    paper: ClassVar[str] = ""
    """Name, year and arXiv id of the paper."""

    def prepare(
        self, x: Tensor, edge_index: Tensor, preparation: Preparation | None = None
    ) -> None:
        """Called once before the first step; pre-training and first centres go here.

        Args:
            x: (N, F) node features.
            edge_index: (2, E) directed edges.
            preparation: seed, and where an interrupted preparation continues from.
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

    def after_step(self, step: int, total: int) -> None:
        """Called after optimiser step ``step`` (from 0) of ``total``; moving targets go here."""
