import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from graphcl.data.files import read_json, replacing, write_csv, write_json, write_npz


def test_content_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.bin"
    with replacing(target) as file:
        file.write(b"one")
        assert not target.exists()
        file.write(b" two")
    assert target.read_bytes() == b"one two"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o444 == 0o444


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def spoil() -> None:
        with replacing(target) as file:
            file.write(b"half of the ne")
            file.flush()
            raise error

    with pytest.raises(error):
        spoil()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_reader_sees_the_old_file_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with open(target, "rb") as reader, replacing(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"


def test_a_disk_that_fails_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.json"
    write_json(target, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(target, {"a": 2})
    assert read_json(target) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_json(tmp_path: Path) -> None:
    content = {"b": [1, 2.5, None], "a": "é"}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    assert json.loads((tmp_path / "x.json").read_text()) == content
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": math.nan})
    assert read_json(tmp_path / "x.json") == content


def test_arrays(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", {"z": np.eye(3), "seed": np.array(4)})
    with np.load(tmp_path / "x.npz") as arrays:
        assert sorted(arrays) == ["seed", "z"]
        assert (arrays["z"] == np.eye(3)).all()


def test_table(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ["name", "value"], [["a,b", 0.1], ["c", 2]])
    assert (tmp_path / "x.csv").read_text() == 'name,value\n"a,b",0.1\nc,2\n'
