"""Graphs for tests of the methods."""

from collections.abc import Callable

import pytest
import torch
from torch_geometric.data import Data


def block_graph(
    nodes: int = 240,
    blocks: int = 3,
    *,
    inside: float = 0.1,
    outside: float = 0.02,
    features: int = 64,
    seed: int = 0,
) -> Data:
    """Stochastic block model with features of pure noise: only edges tell the blocks."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(nodes) % blocks
    joined = torch.rand(nodes, nodes, generator=generator) < torch.where(
        y[:, None] == y, inside, outside
    )
    joined = joined.triu(1)
    edge_index = (joined | joined.T).nonzero().T.contiguous()
    x = torch.randn(nodes, features, generator=generator)
    return Data(x=x, edge_index=edge_index, y=y)


def relabel(data: Data, order: torch.Tensor) -> Data:
    """The same graph with node ``order[i]`` renamed to ``i``."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return Data(x=data.x[order], edge_index=place[data.edge_index], y=data.y[order])


@pytest.fixture
def block_model() -> Callable[..., Data]:
    """Function that draws a stochastic block model."""
    return block_graph


@pytest.fixture
def relabelled() -> Callable[[Data, torch.Tensor], Data]:
    """Function that renames the nodes of a graph."""
    return relabel


@pytest.fixture
def graph() -> Data:
    """Small block model, with an isolated node at the end."""
    data = block_graph(30, inside=0.4, outside=0.05, features=12)
    return Data(x=torch.cat([data.x, torch.ones(1, 12)]), edge_index=data.edge_index)
