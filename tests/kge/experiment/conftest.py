"""Graphs and a finished run for the tests of experiments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kge.experiment.running import run_experiment

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def train() -> Run:
    """``run_experiment`` on a small graph with few epochs, quietly."""

    def run(out: Path, negatives: str = "uniform", **options: Any) -> dict[str, Any]:
        settings = {"epochs": 3, "progress": False, "device": "cpu", **options}
        overrides = {"embedding_dim": 8, "batch_size": 1024, **settings.pop("overrides", {})}
        if negatives != "inbatch":
            overrides.setdefault("num_negs_per_pos", 4)
        dataset = settings.pop("dataset", "nations")
        return run_experiment(dataset, "distmult", negatives, out, overrides=overrides, **settings)

    return run


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    """A graph with a test triple whose head is not in training."""
    folder = tmp_path / "novel"
    folder.mkdir()
    train = [f"e{i}\tr{i % 2}\te{(i * 3 + 1) % 8}" for i in range(8)]
    (folder / "train.txt").write_text("\n".join(train) + "\n")
    (folder / "valid.txt").write_text("e0\tr1\te2\ne3\tr0\te5\n")
    (folder / "test.txt").write_text("e1\tr0\te6\nstranger\tr1\te2\n")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds."""
    folder = tmp_path_factory.mktemp("run")
    run_experiment(
        "nations",
        "distmult",
        "hasa",
        folder,
        seeds=(0, 1),
        epochs=6,
        overrides={"embedding_dim": 8, "batch_size": 1024, "stopping.frequency": 2},
        progress=False,
        device="cpu",
    )
    return folder
