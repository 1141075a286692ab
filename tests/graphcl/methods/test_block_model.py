"""A graph whose labels only the edges tell: what is learned, and that node numbers say nothing."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.methods import BGRL, GCA, GRACE, GraphMethod
from graphcl.probes import Split, linear_probe, make_split

SEEDS = range(3)


def train(method: GraphMethod, data: Data, epochs: int = 60) -> GraphMethod:
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    for step in range(epochs):
        method.train()
        optimizer.zero_grad()
        method(data.x, data.edge_index).backward()
        optimizer.step()
        method.after_step(step, epochs)
    return method


def accuracy(method: GraphMethod, data: Data, splits: list[Split]) -> float:
    z = method.embed(data.x, data.edge_index)
    found = [linear_probe(z, data.y, split).accuracy for split in splits]
    return sum(found) / len(found)


@pytest.mark.parametrize(
    "build",
    [
        partial(GRACE, hidden=32),
        partial(GCA, hidden=32),
        partial(BGRL, channels=(64, 32), predictor=64),
    ],
    ids=["grace", "gca", "bgrl"],
)
def test_training_finds_the_blocks(
    build: Callable[[int], GraphMethod], block_model: Callable[..., Data]
) -> None:
    before, after = [], []
    for seed in SEEDS:
        data = block_model(seed=seed)
        splits = [make_split(data, "random10", seed=s) for s in SEEDS]
        torch.manual_seed(seed)
        method = build(64)
        before.append(accuracy(method, data, splits))
        after.append(accuracy(train(method, data), data, splits))
    untrained, trained = sum(before) / len(before), sum(after) / len(after)
    assert trained > 0.6  # chance is 1/3
    assert trained > untrained + 0.08


def moved_split(split: Split, order: Tensor) -> Split:
    """The same nodes after ``order[i]`` was renamed to ``i``."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    parts = (place[part] for part in (split.train, split.validation, split.test))
    return Split(split.protocol, *parts, split.seed)


def test_renaming_nodes_changes_no_result_beyond_noise(
    block_model: Callable[..., Data], relabelled: Callable[[Data, Tensor], Data]
) -> None:
    found: dict[str, list[float]] = {"as it is": [], "renamed": [], "other noise": []}
    for seed in range(4):
        data = block_model(seed=seed)
        split = make_split(data, "random10", seed=seed)
        order = torch.randperm(240, generator=torch.Generator().manual_seed(seed))
        renamed = relabelled(data, order), moved_split(split, order)
        for name, graph, nodes, draw in (
            ("as it is", data, split, seed),
            ("renamed", *renamed, seed),
            ("other noise", data, split, 100 + seed),
        ):
            torch.manual_seed(draw)
            found[name].append(accuracy(train(GRACE(64, 32), graph), graph, [nodes]))
    mean = {name: sum(values) / len(values) for name, values in found.items()}
    noise = abs(mean["as it is"] - mean["other noise"])
    assert mean["as it is"] > 0.7
    assert abs(mean["as it is"] - mean["renamed"]) < max(0.06, 2 * noise)
