"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture
def data_root() -> Path:
    """Folder with the real benchmark data, or skip."""
    candidates = [os.environ.get("GRAPHCL_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "Planetoid").is_dir():
            return Path(candidate)
    pytest.skip("real benchmark data not found: set GRAPHCL_DATA to their folder")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
