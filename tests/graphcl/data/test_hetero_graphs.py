"""Heterogeneous benchmarks: files in HeCo's layout, made small or real, and PyG's own."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import HeteroData

import graphcl.data.loading as loading
from graphcl.data import dataset_info, load_dataset
from graphcl.data.hetero_graphs import HETERO_FILES, HeteroFiles, read_hetero
from graphcl.data.pyg_datasets import read_pyg_dataset
from graphcl.data.validation import check_hetero_counts, validate_hetero
from graphcl.probes import make_split

SMALL = HeteroFiles(
    "small",
    {"m": ("movie", 6), "a": ("actor", 4)},
    ("ma",),
    {"m": "m_feat.npz", "a": "a_feat.npy"},
)


def write(folder: Path, **changes: Any) -> Path:
    """Six movies, four actors, labels from 1; lists that name nodes twice."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "labels": np.array([1.0, 1, 2, 2, 3, 3]),
        "a_feat": np.arange(8.0).reshape(4, 2),
        **{f"train_{count}": np.array([0, 2, 2]) for count in (20, 40, 60)},
        **{f"{part}_{count}": np.array([3]) for part in ("val", "test") for count in (20, 40, 60)},
    }
    pairs = np.array([[0, 0], [0, 1], [1, 1], [2, 3], [5, 3]])
    sparse = {"m_feat": sp.csr_matrix(np.eye(6, 3)), "pos": sp.csr_matrix(np.eye(6))}
    for name, array in {**arrays, **changes}.items():
        if name == "ma":
            pairs = array
        elif name in sparse:
            sparse[name] = array
        else:
            np.save(folder / f"{name}.npy", array)
    np.savetxt(folder / "ma.txt", pairs, fmt="%d", delimiter="\t")
    for name, matrix in sparse.items():
        sp.save_npz(folder / f"{name}.npz", matrix)
    return folder


