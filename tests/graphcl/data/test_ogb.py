"""OGB's data sets from files in OGB's own formats: those of DatasetSaver and the released CSV."""

import gzip
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphcl.data import load_dataset, registry
from graphcl.links import Neighbourhoods
from graphcl.probes import linear_probe, link_probe, make_split, official_links
from graphcl.ranking.ogb_files import import_ogb, ogb_facts, quiet_ogb
from graphcl.train import run_experiment

N = 40
Known = Callable[..., None]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Says how large a data set is, in place of the published counts."""

    def say(name: str, **counts: int) -> None:
        monkeypatch.setitem(
            registry.DATASETS, name, replace(registry.DATASETS[name], nodes=N, **counts)
        )

    return say


def edges(seed: int = 0, count: int = 60) -> np.ndarray:
    pairs = np.stack(np.triu_indices(N, 1))
    return np.random.default_rng(seed).permutation(pairs, axis=1)[:, :count]


def saved(
    root: Path, name: str, graph: dict[str, Any], split: dict[str, Any], labels: Any = None
) -> Path:
    """Folder written by ogb's DatasetSaver, brought to where ogb's loaders keep it."""
    with quiet_ogb():
        saver = import_ogb("ogb.io").DatasetSaver(name, False, 1, str(root / "submission"))
        saver.save_graph_list([graph])
        if labels is not None:
            saver.save_target_labels(labels)
        saver.save_split(split, ogb_facts(name)["split"])
    folder = root / name.replace("-", "_")
    Path(saver.dataset_dir).rename(folder)
    return folder


def arxiv(root: Path) -> dict[str, Any]:
    draw = np.random.default_rng(1)
    order = draw.permutation(N)
    found = {
        "graph": {
            "edge_index": edges(),
            "num_nodes": N,
            "node_feat": draw.standard_normal((N, 3)).astype(np.float32),
            "node_year": draw.integers(2000, 2020, (N, 1)),
        },
        "labels": np.arange(N)[:, None] % 4,
        "split": {"train": order[:20], "valid": order[20:30], "test": order[30:]},
    }
    saved(root, "ogbn-arxiv", **found)
    return found


def test_nodes_as_dataset_saver_writes_them(root: Path, cache: Path, known: Known) -> None:
    made = arxiv(root)
    known("ogbn-arxiv", edges=60, features=3, classes=4)
    for _ in range(2):  # from the raw files, then from the cache
        data = load_dataset("ogbn-arxiv", root)
        assert data.edge_index.shape == (2, 120)
        graph = Neighbourhoods(torch.from_numpy(made["graph"]["edge_index"]), N)
        assert torch.equal(data.edge_index, graph.edge_index)
        assert torch.equal(data.x, torch.from_numpy(made["graph"]["node_feat"]))
        assert torch.equal(data.y, torch.arange(N) % 4)
        assert torch.equal(data.node_year, torch.from_numpy(made["graph"]["node_year"])[:, 0])
        assert data.num_classes == 4
        split = make_split(data, "ogb")
        for found, part in zip(
            (split.train, split.validation, split.test), made["split"].values(), strict=True
        ):
            assert found.tolist() == sorted(part)
    assert len(list(cache.glob("processed/ogbn-arxiv-*/data.pt"))) == 1
    perfect = torch.eye(4)[data.y]
    result = linear_probe(perfect, data.y, split)
    assert (result.accuracy, result.protocol) == (1.0, "ogb")


def test_products_as_released(root: Path, cache: Path, known: Known) -> None:
    folder, pairs = root / "ogbn_products", edges()
    draw = np.random.default_rng(0)
    x = draw.standard_normal((N, 2)).astype(np.float32)
    order = draw.permutation(N)
    tables = {
        "raw/edge": pairs.T,
        "raw/node-feat": x,
        "raw/node-label": np.arange(N)[:, None] % 3,
        "raw/num-node-list": [[N]],
        "raw/num-edge-list": [[pairs.shape[1]]],
        "split/sales_ranking/train": order[:10, None],
        "split/sales_ranking/valid": order[10:15, None],
        "split/sales_ranking/test": order[15:, None],
    }
    for name, rows in tables.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    known("ogbn-products", edges=120, features=2, classes=3)
    data = load_dataset("ogbn-products", root)
    assert torch.equal(data.edge_index[:, ::2], torch.from_numpy(pairs))
    assert torch.equal(data.edge_index[:, 1::2], torch.from_numpy(pairs).flip(0))
    assert torch.equal(data.x, torch.from_numpy(x))
    assert make_split(data, "ogb").sizes == (10, 5, 25)
    whole = (folder / "raw" / "node-label.csv.gz").read_bytes()
    (folder / "raw" / "node-label.csv.gz").write_bytes(whole[:-12])
    with pytest.raises(ValueError, match=r"ogbn_products.* is incomplete or damaged"):
        load_dataset("ogbn-products", root)
    (folder / "raw" / "node-label.csv.gz").write_bytes(whole)
    (folder / "split/sales_ranking/valid.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match="lacks the parts valid"):
        load_dataset("ogbn-products", root)
    (folder / "raw" / "num-edge-list.csv.gz").unlink()
    with pytest.raises(ValueError, match=r"ogbn_products.raw is incomplete or damaged"):
        load_dataset("ogbn-products", root)


def link_split(count: int = 60) -> dict[str, dict[str, np.ndarray]]:
    held = edges(5).T
    away = np.random.default_rng(2).integers(N, size=(50, 2))
    return {
        "train": {"edge": edges(0, count).T},
        "valid": {"edge": held[:20], "edge_neg": away[:30]},
        "test": {"edge": held[20:], "edge_neg": away[30:]},
    }


def both_ways(pairs: np.ndarray) -> np.ndarray:
    return np.stack([pairs, pairs[::-1]], axis=2).reshape(2, -1)


@pytest.mark.parametrize("name", ["ogbl-collab", "ogbl-ppa", "ogbl-ddi"])
def test_links_with_shared_negatives(name: str, root: Path, cache: Path, known: Known) -> None:
    split = link_split()
    graph: dict[str, Any] = {"edge_index": both_ways(edges()), "num_nodes": N}
    if name == "ogbl-collab":
        graph["edge_year"] = np.arange(120)[:, None]
        split["train"] |= {"year": np.arange(60), "weight": np.ones(60, dtype=np.int64)}
    if name != "ogbl-ddi":
        graph["node_feat"] = np.eye(N)[:, :5].astype(np.int64)
    saved(root, name, graph, split)
    known(name, edges=120, features=0 if name == "ogbl-ddi" else 5)
    data = load_dataset(name, root)
    assert data.metric == ogb_facts(name)["eval metric"]
    assert torch.equal(data.edge_index, torch.from_numpy(graph["edge_index"]))
    links = official_links(data)
    assert links is not None
    assert torch.equal(links.train, torch.from_numpy(split["train"]["edge"].T))
    for part, where in (("valid", "validation"), ("test", "test")):
        assert torch.equal(getattr(links, where), torch.from_numpy(split[part]["edge"].T))
        away = torch.from_numpy(split[part]["edge_neg"].T)
        assert torch.equal(getattr(links, f"{where}_negatives"), away)
    if name == "ogbl-collab":
        assert data.edge_year.tolist() == list(range(120))
        assert data.train_year.tolist() == list(range(60))
    assert 0 <= link_probe(torch.randn(N, 4), links).auc <= 1


def test_citations_with_negatives_of_their_own(root: Path, cache: Path, known: Known) -> None:
    pairs, draw = edges(), np.random.default_rng(3)
    split: dict[str, Any] = {}
    for part, at in {"train": slice(60), "valid": slice(10), "test": slice(10, 22)}.items():
        source, target = (pairs if part == "train" else edges(7))[:, at]
        split[part] = {"source_node": source, "target_node": target}
        if part != "train":
            split[part]["target_node_neg"] = draw.integers(N, size=(len(source), 9))
    x = draw.standard_normal((N, 4)).astype(np.float32)
    graph = {"edge_index": pairs, "num_nodes": N, "node_feat": x}
    saved(root, "ogbl-citation2", graph, split)
    known("ogbl-citation2", edges=60, features=4)
    data = load_dataset("ogbl-citation2", root)
    assert data.edge_index.shape == (2, 120)
    assert torch.equal(data.train_pairs, torch.from_numpy(pairs))
    assert data.valid_neg_targets.tolist() == split["valid"]["target_node_neg"].tolist()
    links = official_links(data)
    assert links is not None
    assert links.metric == data.metric == "mrr"
    found = link_probe(data.x, links, score="dot")
    scores = data.x @ data.x.T
    source, target = data.test_pairs
    theirs = (
        import_ogb("ogb.linkproppred")
        .Evaluator("ogbl-citation2")
        .eval(
            {
                "y_pred_pos": scores[source, target].double(),
                "y_pred_neg": scores[source[:, None], data.test_neg_targets.long()].double(),
            }
        )
    )
    assert found.mrr == pytest.approx(float(theirs["mrr_list"].double().mean()), abs=1e-12)
    assert found.hits == {}


def test_other_counts_are_named(root: Path, cache: Path, known: Known) -> None:
    arxiv(root)
    known("ogbn-arxiv", edges=61, features=3, classes=4)
    with pytest.raises(ValueError, match="edges 60 instead of 61"):
        load_dataset("ogbn-arxiv", root)


def test_the_memory_is_told_before_loading(
    root: Path, cache: Path, known: Known, caplog: pytest.LogCaptureFixture
) -> None:
    arxiv(root)
    known("ogbn-arxiv", edges=60, features=3, classes=4)
    with caplog.at_level(logging.INFO, "graphcl.ranking.ogb_files"):
        load_dataset("ogbn-arxiv", root)
    assert "ogbn-arxiv: reading it takes about 0.0 GB" in caplog.text


@pytest.mark.parametrize("name", ["ogbl-ppa", "ogbl-ddi"])
def test_offline_the_error_says_what_to_do(
    name: str, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    wanted = f"(?s)'{name}' is not .*no network.*{name.replace('-', '_')}"
    with pytest.raises(FileNotFoundError, match=wanted) as caught:
        load_dataset(name, root)
    assert ("or put ogbl_ddi.npz into" in str(caught.value)) == (name == "ogbl-ddi")


def test_training_uses_the_official_links_and_split(
    root: Path, cache: Path, known: Known, tmp_path: Path
) -> None:
    arxiv(root)
    known("ogbn-arxiv", edges=60, features=3, classes=4)
    options = {"root": root, "progress": False, "device": "cpu"}
    small = {"epochs": 2, "hidden": 4}
    found = run_experiment("ogbn-arxiv", "dgi", tmp_path / "a", overrides=small, **options)
    assert found["protocol"] == "ogb"
    assert 0 <= found["metrics"]["accuracy"]["mean"] <= 1
    saved(root, "ogbl-ddi", {"edge_index": both_ways(edges()), "num_nodes": N}, link_split())
    known("ogbl-ddi", edges=120)
    found = run_experiment("ogbl-ddi", "grace", tmp_path / "b", overrides=small, **options)
    with np.load(tmp_path / "b" / "embeddings.npz") as arrays:
        embeddings = torch.from_numpy(arrays["embeddings"])
    links = official_links(load_dataset("ogbl-ddi", root))
    assert links is not None
    assert found["metrics"]["link_auc"]["mean"] == link_probe(embeddings, links).auc


@pytest.mark.real_data
def test_the_real_split_of_ddi(data_root: Path) -> None:
    data = load_dataset("ogbl-ddi", data_root)
    links = official_links(data)
    assert links is not None
    assert links.metric == ogb_facts("ogbl-ddi")["eval metric"]
    sizes = [getattr(links, name).shape[1] for name in ("train", "validation", "test")]
    assert sizes == [1067911, 133489, 133489]
    assert links.validation_negatives.shape[1] == 101882
    assert links.test_negatives.shape[1] == 95599
    graph = Neighbourhoods(data.edge_index, links.num_nodes)
    assert graph.has(links.train).all()
    for part in ("validation", "test", "validation_negatives", "test_negatives"):
        assert not graph.has(getattr(links, part)).any()


@pytest.mark.parametrize("damage", ["absent", "cut", "other"])
def test_a_damaged_cache_is_made_anew(damage: str, root: Path, cache: Path, known: Known) -> None:
    arxiv(root)
    known("ogbn-arxiv", edges=60, features=3, classes=4)
    whole = load_dataset("ogbn-arxiv", root)
    (kept,) = cache.glob("processed/ogbn-arxiv-*/data.pt")
    content = kept.read_bytes()
    kept.unlink()
    if damage != "absent":
        kept.write_bytes(content[: len(content) // 2] if damage == "cut" else b"not a graph")
    with pytest.warns(UserWarning, match="is made anew"):
        again = load_dataset("ogbn-arxiv", root)
    assert torch.equal(again.x, whole.x)
    assert kept.stat().st_size == len(content)
