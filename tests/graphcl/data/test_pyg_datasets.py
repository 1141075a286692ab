import dataclasses
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.datasets import Amazon, Planetoid, WikiCS

from graphcl.data import load_dataset, registry
from graphcl.data.pyg_datasets import PYG_SOURCES, read_pyg_dataset

LINKS = [[1, 2], [0], [2], [0], []]
SPLITS = 20


def _write_wikics(root: Path, **changes: Any) -> Path:
    """A graph of five nodes in the format of WikiCS."""
    rows = [[(node + split) % 2 == 0 for node in range(5)] for split in range(SPLITS)]
    content = {
        "features": [[float(node), -0.5] for node in range(5)],
        "labels": [0, 1, 1, 0, 2],
        "links": LINKS,
        "train_masks": rows,
        "val_masks": [[not value for value in row] for row in rows],
        "stopping_masks": rows[::-1],
        "test_mask": [False, False, False, True, True],
    }
    path = root / "WikiCS" / "raw" / "data.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def _write_photo(root: Path, features: np.ndarray | None = None) -> Path:
    """A graph of three nodes in the npz format of the Amazon graphs, edges 0 -> 1 and 1 -> 2."""
    arrays = {"labels": np.array([0, 1, 1])}
    adjacency = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=np.float32)
    features = np.array([[0.0, 4.0], [1.0, 0.0], [0.0, 0.0]]) if features is None else features
    for name, dense in (("adj", adjacency), ("attr", features.astype(np.float32))):
        matrix = sp.csr_matrix(dense)
        for part in ("data", "indices", "indptr", "shape"):
            arrays[f"{name}_{part}"] = np.array(getattr(matrix, part))
    path = root / "Amazon" / "Photo" / "raw" / "amazon_electronics_photo.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


