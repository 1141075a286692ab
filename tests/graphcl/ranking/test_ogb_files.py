"""OGB's files: read safely in every form that torch has written, found, weighed, downloaded."""

import gzip
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from graphcl.ranking import ogb_files
from graphcl.ranking.ogb_files import (
    announce_memory,
    available_memory,
    download_ogb,
    find_ogb_folder,
    memory_estimate,
    ogb_facts,
    read_ogb_split,
)

SPLIT = {
    "train": {"head": np.arange(4), "head_type": ["drug", "gene"], "weight": np.float64(2.5)},
    "valid": {"edge": torch.arange(6).view(3, 2), "score": np.ones(2, dtype=np.float32)},
    "test": {"edge_neg": np.zeros((2, 2), dtype=np.int32)},
}


def equal(found: object, wanted: object) -> bool:
    if isinstance(wanted, dict):
        assert isinstance(found, dict)
        return found.keys() == wanted.keys() and all(equal(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return found == wanted
    return isinstance(found, torch.Tensor) and torch.equal(found, torch.as_tensor(wanted))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_every_form_of_split_file(
    tmp_path: Path, protocol: int, zipped: bool, together: bool
) -> None:
    place = tmp_path / "split" / "time"
    place.mkdir(parents=True)
    files = {"split_dict.pt": SPLIT} if together else {f"{k}.pt": v for k, v in SPLIT.items()}
    for name, value in files.items():
        options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
        torch.save(value, place / name, **options)
    assert equal(read_ogb_split(tmp_path, "time"), SPLIT)
    assert equal(read_ogb_split(tmp_path, "time", ["test"]), {"test": SPLIT["test"]})


def test_files_of_numpy_1_name_other_modules(tmp_path: Path) -> None:
    path = tmp_path / "split" / "x" / "split_dict.pt"
    path.parent.mkdir(parents=True)
    torch.save(SPLIT, path, _use_new_zipfile_serialization=False)
    old = path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core.")
    assert old != path.read_bytes()
    path.write_bytes(old)
    assert equal(read_ogb_split(tmp_path, "x"), SPLIT)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


def test_files_that_call_anything_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "split" / "x" / "split_dict.pt"
    path.parent.mkdir(parents=True)
    for zipped in (True, False):
        torch.save(Harmful(), path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=r"split_dict.pt .* it names posix.mkdir"):
            read_ogb_split(tmp_path, "x")
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        read_ogb_split(tmp_path, "x")
    assert not (tmp_path / "owned").exists()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no split_dict.pt and no train.pt, valid.pt"):
        read_ogb_split(tmp_path, "x")


def test_importing_ogb_starts_no_thread_and_leaves_no_trace() -> None:
    code = (
        "import os, sys, threading, torch\n"
        "load = torch.load\n"
        "from graphcl.ranking.ogb_files import import_ogb\n"
        "started = []\n"
        "threading.Thread.start = lambda self: started.append(self)\n"
        "import_ogb('ogb.linkproppred').Evaluator('ogbl-ddi')\n"
        "assert not started and torch.load is load\n"
        "assert 'OUTDATED_IGNORE' not in os.environ\n"
        "assert 'outdated' not in sys.modules\n"
        "import outdated\n"
    )
    # OGB sets the variable where a test has imported it by itself.
    inherited = {name: value for name, value in os.environ.items() if name != "OUTDATED_IGNORE"}
    subprocess.run([sys.executable, "-c", code], check=True, env={**inherited, "PYTHONPATH": "."})


def test_facts_are_ogbs() -> None:
    assert ogb_facts("ogbn-products")["split"] == "sales_ranking"
    assert ogb_facts("ogbl-wikikg2")["eval metric"] == "mrr"
    with pytest.raises(ValueError, match="no node or link data set 'ogbl-none'"):
        ogb_facts("ogbl-none")
    with pytest.raises(ValueError, match="'cora'"):
        ogb_facts("cora")


def test_folders_of_every_layout_are_found(tmp_path: Path) -> None:
    assert find_ogb_folder("ogbn-arxiv", [tmp_path]) is None
    for place in ("OGB/ogbn_arxiv", "ogbn_arxiv_pyg", "ogbn_arxiv"):
        (tmp_path / place / "raw").mkdir(parents=True)
        assert find_ogb_folder("ogbn-arxiv", [tmp_path / "no", tmp_path]) == tmp_path / place


def test_the_estimate_is_twice_what_the_files_unpack_to(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "split" / "time").mkdir(parents=True)
    np.savez_compressed(tmp_path / "raw" / "data.npz", x=np.zeros(10_000))
    with gzip.open(tmp_path / "raw" / "edge.csv.gz", "wt") as file:
        file.write("0,1\n" * 500_000)
    torch.save(torch.zeros(1000), tmp_path / "split" / "time" / "train.pt")
    found = memory_estimate(tmp_path, "time")
    assert 2 * (80_000 + 2_000_000 + 4_000) < found < 2 * (80_000 + 2_000_000 + 4_000) + 10_000


def test_too_little_memory_is_told_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_memory() is None or available_memory() > 1 << 20
    monkeypatch.setattr(ogb_files, "available_memory", lambda: 10**9)
    with pytest.warns(UserWarning, match=r"ogbl-x takes about 2\.0 GB of memory, 1\.0 GB are free"):
        announce_memory("ogbl-x", 2 * 10**9)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """OGB's zip of a data set, whose folder has ogb's name for downloads."""
    (tmp_path / "made" / "ddi" / "raw").mkdir(parents=True)
    (tmp_path / "made" / "ddi" / "raw" / "edge.csv.gz").write_bytes(b"")
    return Path(shutil.make_archive(str(tmp_path / "ddi"), "zip", tmp_path / "made"))


def test_download(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ogb_files, "ogb_facts", lambda name: {"url": archive.as_uri()})
    folder = download_ogb("ogbl-ddi", tmp_path / "cache")
    assert folder == find_ogb_folder("ogbl-ddi", [tmp_path / "cache"])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ogbl_ddi"]


def test_a_download_that_another_process_was_faster_at(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ogb_files, "ogb_facts", lambda name: {"url": archive.as_uri()})
    first = download_ogb("ogbl-ddi", tmp_path / "cache")
    (first / "raw" / "mine").touch()
    assert download_ogb("ogbl-ddi", tmp_path / "cache") == first
    assert (first / "raw" / "mine").exists()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_no_network(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"url": (tmp_path / "none.zip").as_uri()}
    monkeypatch.setattr(ogb_files, "ogb_facts", lambda name: gone)
    for _ in range(2):
        with pytest.raises(
            FileNotFoundError, match=r"'ogbl-ddi' is not on this machine, .*ogbl_ddi"
        ):
            download_ogb("ogbl-ddi", tmp_path / "cache")
        archive.write_bytes(b"no zip")
        gone["url"] = archive.as_uri()
    assert not list((tmp_path / "cache").iterdir())
    assert not zipfile.is_zipfile(archive)
