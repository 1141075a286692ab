"""A graph and settings small enough to train within a second."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphcl.data import load_dataset
from graphcl.methods import GraphMethod
from graphcl.train import Settings, settings_for

SMALL: dict[str, dict[str, Any]] = {
    "grace": {"hidden": 8},
    "gca": {"hidden": 8},
    "bgrl": {"channels": [12, 8], "predictor": 8, "warmup": 3, "epochs": 12},
    "dgi": {"hidden": 16, "lr": 0.05, "patience": 3, "epochs": 60},
}


@pytest.fixture(scope="session")
def karate() -> Data:
    """Zachary's karate club."""
    return load_dataset("karate")


@pytest.fixture
def small() -> Callable[..., tuple[Settings, GraphMethod]]:
    """Function that gives settings of a method on karate and the method with fixed weights."""

    def make(name: str, **overrides: Any) -> tuple[Settings, GraphMethod]:
        settings = settings_for(name, "karate", {"epochs": 12, **SMALL[name], **overrides})
        torch.manual_seed(0)
        return settings, settings.build(34)

    return make


@pytest.fixture
def curve_rows() -> Callable[[Path], list[str]]:
    """Function that reads a curves.csv without its last column, the seconds."""
    return lambda path: [line.rpartition(",")[0] for line in path.read_text().splitlines()]


@pytest.fixture
def timeless() -> Callable[[Mapping[str, Any]], str]:
    """Function that writes a metrics.json without what differs from run to run."""

    def strip(metrics: Mapping[str, Any]) -> str:
        kept = {k: v for k, v in metrics.items() if k not in ("seconds", "peak_memory_bytes")}
        kept["environment"] = sorted(kept["environment"])
        return json.dumps(kept, sort_keys=True)

    return strip
