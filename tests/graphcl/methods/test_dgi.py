import math

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from graphcl.methods import DGI


def test_zero_discriminator_gives_log_two(graph: Data) -> None:
    method = DGI(12, 8)
    torch.nn.init.zeros_(method.bilinear)
    assert method(graph.x, graph.edge_index).item() == pytest.approx(math.log(2))


def test_forward_is_cross_entropy_of_true_and_shuffled_nodes(graph: Data) -> None:
    method = DGI(12, 8)
    torch.manual_seed(5)
    loss = method(graph.x, graph.edge_index)
    torch.manual_seed(5)
    order = torch.randperm(31)
    true = method.encoder(graph.x, graph.edge_index)
    false = method.encoder(graph.x[order], graph.edge_index)
    summary = 1 / (1 + (-true.mean(0)).exp())
    logits = torch.einsum("nd,de,e->n", torch.cat([true, false]), method.bilinear, summary)
    target = (torch.arange(62) < 31).float()
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target))


def test_learns_to_tell_the_graph_from_its_shuffle(graph: Data) -> None:
    method = DGI(12, 16)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss = method(graph.x, graph.edge_index)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5


def test_one_layer_of_the_asked_width() -> None:
    method = DGI(12, 8)
    assert method.encoder.channels == (8,)
    assert method.bilinear.shape == (8, 8)
