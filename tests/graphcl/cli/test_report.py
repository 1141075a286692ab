from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from graphcl.cli.report import show_metrics


def shown(**changes: Any) -> str:
    metrics: dict[str, Any] = {
        "dataset": "karate",
        "method": "grace",
        "protocol": "random10",
        "seeds": [0],
        "metrics": {"accuracy": {"mean": 0.81234, "std": 0.0123, "values": [0.81234]}},
        "selection": "validation",
        "seconds": {"train": 12.34, "epoch": 0.0567, "evaluate": 1.0},
        "peak_memory_bytes": 3 * 2**20,
    }
    console = Console(width=120, record=True, file=StringIO())
    show_metrics(console, {**metrics, **changes})
    return " ".join(console.export_text().split())  # titles are wrapped to the table's width


def test_metrics_in_per_cent_with_their_protocol_and_selection() -> None:
    text = shown()
    assert "grace on karate, protocol random10" in text
    assert "81.23 %" in text
    assert "1.23" in text
    assert "1 seed, selected by validation" in text
    assert "training 12.3 s a seed (56.7 ms an epoch), evaluation 1.0 s" in text
    assert "3 MiB" in text


@pytest.mark.parametrize("seconds", [{"evaluate": 1.0}, {}])
def test_an_evaluation_has_no_training_time(seconds: dict[str, float]) -> None:
    text = shown(seconds=seconds, seeds=[0, 1], protocol=None)
    assert "training" not in text
    assert "protocol" not in text
    assert "2 seeds, selected by validation" in text
