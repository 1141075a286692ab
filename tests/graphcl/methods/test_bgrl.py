import math
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from graphcl.methods import BGRL

STILL: dict[str, Any] = {"drop_edge": (0.0, 0.0), "mask_feature": (0.0, 0.0)}


def shifted(method: BGRL) -> BGRL:
    """A target that differs from the online encoder, in weights and in statistics."""
    with torch.no_grad():
        for tensor in (*method.target.parameters(), *method.target.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    return method


def test_target_starts_as_a_copy_and_shares_nothing() -> None:
    method = BGRL(12, (16, 8))
    online, target = method.encoder.state_dict(), method.target.state_dict()
    assert online.keys() == target.keys()
    for name, tensor in online.items():
        assert torch.equal(tensor, target[name])
        assert tensor.data_ptr() != target[name].data_ptr()


@pytest.mark.parametrize("total", [7, 1])
def test_target_follows_the_closed_form_of_a_moving_average(total: int) -> None:
    method = shifted(BGRL(12, (16, 8), momentum=0.9))
    start = [p.detach().clone() for p in method.target.parameters()]
    kept = 1.0
    for step in range(total):
        method.after_step(step, total)
        kept *= 1 - 0.1 * (math.cos(math.pi * step / total) + 1) / 2
    # Constant online weights w: w + (start - w) * product of momenta.
    for now, first, online in zip(
        method.target.parameters(), start, method.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(now, online + (first - online) * kept)
    assert kept < 1


@pytest.mark.parametrize(("momentum", "moves"), [(1.0, False), (0.0, True)])
def test_momentum_one_keeps_the_target_and_zero_replaces_it(momentum: float, moves: bool) -> None:
    method = shifted(BGRL(12, (16, 8), momentum=momentum))
    start = [p.detach().clone() for p in method.target.parameters()]
    method.after_step(0, 100)
    wanted = list(method.encoder.parameters()) if moves else start
    for now, want in zip(method.target.parameters(), wanted, strict=True):
        torch.testing.assert_close(now, want.detach())


def test_buffers_are_copied(graph: Data) -> None:
    method = shifted(BGRL(12, (16, 8)))
    method.train()
    method(graph.x, graph.edge_index)
    method.after_step(0, 10)
    online, target = dict(method.encoder.named_buffers()), dict(method.target.named_buffers())
    assert online
    assert online.keys() == target.keys()
    for name, buffer in online.items():
        assert torch.equal(buffer, target[name])
        assert buffer.data_ptr() != target[name].data_ptr()
    assert int(target["norms.0.num_batches_tracked"]) == 2  # one per view


def test_momentum_rises_from_its_start_to_one() -> None:
    method = BGRL(12, momentum=0.99)
    values = [method.momentum_at(step, 100) for step in range(101)]
    assert values[0] == pytest.approx(0.99)
    assert values[50] == pytest.approx(0.995)
    assert values[100] == pytest.approx(1.0)
    assert values == sorted(values)
    assert method.momentum_at(0, 0) == pytest.approx(0.99)


def test_target_gets_no_gradient_and_no_optimiser_step(graph: Data) -> None:
    method = BGRL(12, (16, 8))
    assert not any(p.requires_grad for p in method.target.parameters())
    before = [p.clone() for p in method.target.parameters()]
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=0.1)
    method(graph.x, graph.edge_index).backward()
    optimizer.step()
    assert all(p.grad is None for p in method.target.parameters())
    for now, first in zip(method.target.parameters(), before, strict=True):
        assert torch.equal(now, first)
    assert all(p.grad is not None for p in method.predictor.parameters())


def test_identity_predictor_with_equal_encoders_and_views_has_no_loss(graph: Data) -> None:
    method = BGRL(12, (16, 8), **STILL)
    method.predictor = nn.Identity()
    assert method(graph.x, graph.edge_index).item() == pytest.approx(0, abs=1e-6)
    assert shifted(method)(graph.x, graph.edge_index).item() > 1e-4


def test_loss_lies_between_zero_and_four(graph: Data) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        assert 0 <= BGRL(12, (16, 8))(graph.x, graph.edge_index).item() <= 4


def test_each_view_is_predicted_from_the_other(graph: Data) -> None:
    """With one empty view, the two terms are told apart by hand."""
    method = shifted(BGRL(12, (16, 8), drop_edge=(0.0, 1.0), mask_feature=(0.0, 0.0)))
    empty = torch.empty(2, 0, dtype=torch.long)
    loss = method(graph.x, graph.edge_index)
    p1 = method.predictor(method.encoder(graph.x, graph.edge_index))
    p2 = method.predictor(method.encoder(graph.x, empty))
    t1, t2 = method.target(graph.x, graph.edge_index), method.target(graph.x, empty)
    cosine = nn.CosineSimilarity()
    wanted = 2 - cosine(p1, t2).mean() - cosine(p2, t1).mean()
    torch.testing.assert_close(loss, wanted)


def test_embedding_is_the_online_encoders(graph: Data) -> None:
    method = shifted(BGRL(12, (16, 8))).eval()
    z = method.embed(graph.x, graph.edge_index)
    assert torch.equal(z, method.encoder(graph.x, graph.edge_index))
    assert not torch.allclose(z, method.target(graph.x, graph.edge_index))


@pytest.mark.parametrize("momentum", [-0.1, 1.1, math.nan])
def test_momentum_out_of_range(momentum: float) -> None:
    with pytest.raises(ValueError, match=f"momentum must lie in \\[0, 1\\], got {momentum}"):
        BGRL(12, momentum=momentum)
