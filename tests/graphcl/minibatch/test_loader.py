"""The loader: lengths, places and settings."""

from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphcl.minibatch import Batching, make_loader
from graphcl.minibatch.options import parse_fan_out


@pytest.mark.parametrize(
    "batching",
    [
        Batching("neighbor", 20, (2, 2)),
        Batching("cluster", 20, partition="bandwidth"),
        Batching("cluster", 20, partition="louvain", clusters=3),
    ],
)
def test_an_epoch_has_every_node_as_anchor_once(batching: Batching, graph: Data) -> None:
    loader = make_loader(graph, batching, seed=1)
    epochs = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader) == 3
        assert [batch.share for batch in batches] == [1.0] * 3
        epochs.append(torch.cat([batch.n_id[: batch.batch_size] for batch in batches]))
        assert epochs[-1].sort().values.tolist() == list(range(60))
    assert not torch.equal(*epochs)


def test_the_full_graph_is_one_batch_in_order(graph: Data) -> None:
    (batch,) = make_loader(graph, Batching())
    assert torch.equal(batch.n_id, torch.arange(60))
    assert batch.batch_size == 60
    halves = make_loader(graph, Batching(), processes=2)
    assert len(halves) == 1
    assert next(iter(halves)).batch_size == 30


def test_a_loader_continues_inside_of_an_epoch(graph: Data) -> None:
    batching = Batching("neighbor", 10, (2,))
    whole = make_loader(graph, batching)
    whole.set_epoch(3)
    wanted = [batch.e_id for batch in whole]
    broken = make_loader(graph, batching)
    broken.set_epoch(3)
    batches = iter(broken)
    for _ in range(2):
        next(batches)
    continued = make_loader(graph, batching)
    continued.load_state_dict(broken.state_dict())
    continued.set_epoch(3)
    found = [batch.e_id for batch in continued]
    assert len(found) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, wanted[2:], strict=True))
    assert whole.state_dict() == {"position": 0}  # the next epoch starts at its beginning


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loader": "random"}, "unknown loader 'random'; choose from full, neighbor, cluster"),
        ({"partition": "spectral"}, "unknown partition 'spectral'"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"fan_out": ()}, "fan_out needs"),
        ({"fan_out": (10, 0)}, r"fan_out needs .*, got \(10, 0\)"),
        ({"loader": "neighbor", "queue": -1}, "queue must not be negative, got -1"),
        ({"queue": 10}, "a queue of 10 has no effect on the full graph"),
        ({"loader": "cluster", "hard_every": 2}, "hard_every=2 .*, not of 'cluster'"),
        ({"loader": "neighbor", "momentum": 1.5}, r"--key-momentum\) must lie in .*, got 1.5"),
    ],
)
def test_settings_without_a_meaning(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batching(**options)


def test_fan_outs_are_read() -> None:
    assert parse_fan_out("10, 5,-1") == (10, 5, -1)
    with pytest.raises(ValueError, match="got 'ten'"):
        parse_fan_out("ten")


def test_a_pass_that_was_given_up_does_not_shorten_the_next(graph: Data) -> None:
    loader = make_loader(graph, Batching("neighbor", 8, (2,)))
    loader.set_epoch(0)
    next(iter(loader))
    loader.set_epoch(1)
    assert len(list(loader)) == len(loader)
