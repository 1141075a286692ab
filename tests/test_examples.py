"""Every example runs to its end in its quick form."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "communities_gcool.py": [["--smoke"]],
    "link_prediction_ncn.py": [["--smoke", "--quiet", "--predictor", p] for p in ("ncn", "ncnc")],
    "pykeen_negatives.py": [["--smoke", "--negatives", n] for n in ("uniform", "hasa", "lemon")],
    "pykeen_text.py": [["--smoke"]],
}
ELSEWHERE = {"demo.py", "demo_kg.py"}  # run by ``make demo`` and tests of their own rooms


def test_no_example_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(QUICK) | ELSEWHERE


@pytest.mark.parametrize("name", sorted(QUICK))
def test_examples_are_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= 120


@pytest.mark.parametrize(
    ("name", "words"), [(name, words) for name, runs in QUICK.items() for words in runs]
)
def test_the_quick_form_runs(name: str, words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
