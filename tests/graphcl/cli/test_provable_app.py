"""POT from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--epochs", 3, "--set", "hidden=8", "--device", "cpu", "--no-progress")


@pytest.mark.parametrize("score", ["pairwise", "certified", "official"])
def test_train_with_pot_and_plot(score: str, command: Any, tmp_path: Path) -> None:
    words = ("train", "--dataset", "karate", "--method", "gca", "--out", tmp_path, *SMALL)
    shown = command(*words, "--pot", score, "--set", "kappa=0.25")
    assert shown.code == 0, shown.err
    assert f"gca with POT ({score}) on karate" in shown.out
    assert "certified compactness: mean" in shown.out
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pot"] == {"score": score, "kappa": 0.25}
    shown = command("plot", "--run", tmp_path)
    assert str(tmp_path / "compactness.png") in shown.out
    assert (tmp_path / "compactness.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_end_in_one_line(command: Any, tmp_path: Path) -> None:
    words = ("train", "--dataset", "karate", "--out", tmp_path / "run", *SMALL)
    for more, message in (
        (("--method", "bgrl", "--pot", "pairwise"), "POT cannot be added to bgrl"),
        (("--method", "grace", "--set", "kappa=0.3"), "grace has no setting 'kappa'"),
        (
            ("--method", "grace", "--pot", "pairwise", "--set", "encoder=gat"),
            "needs a GCN encoder, got GATEncoder",
        ),
        (
            ("--method", "grace", "--pot", "official", "--set", "layers=3"),
            "two layers, the encoder has 3",
        ),
        (("--method", "grace", "--pot", "pairwise", "--set", "kappa=1"), "kappa must lie in"),
    ):
        shown = command(*words, *more)
        assert shown.code == 2
        assert message in shown.err
        assert shown.err.count("\n") == 1
    shown = command(*words, "--method", "grace", "--pot", "best")
    assert shown.code == 2
    assert "Traceback" not in shown.err
