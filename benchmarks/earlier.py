"""What an earlier call of a case has measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphcl.data.files import read_json


def earlier_rows(result: Path | None) -> list[dict[str, Any]]:
    """Rows of the file of ``--json``, none without it."""
    rows: list[dict[str, Any]] = []
    if result is not None and result.exists():
        rows = read_json(result)["rows"]
    return rows
