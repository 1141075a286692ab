"""Runs that are really killed, in processes of their own, and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphcl.cli.app import run as graphcl
from graphcl.train import run_experiment

EPOCHS = 300
SETTINGS = {"channels": [12, 8], "predictor": 8, "warmup": 10, "epochs": EPOCHS}

KILLED = f"""
import sys
from graphcl.train import run_experiment
run_experiment("karate", "bgrl", sys.argv[1], overrides={SETTINGS!r}, seeds=(1,),
               progress=False, device="cpu", checkpoint_seconds=0.05)
"""


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start Python as from a terminal, where Ctrl-C is not ignored, with our number of threads."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def end_when(process: subprocess.Popen[str], path: Path, number: int) -> tuple[int, str]:
    """Send a signal once a file is there; exit code and what went to the terminal."""
    try:
        deadline = time.monotonic() + 120
        while not path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.exists(), process.communicate(timeout=1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err
    finally:
        process.kill()


def arrays(folder: Path, seed: int) -> np.ndarray:
    with np.load(folder / f"seed-{seed}" / "embeddings.npz") as stored:
        return stored["embeddings"]


@pytest.mark.slow
def test_a_killed_run_is_continued_from_its_checkpoint(
    tmp_path: Path,
    curve_rows: Callable[[Path], list[str]],
    timeless: Callable[[Any], str],
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    checkpoint = broken / "seed-1" / "checkpoint.ckpt"
    code, _ = end_when(start(["-c", KILLED, str(broken)]), checkpoint, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (broken / "metrics.json").exists()
    done = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < done < EPOCHS
    # Nothing but whole files, and at most one that was being written.
    names = sorted(path.name for path in checkpoint.parent.iterdir())
    assert [name for name in names if not name.startswith(".")] == ["checkpoint.ckpt"]
    assert len(names) <= 2

    options: dict[str, Any] = {"overrides": SETTINGS, "seeds": (1,), "device": "cpu"}
    found = run_experiment("karate", "bgrl", broken, progress=False, **options)
    wanted = run_experiment("karate", "bgrl", whole, progress=False, **options)
    assert timeless(found) == timeless(wanted)
    assert (arrays(broken, 1) == arrays(whole, 1)).all()
    assert curve_rows(broken / "curves.csv") == curve_rows(whole / "curves.csv")
    assert len(curve_rows(broken / "curves.csv")) == EPOCHS + 1


@pytest.mark.slow
def test_the_same_command_continues_after_ctrl_c(
    tmp_path: Path,
    curve_rows: Callable[[Path], list[str]],
    timeless: Callable[[Any], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def command(out: Path) -> list[str]:
        words = "train --dataset karate --method grace --seeds 2 --epochs 250 --device cpu"
        return [*words.split(), "--set", "hidden=8", "--no-progress", "--out", str(out)]

    def complete(out: Path) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["graphcl", *command(out)])
        with pytest.raises(SystemExit) as ended:
            graphcl()
        assert ended.value.code == 0
        return json.loads((out / "metrics.json").read_text())

    broken, whole = tmp_path / "broken", tmp_path / "whole"
    first = broken / "seed-0" / "result.json"
    code, shown = end_when(start(["-m", "graphcl", *command(broken)]), first, signal.SIGINT)
    assert code != 0
    assert "Traceback" not in shown
    assert f"interrupted; the same command continues the run in {broken}" in shown
    assert not (broken / "metrics.json").exists()
    kept = first.stat().st_mtime_ns

    found, wanted = complete(broken), complete(whole)
    assert timeless(found) == timeless(wanted)
    assert first.stat().st_mtime_ns == kept
    for seed in (0, 1):
        assert (arrays(broken, seed) == arrays(whole, seed)).all()
    assert curve_rows(broken / "curves.csv") == curve_rows(whole / "curves.csv")
