from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphcl.data.plain_graphs import read_attributed_npz, read_edge_list

ADJACENCY = [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
FEATURES = [[0.0, 0.25], [-2.0, 0.0], [0.0, 3.0]]


def _arrays() -> dict[str, Any]:
    arrays: dict[str, Any] = {"labels": np.array([0, 1, 0], dtype=np.int32)}
    for name, dense in (("adj", ADJACENCY), ("attr", FEATURES)):
        matrix = sp.csr_matrix(np.array(dense, dtype=np.float32))
        for part in ("data", "indices", "indptr", "shape"):
            arrays[f"{name}_{part}"] = np.array(getattr(matrix, part))
    return arrays


class TestReadAttributedNpz:
    def test_values_are_kept_and_edges_made_symmetric(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "g.npz", **_arrays())
        data = read_attributed_npz(tmp_path / "g.npz")
        assert torch.equal(data.x, torch.tensor(FEATURES))
        assert data.x.dtype == torch.float32
        assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
        assert data.y.tolist() == [0, 1, 0]
        assert data.y.dtype == torch.int64

    def test_a_missing_array_is_named(self, tmp_path: Path) -> None:
        arrays = _arrays()
        del arrays["attr_indptr"]
        np.savez(tmp_path / "g.npz", **arrays)
        with pytest.raises(ValueError, match=r"g\.npz is not a graph in npz format.*attr_indptr"):
            read_attributed_npz(tmp_path / "g.npz")

    @pytest.mark.parametrize("name", ["adj", "attr"])
    def test_a_column_out_of_range_is_refused(self, tmp_path: Path, name: str) -> None:
        arrays = _arrays()
        arrays[f"{name}_indices"][0] = 1000
        np.savez(tmp_path / "g.npz", **arrays)
        with pytest.raises(ValueError, match="damaged"):
            read_attributed_npz(tmp_path / "g.npz")

    def test_shapes_must_agree(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "g.npz", **(_arrays() | {"labels": np.array([0, 1])}))
        with pytest.raises(ValueError, match=r"do not agree: adj \(3, 3\), attr \(3, 2\)"):
            read_attributed_npz(tmp_path / "g.npz")

    def test_pickled_arrays_are_refused(self, tmp_path: Path) -> None:
        labels = np.array([0, 1, {}], dtype=object)
        np.savez(tmp_path / "g.npz", **(_arrays() | {"labels": labels}))
        with pytest.raises(ValueError, match="allow_pickle"):
            read_attributed_npz(tmp_path / "g.npz")

    @pytest.mark.parametrize("size", [7, 600])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, size: int) -> None:
        np.savez(tmp_path / "g.npz", **_arrays())
        whole = (tmp_path / "g.npz").read_bytes()
        (tmp_path / "g.npz").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="damaged"):
            read_attributed_npz(tmp_path / "g.npz")


class TestReadEdgeList:
    def test_symmetric_without_repeats_and_loops(self, tmp_path: Path) -> None:
        (tmp_path / "edges.txt").write_text("0\t2\n2\t0\n1\t1\n1\t2\n")
        data = read_edge_list(tmp_path / "edges.txt", num_nodes=5)
        assert data.edge_index.tolist() == [[0, 1, 2, 2], [2, 2, 0, 1]]
        assert data.edge_index.dtype == torch.int64
        assert data.num_nodes == 5
        assert data.x is None
        assert data.y is None

    def test_one_edge(self, tmp_path: Path) -> None:
        (tmp_path / "edges.txt").write_text("0 1\n")
        data = read_edge_list(tmp_path / "edges.txt", num_nodes=2)
        assert data.edge_index.tolist() == [[0, 1], [1, 0]]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0 1\n0 3\n", r"nodes 0\.\.3, but the nodes are 0\.\.2"),
            ("0 -1\n", r"nodes -1\.\.0"),
            ("0 1 1\n", "two node ids, got 3 columns"),
            ("0 1\n0\n", "not a list of edges"),
            ("a b\n", "not a list of edges"),
            ("0.5 1\n", "not a list of edges"),
        ],
    )
    def test_bad_lines_are_refused(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "edges.txt").write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            read_edge_list(tmp_path / "edges.txt", num_nodes=3)
        assert str(tmp_path / "edges.txt") in str(caught.value)
