import re
from pathlib import Path

import pytest
import torch

from graphcl.train import environment as module
from graphcl.train.environment import environment
from graphcl.version import __version__


def test_what_a_figure_was_measured_with() -> None:
    found = environment("cpu")
    assert found["version"] == __version__
    assert found["torch"] == torch.__version__
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{12}\+?", found["commit"])
    assert all(found[key] for key in ("python", "processor", "platform"))


def test_without_a_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "graphcl" / "train" / "environment.py"))
    assert environment()["commit"] is None
    (tmp_path / ".git").mkdir()  # an empty folder, which git refuses
    assert environment()["commit"] is None
