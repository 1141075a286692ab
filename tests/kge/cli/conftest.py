"""Running the command line inside the test process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

import kge.cli.app as app


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
    """Function that runs ``kge`` with some words as from a shell, on a wide terminal."""
    monkeypatch.setattr(app, "console", Console(width=300))

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kge", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            app.run()
        shown = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds on UMLS, whose entities have readable labels."""
    from kge.experiment.running import run_experiment

    folder = tmp_path_factory.mktemp("run")
    run_experiment(
        "umls",
        "distmult",
        "lemon",
        folder,
        seeds=(0, 1),
        epochs=2,
        overrides={"embedding_dim": 8, "num_negs_per_pos": 4},
        progress=False,
        device="cpu",
    )
    return folder
