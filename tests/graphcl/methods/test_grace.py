from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphcl.losses import InfoNCE
from graphcl.methods import GRACE
from graphcl.views import drop_edges, mask_features


@pytest.mark.parametrize("projection", [None, 3])  # a narrow head takes a short cut
def test_forward_is_the_loss_of_two_projected_views(projection: int | None, graph: Data) -> None:
    rates = {"drop_edge": (0.2, 0.5), "mask_feature": (0.1, 0.6)}
    method = GRACE(12, 8, projection=projection, tau=0.3, **rates)
    torch.manual_seed(7)
    loss = method(graph.x, graph.edge_index)
    torch.manual_seed(7)
    projected = []
    for drop, mask in ((0.2, 0.1), (0.5, 0.6)):
        edges = drop_edges(graph.edge_index, drop)
        projected.append(method.head(method.encoder(mask_features(graph.x, mask), edges)))
    wanted = InfoNCE(0.3)(*projected)
    torch.testing.assert_close(loss, wanted)
    weights = list(method.parameters())
    gradients = (torch.autograd.grad(value, weights) for value in (loss, wanted))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_nothing_dropped_and_nothing_masked_gives_equal_views(graph: Data) -> None:
    method = GRACE(12, 8, drop_edge=(0, 0), mask_feature=(0, 0))
    for which in (0, 1):
        x, edges = method.view(graph.x, graph.edge_index, which)
        assert torch.equal(x, graph.x)
        assert torch.equal(edges, graph.edge_index)
    everything = GRACE(12, 8, drop_edge=(1, 1), mask_feature=(1, 1))
    x, edges = everything.view(graph.x, graph.edge_index, 0)
    assert not x.any()
    assert edges.shape == (2, 0)


def test_undirected_views_keep_both_directions(graph: Data) -> None:
    def directions_agree(**options: Any) -> bool:
        method = GRACE(12, 8, drop_edge=(0.5, 0.5), **options)
        kept = {(int(u), int(v)) for u, v in method.view(graph.x, graph.edge_index, 0)[1].T}
        return kept == {(v, u) for u, v in kept}

    assert directions_agree(undirected_views=True)
    assert not directions_agree()


def test_widths() -> None:
    method = GRACE(12, 8, projection=5, layers=3)
    assert method.encoder.channels == (16, 16, 8)
    assert [m.out_features for m in method.head.modules() if isinstance(m, nn.Linear)] == [5, 8]
    assert method.loss.tau == 0.5


def test_another_loss(graph: Data) -> None:
    class Difference(nn.Module):
        def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
            return (z1 - z2).square().mean()

    method = GRACE(12, 8, loss=Difference(), drop_edge=(0, 0), mask_feature=(0, 0))
    assert method(graph.x, graph.edge_index).item() == pytest.approx(0, abs=1e-12)


def test_temperature_reaches_the_loss() -> None:
    with pytest.raises(ValueError, match="tau must be positive"):
        GRACE(12, 8, tau=0.0)
