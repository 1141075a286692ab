"""What every method offers to a training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.encoders.evaluating import evaluating
from graphcl.losses.pool import CandidatePool
from graphcl.methods.finite import check_finite, check_finite_once
from graphcl.methods.preparation import Preparation


class Method(nn.Module, ABC):
    """A self-supervised method as a training loop sees it: data, what is made of them, a loss."""

    paper: ClassVar[str] = ""
    """Name, year and arXiv id of the paper."""
    takes: ClassVar[type] = Data
    """Class of the data that the method is for."""
    uses_candidates: ClassVar[bool] = False
    """Whether :meth:`seed_loss` contrasts anchors with candidates, so that a queue has a use."""
    rests_parameters: ClassVar[bool] = False
    """Whether some parameters get no gradient in some steps, which several processes must know."""
    steps_per_epoch: int = 1
    """Optimiser steps in which every node is an anchor once; the training loop sets it."""

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

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """The training loss of a part of the graph: the first ``batch_size`` nodes are the anchors.

        A batch whose anchors are all nodes gives what :meth:`forward` gives for the whole graph.
        Methods that have this form define it; see :meth:`takes_batches`.

        Args:
            batch: a subgraph with ``x``, ``edge_index``, global node ids ``n_id``, places of its
                edges in the whole graph ``e_id``, and ``batch_size``.
            pool: candidates beyond the batch, for methods with negatives.

        Raises:
            ValueError: the method has no such form.
        """
        raise ValueError(f"{type(self).__name__} trains on the full graph only: loader='full'")

    @classmethod
    def takes_batches(cls) -> bool:
        """Whether :meth:`seed_loss` belongs to :meth:`forward`.

        A class that replaces ``forward`` alone has no mini-batch form: its parent's is another
        loss.
        """
        owners = {
            name: next(owner for owner in cls.__mro__ if name in vars(owner))
            for name in ("forward", "seed_loss")
        }
        defined = owners["seed_loss"] is not Method
        return defined and issubclass(owners["seed_loss"], owners["forward"])

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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """:meth:`forward`, for features that are looked at once for each new tensor.

        Raises:
            ValueError: features that are not (N, F), dense or CSR, or hold NaN or infinity.
        """
        x = args[0] if args else kwargs.get("x")
        if isinstance(x, Tensor):
            check_finite_once(x)
        return super().__call__(*args, **kwargs)

    @abstractmethod
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """The training loss of one step on freshly drawn views, a scalar.

        Args:
            x: (N, F) node features.
            edge_index: (2, E) directed edges; an undirected graph stores both directions.
        """

    def pretrain(
        self, x: Tensor, edge_index: Tensor, preparation: Preparation | None = None
    ) -> None:
        """Called once before the first step; pre-training and first centres go here.

        Args:
            x: (N, F) node features.
            edge_index: (2, E) directed edges.
            preparation: seed, and where an interrupted preparation continues from.
        """

    def know_whole_graph(self, x: Tensor, edge_index: Tensor) -> None:
        """Called with the whole graph before training on parts of it, after a restart as well."""

    @abstractmethod
    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Embed the nodes of a graph as it is, (N, D), with gradients and in the current mode."""

    def embed(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Node embeddings (N, D) of the unaugmented graph, in evaluation mode, detached."""
        check_finite_once(x)
        with evaluating(self):
            return self.encode(x, edge_index)

    @classmethod
    def input_channels(cls, data: Data) -> int:
        """Width F of the features."""
        return data.num_node_features

    def prepare(self, data: Data, *, seed: int = 0) -> Data:
        """The graph's features and edges.

        Raises:
            ValueError: no nodes, no features, no edge_index, or features that are not finite.
        """
        if data.x is None:
            raise ValueError("the graph has no node features x; methods on nodes need them")
        if data.edge_index is None:
            raise ValueError(
                "the graph has no edge_index; without edges it is torch.empty(2, 0).long()"
            )
        if not data.x.shape[0]:
            raise ValueError(f"the graph has no nodes: x has shape {tuple(data.x.shape)}")
        check_finite(data.x)
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
