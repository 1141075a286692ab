import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.data.registry import DatasetInfo, dataset_info
from graphcl.data.validation import check_counts, validate_graph


def _graph(**changes: Any) -> Data:
    parts: dict[str, Any] = {
        "x": torch.ones(3, 2),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "y": torch.tensor([0, 1, 0]),
        "train_mask": torch.tensor([True, False, False]),
        "val_mask": torch.zeros(3, 20, dtype=torch.bool),
    }
    return Data(**(parts | changes))


def test_a_good_graph_passes() -> None:
    validate_graph(_graph(), "d")


def test_features_labels_and_edges_may_be_absent() -> None:
    validate_graph(Data(edge_index=torch.empty(2, 0, dtype=torch.int64), num_nodes=1), "d")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.tensor([[0.0], [float("nan")], [1.0]])}, "features of node 1 are not finite"),
        ({"x": torch.tensor([[0.0], [1.0], [float("-inf")]])}, "features of node 2 are not finite"),
        ({"x": torch.ones(3, 2, dtype=torch.float64)}, "x must be torch.float32 with 3 rows"),
        ({"x": torch.ones(4, 2), "num_nodes": 3}, "x must be torch.float32 with 3 rows"),
        ({"edge_index": torch.tensor([[0, 3], [3, 0]])}, r"name nodes 0\.\.3, but .* 0\.\.2"),
        ({"edge_index": torch.tensor([[0, -1], [-1, 0]])}, r"name nodes -1\.\.0"),
        ({"edge_index": torch.tensor([[0, 1]])}, "edge_index must be int64 of shape"),
        ({"edge_index": torch.zeros(2, 1, dtype=torch.int32)}, "edge_index must be int64"),
        ({"edge_index": None}, "edge_index must be int64"),
        ({"y": torch.tensor([0, -1, 1])}, "smallest label -1"),
        ({"y": torch.tensor([[0], [1], [1]])}, r"got shape \(3, 1\)"),
        ({"y": torch.tensor([0.0, 1.0, 0.0])}, "y must be torch.int64 with 3 rows"),
        ({"y": torch.tensor([0, 1])}, "y must be torch.int64 with 3 rows"),
        ({"train_mask": torch.tensor([1, 0, 0])}, "train_mask must be torch.bool"),
        ({"val_mask": torch.zeros(20, 3, dtype=torch.bool)}, "val_mask must be torch.bool with 3"),
        ({"stopping_mask": torch.zeros(2, dtype=torch.bool)}, "stopping_mask must be torch.bool"),
    ],
)
def test_a_malformed_graph_is_refused(changes: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        validate_graph(_graph(**changes), "some-name")
    assert "'some-name'" in str(caught.value)


def test_a_graph_without_nodes_is_refused() -> None:
    empty = Data(edge_index=torch.empty(2, 0, dtype=torch.int64), num_nodes=0)
    with pytest.raises(ValueError, match="'d' has no nodes"):
        validate_graph(empty, "d")


@pytest.fixture
def info() -> DatasetInfo:
    counts = {"nodes": 3, "edges": 2, "features": 2, "classes": 2}
    return dataclasses.replace(dataset_info("karate"), **counts)


def test_right_counts_pass(info: DatasetInfo) -> None:
    check_counts(_graph(), info)
    bare = Data(edge_index=_graph().edge_index, num_nodes=3)
    check_counts(bare, dataclasses.replace(info, features=0, classes=0))


@pytest.mark.parametrize("count", ["nodes", "edges", "features", "classes"])
def test_each_wrong_count_is_named(info: DatasetInfo, count: str) -> None:
    wrong = dataclasses.replace(info, **{count: 9})
    with pytest.raises(ValueError, match=rf"one: {count} \d instead of 9\. Its raw files"):
        check_counts(_graph(), wrong)
