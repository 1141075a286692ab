"""Running the command line inside the test process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

import graphcl.cli.app as app


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Function that runs ``graphcl`` with some words as from a shell, on a wide terminal."""
    monkeypatch.setattr(app, "console", Console(width=300))

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["graphcl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            app.run()
        shown = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds on karate that left edges out."""
    from graphcl.train import run_experiment

    folder = tmp_path_factory.mktemp("run")
    run_experiment(
        "karate",
        "grace",
        folder,
        seeds=(0, 1),
        overrides={"epochs": 3, "hidden": 8},
        held_out_links=0.2,
        progress=False,
        device="cpu",
    )
    return folder
