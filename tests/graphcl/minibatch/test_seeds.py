"""Every node once per epoch, whoever asks and whenever."""

import pytest
import torch

from graphcl.minibatch import SeedOrder
from graphcl.minibatch.seeds import stream_seed


@pytest.mark.parametrize(
    ("nodes", "size", "processes"),
    [(10, 3, 1), (10, 10, 1), (11, 4, 2), (100, 7, 3), (5, 2, 1), (7, 2, 3), (6, 1000, 3)],
)
def test_every_node_is_an_anchor_once(nodes: int, size: int, processes: int) -> None:
    order = SeedOrder(nodes, size, seed=4, processes=processes)
    places = [(step, process) for step in range(order.steps) for process in range(processes)]
    for epoch in (0, 1):
        pieces = [order.seeds(epoch, *place) for place in places]
        assert torch.cat(pieces).sort().values.tolist() == list(range(nodes))
        sizes = [len(piece) for piece in pieces]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2
        # One more than asked for only where a smaller batch would have a single seed.
        assert max(sizes) <= max(size, 3)
    for step in range(order.steps):
        shares = [order.share(step, process) for process in range(processes)]
        assert sum(shares) == pytest.approx(processes)
        sizes = [len(order.seeds(0, step, process)) for process in range(processes)]
        assert shares == pytest.approx([s * processes / sum(sizes) for s in sizes])


def test_orders_are_a_function_of_seed_and_epoch() -> None:
    first = SeedOrder(50, 10, seed=1)
    second = SeedOrder(50, 10, seed=1)
    orders = [first.order(epoch) for epoch in range(4)]
    assert torch.equal(second.order(3), orders[3])
    assert torch.equal(second.order(0), orders[0])
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(SeedOrder(50, 10, seed=2).order(0), orders[0])
    assert torch.equal(SeedOrder(50, 10, shuffle=False).order(5), torch.arange(50))
    # Two processes share the batch that one process would have.
    pair = SeedOrder(50, 5, seed=1, processes=2)
    joined = torch.cat([pair.seeds(2, 1, 0), pair.seeds(2, 1, 1)])
    assert torch.equal(joined, first.seeds(2, 1))


def test_nodes_of_one_label_follow_each_other() -> None:
    order = SeedOrder(60, 10, seed=0)
    label = torch.arange(60) % 5 * 7 - 3
    order.regroup(label)
    orders = [order.order(epoch) for epoch in range(6)]
    for found in orders:
        assert found.sort().values.tolist() == list(range(60))
        assert len(torch.unique_consecutive(label[found])) == 5
    assert len({tuple(torch.unique_consecutive(label[o]).tolist()) for o in orders}) > 1
    order.regroup(None)
    assert len(torch.unique_consecutive(label[order.order(0)])) > 5


def test_streams_are_apart() -> None:
    found = {stream_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(found) == 512
    assert stream_seed(1, 23) != stream_seed(12, 3)


def test_too_few_nodes_and_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="3 nodes are too few for 2 processes"):
        SeedOrder(3, 2, processes=2)
    with pytest.raises(ValueError, match="there are 4 nodes, but labels have shape"):
        SeedOrder(4, 2).regroup(torch.zeros(3))