@pytest.fixture(autouse=True)
def _small_graphs(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let the registry expect the graphs written here, and refuse any download."""
    wikics = {"nodes": 5, "edges": 7, "features": 2, "classes": 3}
    photo = {"nodes": 3, "edges": 4, "features": 2, "classes": 2}
    for name, counts in (("wikics", wikics), ("amazon-photo", photo)):
        info = dataclasses.replace(registry.DATASETS[name], **counts)
        monkeypatch.setitem(registry.DATASETS, name, info)
    for dataset_class in (Planetoid, Amazon, WikiCS):
        monkeypatch.setattr(dataset_class, "download", _unreachable)


def _unreachable(self: object) -> None:
    raise URLError("no network")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", list(PYG_SOURCES))
def test_raw_files_are_those_pyg_reads(name: str) -> None:
    source = PYG_SOURCES[name]
    dataset = object.__new__(source.dataset_class)
    dataset.root = "top"
    dataset.split = "public"
    chosen = source.arguments.get("name", "")
    dataset.name = chosen.lower() if source.dataset_class is Amazon else chosen
    names = dataset.raw_file_names
    assert source.raw.names == ((names,) if isinstance(names, str) else tuple(names))
    family = source.dataset_class.__name__
    assert source.raw.folder == Path(dataset.raw_dir).as_posix().replace("top", family, 1)


class TestFormats:
    def test_wikics(self, root: Path) -> None:
        _write_wikics(root)
        data = load_dataset("wikics", root)
        edges = {tuple(pair) for pair in data.edge_index.t().tolist()}
        assert edges == {(0, 1), (1, 0), (0, 2), (2, 0), (2, 2), (3, 0), (0, 3)}
        assert data.train_mask.shape == data.val_mask.shape == (5, SPLITS)
        assert data.stopping_mask.shape == (5, SPLITS)
        assert data.train_mask[:, 0].tolist() == [True, False, True, False, True]
        assert torch.equal(data.val_mask, ~data.train_mask)
        assert data.test_mask.tolist() == [False, False, False, True, True]
        assert data.x[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert (data.name, data.num_classes, data.y.dtype) == ("wikics", 3, torch.int64)

    def test_npz(self, root: Path) -> None:
        _write_photo(root)
        data = load_dataset("Amazon-Photo", root)
        assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
        assert data.x.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
        assert data.y.tolist() == [0, 1, 1]

    def test_folder_names_may_differ_in_case(self, root: Path) -> None:
        _write_photo(root)
        (root / "Amazon" / "Photo").rename(root / "Amazon" / "photo")
        assert load_dataset("amazon-photo", root).num_nodes == 3

    def test_other_counts_are_refused(self, root: Path) -> None:
        _write_wikics(root, links=[[1], [], [], [], []])
        with pytest.raises(ValueError, match="'wikics' is not the published one: edges 2 instead"):
            load_dataset("wikics", root)

    def test_features_that_are_not_finite_are_refused(self, root: Path) -> None:
        _write_photo(root, np.array([[0.0, 4.0], [np.nan, 0.0], [0.0, 0.0]]))
        with pytest.raises(ValueError, match="features of node 1 are not finite"):
            load_dataset("amazon-photo", root)

    def test_edges_to_nowhere_are_refused(self, root: Path) -> None:
        _write_wikics(root, links=[[1], [], [], [7], []])
        with pytest.raises(ValueError, match=r"nodes 0\.\.7, but the nodes are 0\.\.4"):
            load_dataset("wikics", root)

    def test_labels_below_zero_are_refused(self, root: Path) -> None:
        _write_wikics(root, labels=[0, 1, 2, -1, 0])
        with pytest.raises(ValueError, match="smallest label -1"):
            load_dataset("wikics", root)

    @pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1", "{}"])
    def test_unreadable_raw_files_leave_no_cache(self, root: Path, cache: Path, text: str) -> None:
        path = _write_wikics(root)
        path.write_text(text)
        with pytest.raises(ValueError, match=r"'wikics': the raw files in .* cannot be read"):
            load_dataset("wikics", root)
        assert list(cache.rglob("*")) == []


class TestCache:
    def test_root_is_untouched(
        self, root: Path, cache: Path, snapshot: Callable[[Path], dict[str, tuple[int, int]]]
    ) -> None:
        _write_wikics(root)
        _write_photo(root)
        before = snapshot(root)
        load_dataset("wikics", root)
        load_dataset("amazon-photo", root)
        assert snapshot(root) == before
        folders = sorted(p.name.rpartition("-")[0] for p in (cache / "processed").iterdir())
        assert folders == ["amazon-photo", "wikics"]

    def test_second_load_does_not_process(
        self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write_wikics(root)
        first = load_dataset("wikics", root)
        stored = {path: path.stat().st_mtime_ns for path in _files(cache)}

        def refuse(self: object) -> None:
            raise AssertionError("processed twice")

        monkeypatch.setattr(WikiCS, "process", refuse)
        second = load_dataset("wikics", root)
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.train_mask, second.train_mask)
        assert {path: path.stat().st_mtime_ns for path in _files(cache)} == stored

    def test_changing_a_loaded_graph_does_not_change_the_next(self, root: Path) -> None:
        _write_wikics(root)
        load_dataset("wikics", root).x.zero_()
        assert load_dataset("wikics", root).x[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]

    def test_a_changed_raw_file_is_read_again(self, root: Path) -> None:
        path = _write_wikics(root)
        load_dataset("wikics", root)
        stat = path.stat()
        _write_wikics(root, labels=[2, 1, 1, 0, 0])
        assert path.stat().st_size == stat.st_size
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
        assert load_dataset("wikics", root).y.tolist() == [2, 1, 1, 0, 0]

    def test_another_root_is_read_by_itself(self, root: Path, tmp_path: Path) -> None:
        _write_wikics(root)
        load_dataset("wikics", root)
        _write_wikics(tmp_path / "other", labels=[2, 1, 1, 0, 0])
        assert load_dataset("wikics", tmp_path / "other").y.tolist() == [2, 1, 1, 0, 0]

    @pytest.mark.parametrize("damage", ["cut", "empty", "text", "absent"])
    def test_a_damaged_processed_file_is_made_anew(
        self, root: Path, cache: Path, damage: str
    ) -> None:
        _write_wikics(root)
        load_dataset("wikics", root)
        (stored,) = cache.rglob("data_undirected.pt")
        whole = stored.read_bytes()
        if damage == "absent":
            stored.unlink()
        else:
            contents = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"nonsense"}
            stored.write_bytes(contents[damage])
        with pytest.warns(UserWarning, match="are made anew"):
            assert load_dataset("wikics", root).num_nodes == 5
        assert len(stored.read_bytes()) == len(whole)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
    def test_an_interrupt_leaves_nothing(
        self,
        root: Path,
        cache: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: type[BaseException],
    ) -> None:
        _write_wikics(root)

        def interrupted(self: WikiCS) -> None:
            Path(self.processed_paths[0]).write_bytes(b"half")
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(WikiCS, "process", interrupted)
            with pytest.raises(error):
                load_dataset("wikics", root)
        assert list(cache.rglob("*")) == []
        assert load_dataset("wikics", root).num_nodes == 5

    def test_two_loads_at_once(
        self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write_wikics(root)
        both_processing = threading.Barrier(2, timeout=20)
        process = WikiCS.process

        def meet(self: WikiCS) -> None:
            both_processing.wait()
            process(self)
            both_processing.wait()

        monkeypatch.setattr(WikiCS, "process", meet)
        loaded: list[Any] = []
        threads = [
            threading.Thread(target=lambda: loaded.append(load_dataset("wikics", root)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [data.num_nodes for data in loaded] == [5, 5]
        assert torch.equal(loaded[0].edge_index, loaded[1].edge_index)
        assert len(list((cache / "processed").iterdir())) == 1
        monkeypatch.setattr(WikiCS, "process", _unreachable)
        assert load_dataset("wikics", root).num_nodes == 5


class TestDownload:
    @pytest.mark.parametrize(
        ("name", "file"),
        [("cora", "ind.cora.allx"), ("amazon-photo", "electronics_photo"), ("wikics", "data.json")],
    )
    def test_failure_names_files_and_places_and_leaves_nothing(
        self, root: Path, cache: Path, name: str, file: str
    ) -> None:
        with pytest.raises(FileNotFoundError, match="the download failed") as caught:
            load_dataset(name, root)
        folder = PYG_SOURCES[name].raw.folder
        for part in (
            f"{name!r}",
            file,
            str(root / folder),
            str(cache / "raw" / folder),
            "URLError",
        ):
            assert part in str(caught.value)
        assert isinstance(caught.value.__cause__, URLError)
        assert list(root.iterdir()) == []
        assert list(cache.rglob("*")) == []

    @pytest.mark.parametrize("name", ["pubmed", "coauthor-physics"])
    def test_refused_sockets_leave_nothing(
        self, root: Path, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import socket

        def refuse(*arguments: object, **keywords: object) -> None:
            raise OSError("sockets are refused")

        monkeypatch.undo()
        monkeypatch.setenv("GRAPHCL_CACHE", str(cache))
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        with pytest.raises(FileNotFoundError, match="the download failed"):
            load_dataset(name, root)
        assert list(root.iterdir()) == []
        assert list(cache.rglob("*")) == []

    def test_files_go_to_the_cache_once(
        self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        source = _write_wikics(tmp_path / "server")
        calls = []

        def fetch(self: WikiCS) -> None:
            calls.append(self.raw_dir)
            (Path(self.raw_dir) / "data.json").write_bytes(source.read_bytes())

        monkeypatch.setattr(WikiCS, "download", fetch)
        assert load_dataset("wikics", root).num_nodes == 5
        assert (cache / "raw" / "WikiCS" / "raw" / "data.json").is_file()
        assert load_dataset("wikics", root).num_nodes == 5
        assert load_dataset("wikics", tmp_path / "absent").num_nodes == 5
        assert len(calls) == 1
        assert list(root.iterdir()) == []
        assert not [p for p in cache.rglob("*") if p.name.startswith(".")]

    @pytest.mark.parametrize("error", [URLError("lost"), KeyboardInterrupt()])
    def test_an_interrupted_download_leaves_nothing(
        self,
        root: Path,
        cache: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
    ) -> None:
        def fetch(self: Planetoid) -> None:
            (Path(self.raw_dir) / "ind.cora.x").write_bytes(b"half")
            raise error

        monkeypatch.setattr(Planetoid, "download", fetch)
        with pytest.raises((FileNotFoundError, KeyboardInterrupt)):
            load_dataset("cora", root)
        assert list(cache.rglob("*")) == []

    def test_an_incomplete_download_is_an_error(
        self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fetch(self: Planetoid) -> None:
            (Path(self.raw_dir) / "ind.cora.x").write_bytes(b"whole")

        monkeypatch.setattr(Planetoid, "download", fetch)
        with pytest.raises(FileNotFoundError, match=r"did not give ind\.cora\.tx, ind\.cora\.allx"):
            load_dataset("cora", root)
        assert list(cache.rglob("*")) == []

    def test_a_folder_in_the_way_is_named(
        self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = cache / "raw" / "WikiCS" / "raw"
        target.mkdir(parents=True)
        (target / "notes.txt").write_text("mine")

        def fetch(self: WikiCS) -> None:
            (Path(self.raw_dir) / "data.json").write_text("{}")

        monkeypatch.setattr(WikiCS, "download", fetch)
        with pytest.raises(FileNotFoundError, match="is in the way of a download"):
            read_pyg_dataset("wikics", root)
        assert os.listdir(target) == ["notes.txt"]

    def test_incomplete_raw_files_start_no_download(
        self,
        root: Path,
        cache: Path,
        monkeypatch: pytest.MonkeyPatch,
        snapshot: Callable[[Path], dict[str, tuple[int, int]]],
    ) -> None:
        def refuse(self: object) -> None:
            raise AssertionError("nothing may be downloaded")

        monkeypatch.setattr(Planetoid, "download", refuse)
        raw = root / "Planetoid" / "Cora" / "raw"
        raw.mkdir(parents=True)
        for name in PYG_SOURCES["cora"].raw.names[:-2]:
            (raw / name).write_bytes(b"some")
        before = snapshot(root)
        with pytest.raises(FileNotFoundError, match=r"empty: ind\.cora\.graph, ind\.cora\.test"):
            load_dataset("cora", root)
        assert snapshot(root) == before
        assert not cache.exists()
