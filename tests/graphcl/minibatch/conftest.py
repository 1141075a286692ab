"""A graph whose batches can be checked by hand."""

import pytest
import torch
from torch_geometric.data import Data


@pytest.fixture
def graph() -> Data:
    """Random directed graph of 60 nodes; the feature of a node is its id; node 59 is isolated."""
    generator = torch.Generator().manual_seed(0)
    edge_index = (torch.rand(59, 59, generator=generator) < 0.1).nonzero().T
    edge_index = edge_index[:, torch.randperm(edge_index.shape[1], generator=generator)]
    return Data(x=torch.arange(60.0)[:, None] + torch.zeros(1, 2), edge_index=edge_index)
