import networkx as nx
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from graphcl.data import load_dataset
from graphcl.data.builtin_graphs import digits_graph


@pytest.fixture(autouse=True)
def _no_files_and_no_network(monkeypatch: pytest.MonkeyPatch, cache: object) -> None:
    import socket

    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("no network is needed here")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("k", [10, 1])
def test_digits_joins_each_image_to_its_nearest(k: int) -> None:
    data = digits_graph(k=k)
    images = load_digits().data
    distances = np.rint(cdist(images, images, "sqeuclidean"))
    np.fill_diagonal(distances, np.inf)
    expected = set()
    for i, nearest in enumerate(np.argsort(distances, axis=1, kind="stable")[:, :k].tolist()):
        expected |= {(i, j) for j in nearest} | {(j, i) for j in nearest}
    edges = [tuple(pair) for pair in data.edge_index.t().tolist()]
    assert len(edges) == len(set(edges))
    assert set(edges) == expected


def test_digits() -> None:
    data = load_dataset("Digits")
    assert data.x.shape == (1797, 64)
    assert data.x.dtype == torch.float32
    assert (float(data.x.min()), float(data.x.max())) == (0.0, 1.0)
    assert torch.equal(data.y, torch.from_numpy(load_digits().target).long())
    assert (data.name, data.num_classes) == ("digits", 10)
    assert data.is_undirected()
    assert not data.has_self_loops()
    assert int(data.edge_index[0].bincount().min()) >= 10
    assert torch.equal(data.edge_index, load_dataset("digits").edge_index)


@pytest.mark.parametrize("k", [0, -1, 1797])
def test_digits_refuses_impossible_k(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must be in 1\.\.1796, got {k}"):
        digits_graph(k=k)


def test_karate(cache: object) -> None:
    data = load_dataset("karate")
    expected = set(nx.karate_club_graph().to_directed().edges())
    assert {tuple(pair) for pair in data.edge_index.t().tolist()} == expected
    assert torch.equal(data.x, torch.eye(34))
    assert (data.name, data.num_classes, data.num_edges) == ("karate", 4, 156)
    assert "train_mask" not in data


def test_each_call_gives_its_own_graph() -> None:
    load_dataset("karate").y.zero_()
    assert int(load_dataset("karate").y.max()) == 3


def test_nothing_is_written(cache) -> None:
    load_dataset("karate", root=cache / "absent")
    assert not cache.exists()
