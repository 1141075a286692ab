"""Every example runs to its end in its quick form."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "clustering_pamcgc.py": [["--smoke"]],
    "communities_gcool.py": [["--smoke"]],
    "demo.py": [["--smoke"]],
    "demo_kg.py": [["--smoke"]],
    "grace_distributed.py": [["--smoke"]],
    "grace_minibatch.py": [["--smoke"]],
    "hetero_meow.py": [["--smoke", "--method", m] for m in ("meow", "adameow", "heco")],
    "kg_link_prediction.py": [["--smoke"]],
    "link_prediction_contrastive.py": [["--smoke"], ["--smoke", "--predictor", "ncnc"]],
    "link_prediction_ncn.py": [
        ["--smoke", "--quiet", "--predictor", p] for p in ("ncn", "ncnc", "gae", "heuristics")
    ],
    "link_prediction_ogb.py": [
        ["--smoke", "--dataset", "ogbl-ddi", "--predictor", "ncnc"],
        *(["--smoke", "--dataset", f"ogbl-{n}"] for n in ("collab", "citation2")),
    ],
    "ogb_knowledge_graphs.py": [
        ["--smoke", "--negatives", "inbatch"],
        ["--smoke", "--negatives", "hasa", "--candidates", "10"],
    ],
    "ogbn_arxiv.py": [
        ["--smoke", "--method", "grace", "--pot", "pairwise"],
        ["--smoke", "--method", "gcool", "--pot", "certified"],
        ["--smoke", "--method", "pamcgc"],
    ],
    "pykeen_negatives.py": [["--smoke", "--negatives", n] for n in ("uniform", "hasa", "lemon")],
    "pykeen_text.py": [["--smoke"]],
}


def test_no_example_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(QUICK)


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


def test_no_more_candidates_are_drawn_than_a_graph_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "ogb_knowledge_graphs.py", "--smoke"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "500 candidates are more than the graph has: 13 are drawn" in done.stdout
    assert "candidates: 13 drawn entities" in done.stdout