def test_what_is_read(tmp_path: Path) -> None:
    data = read_hetero(SMALL, write(tmp_path))
    assert data.node_types == ["movie", "actor"]
    assert data["movie", "to", "actor"].edge_index.tolist() == [[0, 0, 1, 2, 5], [0, 1, 1, 3, 3]]
    back = data["actor", "rev_to", "movie"].edge_index
    assert set(map(tuple, back.flip(0).T.tolist())) == {(0, 0), (0, 1), (1, 1), (2, 3), (5, 3)}
    assert data["movie"].y.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(data["movie"].x, torch.eye(6, 3))
    assert data["actor"].x.dtype == torch.float32
    assert data["movie"].positive_pairs.tolist() == [list(range(6))] * 2
    assert data.splits[40]["train"].tolist() == [0, 2, 2]  # as published
    assert validate_hetero(data, "small") == "movie"
    assert data.validate()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ma": np.array([[0, 4]])}, "name nodes .0, 4. to .0, 4., but there are"),
        ({"ma": np.array([[0, 1, 2]])}, "two node ids, got 3 columns"),
        ({"ma": np.array([[-1, 1]])}, "name nodes"),
        ({"labels": np.zeros(5)}, "for 6 nodes"),
        ({"a_feat": np.zeros((3, 2))}, "3 rows for 4 nodes 'actor'"),
        ({"m_feat": sp.csr_matrix((5, 3))}, "5 rows for 6 nodes 'movie'"),
        ({"val_40": np.array([6])}, "names nodes 6..6 of 6"),
        ({"labels": np.array(list("abcdef"))}, "labels.npy is not an array of numbers"),
        ({"a_feat": np.array([["x", "y"]] * 4)}, "a_feat.npy is not an array of numbers"),
    ],
)
def test_files_that_do_not_fit(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_hetero(SMALL, write(tmp_path, **changes))


@pytest.mark.parametrize("name", ["labels.npy", "m_feat.npz", "ma.txt"])
def test_a_damaged_file(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"{name} is not"):
        read_hetero(SMALL, tmp_path)


def test_a_sparse_matrix_that_is_none(tmp_path: Path) -> None:
    path = write(tmp_path) / "m_feat.npz"
    with path.open("wb") as file:
        np.save(file, np.eye(6, 3))  # an array under the name of an archive
    with pytest.raises(ValueError, match=r"m_feat\.npz is not a sparse matrix"):
        read_hetero(SMALL, tmp_path)
    columns = sp.csc_matrix(np.eye(6, 3))
    columns.indices[1] = 50
    sp.save_npz(path, columns)
    with pytest.raises(ValueError, match=r"m_feat\.npz is not a sparse matrix"):
        read_hetero(SMALL, tmp_path)
    sp.save_npz(path, sp.csr_matrix(np.random.default_rng(0).random((6, 300))))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 - 40 : len(content) // 2 + 40] = bytes(80)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m_feat\.npz is not a sparse matrix"):
        read_hetero(SMALL, tmp_path)


def test_load_checks_files_and_counts(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"'acm' has no raw files.*Hetero/acm"):
        load_dataset("acm", root)
    monkeypatch.setitem(loading.HETERO_FILES, "acm", SMALL)
    folder = write(root / "Hetero" / "small")
    with pytest.raises(ValueError, match="not the published one: nodes 6 instead of 4019"):
        load_dataset("acm", root)
    (folder / "test_60.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing or empty: test_60\.npy"):
        load_dataset("acm", root)
    assert not cache.exists()


def test_graphs_that_are_not_well_formed() -> None:
    data = HeteroData()
    data["a"].x, data["a"].y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    data["b"].num_nodes = 2
    data["a", "to", "b"].edge_index = torch.tensor([[0, 2], [0, 1]])
    assert validate_hetero(data, "graph") == "a"
    for change, words in (
        (lambda d: d["a"].update(x=torch.full((3, 2), torch.nan)), "'a' are not finite"),
        (lambda d: d["a"].update(x=torch.zeros(3, 2).half()), "x of a must be torch.float32"),
        (lambda d: d["a", "to", "b"].edge_index.fill_(2), "name nodes up to"),
        (lambda d: d["b"].update(y=torch.zeros(2).long()), r"labels on node types \['a', 'b'\]"),
        (lambda d: d["a"].update(y=torch.tensor([0, -1, 1])), "from 0 up"),
    ):
        wrong = data.clone()
        change(wrong)
        with pytest.raises(ValueError, match=words):
            validate_hetero(wrong, "graph")
    with pytest.raises(ValueError, match="nodes 3 instead of 4019, edges 2 instead of"):
        check_hetero_counts(data, "a", dataset_info("acm"))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "classes", "repeats"),
    [("acm", 3, 0), ("dblp", 4, 0), ("imdb", 3, 1), ("freebase", 3, 0)],
)
def test_real_graphs(data_root: Path, cache: Path, name: str, classes: int, repeats: int) -> None:
    data = load_dataset(name, data_root)
    spec = HETERO_FILES[name]
    store = data[spec.target]
    assert {kind: data[kind].num_nodes for kind in data.node_types} == dict(spec.types.values())
    assert store.y.unique().tolist() == list(range(classes))
    assert ("x" in store) == (name != "freebase")
    assert ("positive_pairs" in store) == (name != "imdb")
    sizes = make_split(data, "labels_per_class", count=40).sizes
    assert sizes == (40 * classes - repeats, 1000, 1000)
    assert len(data.splits[40]["train"]) == 40 * classes
    assert not cache.exists()


def magnn_files(folder: Path) -> None:
    """PyG's DBLP in small: 2 authors, 3 papers, 2 terms, 1 conference."""
    folder.mkdir(parents=True)
    for number, (rows, width) in enumerate([(2, 4), (3, 5)]):
        sp.save_npz(folder / f"features_{number}.npz", sp.csr_matrix(np.ones((rows, width))))
    np.save(folder / "features_2.npy", np.ones((2, 3)))
    np.save(folder / "labels.npy", np.array([0, 1]))
    np.save(folder / "node_types.npy", np.array([0, 0, 1, 1, 1, 2, 2, 3]))
    parts = {f"{part}_idx": np.array([0]) for part in ("train", "val", "test")}
    np.savez(folder / "train_val_test_idx.npz", **parts)
    joined = np.zeros((8, 8))
    for author, paper in ((0, 2), (0, 3), (1, 4)):
        joined[author, paper] = joined[paper, author] = 1
    joined[2, 7] = joined[7, 2] = 1
    sp.save_npz(folder / "adjM.npz", sp.csr_matrix(joined))


def test_pyg_graphs_are_read_by_pyg(root: Path, cache: Path) -> None:
    from graphcl.methods import MEOW

    magnn_files(root / "DBLP" / "raw")
    data = read_pyg_dataset("pyg-dblp", root)
    assert isinstance(data, HeteroData)
    assert validate_hetero(data, "pyg-dblp") == "author"
    assert data["author", "to", "paper"].edge_index.tolist() == [[0, 0, 1], [0, 1, 2]]
    method = MEOW(MEOW.input_channels(data), ["APA", "APCPA"], 4, clusters=[2], top_n=2)
    assert method.embed(method.prepare(data)).shape == (2, 4)
    shutil.rmtree(cache)
