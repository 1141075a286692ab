"""Every benchmark case runs at a tiny size, and its table and chart can be made."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.__main__ import CASES, RESULTS, main, markdown, measured_on, with_tables
from benchmarks.cases import accuracy, kg_negatives, kg_quality, pot
from benchmarks.words import percent

QUICK = {
    "graph_methods": [
        "--nodes",
        "40",
        "--methods",
        "grace+pot",
        "heco",
        "pamcgc",
        "--repeats",
        "1",
    ],
    "infonce": ["--nodes", "64", "--repeats", "1"],
    "kg_ranking": ["--dataset", "nations", "--models", "distmult", "--dim", "8", "--repeats", "1"],
    "kg_samplers": ["--dataset", "nations", "--samplers", "uniform", "lemon", "--draws", "500"],
    "kg_throughput": [
        "--dataset",
        "nations",
        "--models",
        "distmult",
        "--dim",
        "8",
        "--batch",
        "64",
        "--least",
        "0",
        "--optimizer",
        "adam",  # the pool holds all of the few entities: gradients are dense
    ],
    "ogb_ranking": ["--datasets", "ogbl-collab", "--repeats", "1"],
    "pamc": ["--nodes", "50", "--repeats", "1"],
    "pamc_step": ["--dataset", "karate", "--nodes", "60", "--repeats", "1"],
    "segments": ["--rows", "500", "--segments", "50", "--width", "4", "--repeats", "1"],
}
TRAINED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "accuracy": (
        {"ENTRIES": [accuracy.Entry("karate", "grace", "random10", 2, {"epochs": 2}, "none")]},
        [],
    ),
    "kg_negatives": (
        {"REGIMES": {"nations": {"usual": kg_negatives.Regime(4, 512, 8, 2, 1)}}},
        [
            *("--models", "complex", "--methods", "uniform", "hasa", "--seeds", "1"),
            *("--rates", "0.01", "0.05"),
        ],
    ),
    "kg_quality": (
        {
            "ENTRIES": {
                "nations": kg_quality.Entry(
                    "nations", "complex", 1, 0.1, {**kg_quality.COMPLEX, "frequency": 1}, 2
                )
            }
        },
        ["--threads", "1"],
    ),
    "lightning_overhead": ({}, ["--dataset", "karate", "--epochs", "2", "--repeats", "1"]),
    "pot": (
        {"ENTRIES": [pot.Entry("grace", "karate", {"epochs": 2, "hidden": 8})]},
        ["--seeds", "2", "--kappas", "0.2", "0.4"],
    ),
}
"""Cases that train for minutes, what stands in for their tables of work, and their options."""


def test_no_case_is_forgotten() -> None:
    assert set(CASES) == set(QUICK) | set(TRAINED)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_quick_form_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "result.json"
    words = ["run", name, *QUICK[name], "--json", str(out)]
    monkeypatch.setattr("sys.argv", ["benchmarks", *words])
    main()
    result = json.loads(out.read_text())
    assert result["case"] == name
    assert result["rows"]
    text = markdown(result)
    assert text.startswith(f"### {name}: ")
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAINED))
def test_cases_that_train_run_and_continue(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, options = TRAINED[name]
    for attribute, value in tables.items():
        monkeypatch.setattr(f"benchmarks.cases.{name}.{attribute}", value)
    out = tmp_path / "result.json"
    words = ["run", name, *options, "--json", str(out)]
    if name != "lightning_overhead":
        words += ["--out", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", ["benchmarks", *words])
    before = torch.get_num_threads()
    try:
        main()
        first = json.loads(out.read_text())
        text = markdown(first)
        assert text.startswith(f"### {name}: ")
        widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
        assert len(widths) == 1
        if name != "lightning_overhead":
            main()  # what lies under --out is not trained again
            assert json.loads(out.read_text())["rows"] == first["rows"]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_give_a_table(path: Path) -> None:
    result = json.loads(path.read_text())
    assert result["case"] == path.stem
    assert markdown(result).count("\n|") >= 3


def test_rows_of_other_calls_name_their_own_machine() -> None:
    here = {"processor": "A", "threads": 2, "torch": "2", "python": "3", "commit": "c2"}
    earlier = {**here, "threads": 1, "commit": "c1", "matmul_precision": "medium"}
    result = {"environment": here, "rows": [{"environment": earlier}, {"environment": here}, {}]}
    assert measured_on(result) == (
        "Processor A; threads 1, 2; torch 2; python 3; precision of float32 products medium, "
        "highest; commit c1, c2."
    )
    assert measured_on({"environment": here}).endswith("commit c2.")


def test_tables_go_between_the_marks() -> None:
    text = "a\n<!-- measured: pamc segments -->\nold\n<!-- /measured -->\nb\n"
    found = with_tables(text)
    assert found.startswith("a\n<!-- measured: pamc segments -->\n### pamc: ")
    assert found.endswith("|\n\nProcessor" + found.rpartition("Processor")[2])
    assert found.count("\n### ") == 2
    assert "old" not in found
    assert with_tables(found) == found
    every = with_tables(text.replace(": pamc segments", ""))
    assert every.count("\n### ") == len(list(RESULTS.glob("*.json")))
    with pytest.raises(ValueError, match="no <!-- measured"):
        with_tables("a\n")
    with pytest.raises(ValueError, match=r"no results of \['pam'\]"):
        with_tables(text.replace("pamc", "pam"))


@pytest.mark.parametrize("name", ["README.md", "benchmarks/README.md"])
def test_the_documents_have_the_committed_figures(name: str) -> None:
    text = (RESULTS.parents[1] / name).read_text()
    assert with_tables(text) == text, f"run: python -m benchmarks report --into {name}"


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("accuracy --only cora-gracee", "cora-grace"),
        ("pot --only nosuch", "cora-gca"),
        ("kg_negatives --only umsl", "umls"),
        ("kg_negatives --only umls --regimes fwe", "few"),
    ],
)
def test_work_that_is_not_there_is_refused(
    words: str, known: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "run", *words.split()])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"invalid choice: '{words.split()[-1]}'" in told
    assert known in told


def test_a_regime_that_a_named_graph_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "benchmarks run kg_negatives --only umls wn18rr --regimes few small"
    monkeypatch.setattr("sys.argv", words.split())
    with pytest.raises(ValueError, match="wn18rr has no regime few or small; choose from usual"):
        main()


def test_one_seed_has_no_standard_deviation() -> None:
    assert percent({"mean": 0.5, "std": 0.01, "values": [0.49, 0.51]}) == "50.00 ± 1.00"
    assert percent({"mean": 0.5, "std": 0.0, "values": [0.5]}, 1) == "50.0"
