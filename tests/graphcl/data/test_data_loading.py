from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid

from graphcl.data import dataset_info, load_dataset

pytestmark = pytest.mark.real_data


@pytest.fixture
def load(
    data_root: Path, cache: Path, snapshot: Callable[[Path], dict[str, tuple[int, int]]]
) -> Callable[[str, str], Data]:
    """Load a dataset, check what holds for all of them, and that its folder is untouched."""

    def load_from(name: str, folder: str) -> Data:
        before = snapshot(data_root / folder)
        data = load_dataset(name, data_root)
        assert snapshot(data_root / folder) == before
        info = dataset_info(name)
        assert (data.name, data.num_nodes, data.num_edges) == (info.name, info.nodes, info.edges)
        assert data.edge_index.dtype == torch.int64
        assert data.is_undirected()
        assert not data.has_self_loops()
        assert data.edge_index.unique(dim=1).size(1) == data.num_edges
        if info.classes:
            assert data.x.dtype == torch.float32
            assert data.x.shape == (info.nodes, info.features)
            assert data.y.dtype == torch.int64
            assert data.y.unique().tolist() == list(range(info.classes))
            assert data.num_classes == info.classes
        return data

    return load_from


@pytest.mark.parametrize(
    ("name", "folder", "train", "isolated"),
    [("cora", "Planetoid/Cora", 140, 0), ("CiteSeer", "Planetoid/CiteSeer", 120, 48)],
)
def test_planetoid(
    load: Callable[[str, str], Data],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    folder: str,
    train: int,
    isolated: int,
) -> None:
    data = load(name, folder)
    masks = [data.train_mask, data.val_mask, data.test_mask]
    assert [int(mask.sum()) for mask in masks] == [train, 500, 1000]
    assert int(torch.stack(masks).sum(dim=0).max()) == 1
    assert data.y[data.train_mask].bincount().tolist() == [20] * data.num_classes
    degree = data.edge_index[0].bincount(minlength=data.num_nodes)
    assert int((degree == 0).sum()) == isolated
    assert [p.parent for p in cache.rglob("data.pt")] == list((cache / "processed").iterdir())

    def refuse(self: object) -> None:
        raise AssertionError("processed twice")

    monkeypatch.setattr(Planetoid, "process", refuse)
    again = load(name, folder)
    assert all(torch.equal(again[key], data[key]) for key in ("x", "edge_index", "y", "val_mask"))


def test_amazon_photo(load: Callable[[str, str], Data]) -> None:
    data = load("amazon-photo", "Amazon")
    assert data.x.unique().tolist() == [0.0, 1.0]
    assert "train_mask" not in data


def test_dblp_citation(load: Callable[[str, str], Data]) -> None:
    load("dblp-citation", "CitationFull/dblp")


@pytest.mark.parametrize("name", ["usps", "acm-cluster", "citeseer-cluster"])
def test_clustering_graphs_keep_feature_values(
    load: Callable[[str, str], Data], data_root: Path, cache: Path, name: str
) -> None:
    stem = name.removesuffix("-cluster")
    data = load(name, f"GraphClustering/{stem}")
    with np.load(data_root / "GraphClustering" / stem / f"{stem}.npz", allow_pickle=False) as npz:
        stored = npz["attr_data"]
        assert np.array_equal(np.sort(data.x[data.x != 0].numpy()), np.sort(stored[stored != 0]))
        assert np.array_equal(data.y.numpy(), npz["labels"])
    if name == "usps":
        assert len(data.x.unique()) > 100
    assert not cache.exists()


@pytest.mark.parametrize(("name", "stem"), [("usair", "USAir"), ("ns", "NS"), ("power", "Power")])
def test_link_prediction_graphs_are_the_original_matrices(
    load: Callable[[str, str], Data], data_root: Path, cache: Path, name: str, stem: str
) -> None:
    data = load(name, f"LinkPrediction/{stem}")
    net = scipy.io.loadmat(data_root / "LinkPrediction" / stem / f"{stem}.mat")["net"].tocoo()
    assert data.num_nodes == net.shape[0]
    pairs = set(zip(net.row.tolist(), net.col.tolist(), strict=True))
    assert {tuple(pair) for pair in data.edge_index.t().tolist()} == pairs
    assert data.x is None
    assert data.y is None
    assert "num_classes" not in data
    assert not cache.exists()


def test_incomplete_pubmed_is_refused(
    data_root: Path,
    cache: Path,
    snapshot: Callable[[Path], dict[str, tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (data_root / "Planetoid/PubMed/raw/ind.pubmed.allx").exists():
        pytest.skip("PubMed is complete here")

    def refuse(self: object) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(Planetoid, "download", refuse)
    before = snapshot(data_root / "Planetoid" / "PubMed")
    with pytest.raises(FileNotFoundError, match=r"missing or empty: ind\.pubmed\.allx\.") as caught:
        load_dataset("pubmed", data_root)
    assert str(data_root / "Planetoid" / "PubMed" / "raw") in str(caught.value)
    assert "'pubmed' is incomplete" in str(caught.value)
    assert snapshot(data_root / "Planetoid" / "PubMed") == before
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_root_defaults_to_the_environment(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHCL_DATA", str(data_root))
    assert load_dataset("USAir").num_nodes == 332
