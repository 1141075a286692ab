"""Pictures of a run."""

import json
import shutil
import struct
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from graphcl.cli.plots import plot_run

NAMES = ["loss.png", "projection.png", "similarity.png"]


def size(picture: Path) -> tuple[int, int]:
    """Width and height that the header of a PNG file states."""
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert head[12:16] == b"IHDR"
    return struct.unpack(">II", head[16:24])


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def test_three_pictures(copy: Path) -> None:
    paths = plot_run(copy)
    assert [path.name for path in paths] == NAMES
    for path in paths:
        width, height = size(path)
        assert width > 300
        assert height > 300
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    assert not plt.get_fignums()  # nothing stays open
    assert not [p for p in copy.iterdir() if p.name.startswith(".")]


def test_pictures_are_drawn_anew_and_alike(copy: Path) -> None:
    first = [path.read_bytes() for path in plot_run(copy, seed=0)]
    assert [path.read_bytes() for path in plot_run(copy)] == first
    other = [path.read_bytes() for path in plot_run(copy, seed=1)]
    assert other[0] == first[0]  # the curves of all seeds
    assert other[1] != first[1]


def test_a_run_without_labels(copy: Path) -> None:
    path = copy / "seed-0" / "embeddings.npz"
    with np.load(path) as arrays:
        embeddings = arrays["embeddings"]
    np.savez(path, embeddings=embeddings)
    assert [p.name for p in plot_run(copy)] == NAMES


@pytest.mark.parametrize("shape", [(5, 3), (40, 3), (6, 1)])
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_collapsed_run(shape: tuple[int, int], value: float, copy: Path) -> None:
    embeddings = np.full(shape, value, np.float32)
    np.savez(
        copy / "seed-0" / "embeddings.npz", embeddings=embeddings, labels=np.arange(shape[0]) % 2
    )
    assert [p.name for p in plot_run(copy)] == NAMES


@pytest.mark.parametrize("classes", [3, 25])
def test_tiny_rows_and_many_classes(classes: int, copy: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    path = copy / "seed-0" / "embeddings.npz"
    pictures = []
    for scale in (1.0, 2.0**-100):
        np.savez(path, embeddings=rows * np.float32(scale), labels=np.arange(60) % classes * 7)
        pictures.append([picture.read_bytes() for picture in plot_run(copy)])
    assert pictures[0] == pictures[1]


def test_what_cannot_be_drawn(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run"):
        plot_run(tmp_path)
    seeds = json.loads((copy / "metrics.json").read_text())["seeds"]
    assert seeds == [0, 1]
    with pytest.raises(ValueError, match=r"no seed 2; it has \[0, 1\]"):
        plot_run(copy, seed=2)
