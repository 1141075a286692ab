"""Commands of ``kge``, and how mistakes are told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import kge.cli.app as app
from kge.experiment.files import read_csv

GROUP: Any = typer.main.get_command(app.app)
COMMANDS = sorted(GROUP.commands)
SMALL = ("--epochs", 2, "--set", "embedding_dim=8", "--device", "cpu", "--no-progress")


def train(*words: object, out: Path, dataset: object = "nations", model: str = "distmult") -> tuple:
    return ("train", "--dataset", dataset, "--model", model, "--out", out, *SMALL, *words)


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kge", "--help"], capture_output=True, text=True, check=True
    )
    assert "hard but true negatives" in " ".join(done.stdout.split())
    for name in COMMANDS:
        assert name in done.stdout


def test_help_loads_neither_torch_nor_pykeen() -> None:
    code = "import sys, kge.cli.app; print({'torch', 'pykeen', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_commands() -> None:
    assert COMMANDS == ["datasets", "evaluate", "models", "negatives", "plot", "train"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_of_options_that_exist(name: str, command: Any) -> None:
    shown = command(name, "--help")
    assert shown.code == 0
    text = " ".join((GROUP.commands[name].callback.__doc__ or "").split())
    words = text.partition("Example: kge ")[2].split()
    assert words[0] == name
    known = {option for parameter in GROUP.commands[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_datasets(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "KG" / "Tiny"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("a\tr\tb\nb\tr\tc\n\n")
    (folder / "entities.tsv").write_text("a\tA\t\n")
    shown = command("datasets", "--root", tmp_path)
    assert shown.code == 0
    rows = {}
    for line in shown.out.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        rows[cells[0]] = cells[1:]
    assert rows["tiny"] == ["2", "-", "-", "yes", str(folder)]
    assert rows["umls"][:4] == ["5216", "652", "661", "no"]


def test_models(command: Any) -> None:
    shown = command("models")
    assert "distmult, distmultliteral" in shown.out
    assert "negatives: uniform, bernoulli, hasa, lemon, inbatch" in shown.out
    shown = command("models", "transe", "--negatives", "inbatch")
    rows = [[one.strip() for one in line.strip("│").split("│")] for line in shown.out.splitlines()]
    for row in (
        ["model", "scoring_fct_norm", "1"],
        ["negatives", "pool", "1024"],
        ["optimizer", "lr", "0.01"],
        ["training", "batch_size", "256"],
        ["stopping", "patience", "5"],
    ):
        assert row in rows


def test_train_writes_a_run_and_shows_it(command: Any, tmp_path: Path) -> None:
    shown = command(*train("--seeds", 2, "--negatives", "hasa", out=tmp_path))
    assert shown.code == 0, shown.err
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    assert "entities of all splits (14), no triple dropped" in shown.out
    assert "distmult, hasa on nations" in shown.out
    assert f"{metrics['metrics']['mrr']['mean']:.4f}" in shown.out
    assert f"{metrics['metrics']['validation_mrr']['mean']:.4f}" in shown.out
    assert "2 seeds, selected by validation" in shown.out
    assert shown.err == ""


def test_options_of_train_reach_the_run(command: Any, tmp_path: Path) -> None:
    words = ("--negatives", "lemon", "--loss", "nssa", "--set", "loss.margin=3", "--set", "lr=0.1")
    assert command(*train(*words, "--set", "anchor=replaced", out=tmp_path)).code == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["loss"], config["epochs"], config["negatives"]) == ("nssa", 2, "lemon")
    assert config["options"]["loss"] == {"margin": 3}
    assert config["options"]["optimizer"] == {"lr": 0.1}
    assert config["options"]["negatives"]["anchor"] == "replaced"
    assert config["options"]["model"] == {"embedding_dim": 8}


def test_the_precision_of_products_is_set_and_noted(
    command: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = torch.get_float32_matmul_precision()
    request.addfinalizer(lambda: torch.set_float32_matmul_precision(before))
    for precision in ("medium", "highest"):
        run = tmp_path / precision
        assert command(*train("--matmul-precision", precision, out=run)).code == 0
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["environment"]["matmul_precision"] == precision
    assert "matmul_precision" not in json.loads((run / "config.json").read_text())
    shown = command(*train("--seeds", 2, out=tmp_path / "medium"))
    assert "another experiment (matmul_precision: 'medium' there, None now)" in shown.err


def test_ctrl_c_says_how_to_go_on(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kge.experiment.running.rank", interrupted)
    shown = command(*train(out=tmp_path))
    assert shown.code not in (0, 2)
    assert f"kge: interrupted; the same command continues the run in {tmp_path}\n" in shown.err


def test_train_shows_progress_where_it_is_wanted(command: Any, tmp_path: Path) -> None:
    shown = command(*train("--progress", out=tmp_path))
    assert "distmult, uniform, seed 0" in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"dataset": "natoins"},
            "no graph 'natoins'",
        ),
        ({"dataset": "natoins"}, "(did you mean 'nations'?)"),
        ({"model": "distmul"}, "unknown model 'distmul' (did you mean 'distmult'"),
        ({"more": ("--negatives", "lemmon")}, "'lemmon' (did you mean 'lemon'?)"),
        ({"more": ("--set", "embeding_dim=3")}, "(did you mean 'embedding_dim'"),
        ({"more": ("--set", "lr")}, "--set takes key=value"),
        ({"more": ("--device", "gpu")}, "unknown device 'gpu'"),
        ({"more": ("--loss", "nsa")}, "unknown loss 'nsa'"),
        ({"more": ("--set", "epochs=5")}, "epochs=2 and the setting epochs=5 differ; give one"),
        ({"more": ("--set", "unseen=maybe")}, "unseen must be keep or drop"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: dict[str, Any], message: str, command: Any, tmp_path: Path
) -> None:
    more = words.pop("more", ())
    shown = command(*train(*more, out=tmp_path / "run", **words))
    assert shown.code == 2
    assert shown.err.startswith("kge: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert not (tmp_path / "run").exists()


def test_a_malformed_file_is_named(command: Any, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a\tr\tb\n")
    (tmp_path / "valid.txt").write_text("a\tr\n")
    shown = command(*train(out=tmp_path / "run", dataset=tmp_path))
    assert shown.code == 2
    assert f"{tmp_path / 'valid.txt'}, line 1" in shown.err


def test_evaluate(command: Any, finished: Path) -> None:
    shown = command("evaluate", "--run", finished, "--device", "cpu", "--no-progress")
    assert shown.code == 0
    metrics = json.loads((finished / "metrics.json").read_text())["metrics"]
    for name in ("hits@10", "validation_hits@10"):
        assert f"{metrics[name]['mean']:.4f}" in shown.out
    words = ("--protocol", "ogb", "--candidates", 20, "--device", "cpu", "--no-progress")
    shown = command("evaluate", "--run", finished, *words)
    assert "20 drawn entities" in shown.out
    assert (finished / "metrics-ogb.json").exists()
    assert command("evaluate", "--run", finished / "none").code == 2
    shown = command("evaluate", "--run", finished, "--candidates", 5)
    assert shown.code == 2
    assert "--candidates 5 has no effect with --protocol filtered" in shown.err


def test_negatives(command: Any, finished: Path, tmp_path: Path) -> None:
    words = ("negatives", "--dataset", "umls", "--sampler")
    shown = command(*words, "lemon", "--triple", "alga isa plant", "-n", 3, "--run", finished)
    assert shown.code == 0, shown.err
    rows = [[one.strip() for one in line.strip("│").split("│")] for line in shown.out.splitlines()]
    offered = [row for row in rows if row[0] in ("head", "tail")]
    assert [row[0] for row in offered] == ["head"] * 3 + ["tail"] * 3
    for _, _, share, score, _, cluster, _ in offered:
        assert 0 < float(share) <= 1
        float(score)
        int(cluster)
    shown = command(*words, "hasa", "--triple", "alga isa plant", "-n", 3)
    assert "no model, so that nothing is mined" in shown.out
    for name, more, columns in (
        ("triple.csv", ("--triple", "alga isa plant", "-n", 2), {"replaced", "share", "known in"}),
        ("report.csv", (), {"figure", "value"}),
    ):
        shown = command(*words, "bernoulli", *more, "--out", tmp_path / name)
        assert shown.code == 0, shown.err
        rows = read_csv(tmp_path / name)
        assert columns <= set(rows[0])
    figures = {row["figure"]: row["value"] for row in rows}
    assert figures["sampler"] == "BernoulliNegativeSampler"
    assert 0 < float(figures["known_rate test"]) < 0.1
    assert "known_rate test" in shown.out
    shown = command(*words, "uniform", "-n", 3)
    assert (shown.code, "-n 3 is for the negatives of one triple" in shown.err) == (2, True)
    shown = command(*words, "hasa", "--triple", "algae isa plant")
    assert (shown.code, shown.err) == (2, "kge: unknown entity 'algae' (did you mean 'alga'?)\n")


def test_plot(command: Any, finished: Path) -> None:
    shown = command("plot", "--run", finished, "--seed", 1, "--device", "cpu")
    assert shown.code == 0, shown.err
    for name in ("curves", "scores", "texts"):
        path = finished / f"{name}.png"
        assert str(path) in shown.out
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(finished.glob(".*")), "a temporary file was left"
    shown = command("plot", "--run", finished, "--seed", 7)
    assert (shown.code, shown.err) == (2, "kge: the run has no seed 7; it has [0, 1]\n")


def test_train_reads_texts(command: Any, tmp_path: Path) -> None:
    """Models of texts get inverse triples and the graph's own texts, and come back from disk."""
    words = ("--dataset", "nations", "--model", "hasatext", "--negatives", "inbatch")
    settings = ("--set", "dim=8", "--set", "pool=0", "--set", "encoder=tfidf")
    run = command("train", *words, *settings, "--epochs", 2, "--out", tmp_path, "--no-progress")
    assert run.code == 0, run.err
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"]["dataset"]["create_inverse_triples"] is True
    assert config["options"]["model"] == {"dim": 8, "encoder": "tfidf"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    again = command("evaluate", "--run", tmp_path, "--no-progress")
    assert again.code == 0, again.err
    assert f"{metrics['metrics']['mrr']['mean']:.4f}" in again.out


def test_a_text_model_that_is_not_there_is_one_line(command: Any, tmp_path: Path) -> None:
    words = ("--dataset", "nations", "--model", "simkgc", "--negatives", "inbatch")
    run = command("train", *words, "--set", f"encoder={tmp_path}/none", "--out", tmp_path / "run")
    assert run.code == 2
    assert "is no folder with a language model" in run.err
