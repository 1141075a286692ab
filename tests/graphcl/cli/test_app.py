"""Commands of ``graphcl``, and how mistakes are told."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import graphcl.cli.app as app
from graphcl.data import dataset_names
from graphcl.train import method_names

COMMANDS = sorted(typer.main.get_command(app.app).commands)
SMALL = ("--epochs", 3, "--set", "hidden=8", "--device", "cpu", "--no-progress")


def train(*words: object, out: Path, dataset: str = "karate", method: str = "grace") -> tuple:
    return ("train", "--dataset", dataset, "--method", method, "--out", out, *SMALL, *words)


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphcl", "--help"], capture_output=True, text=True, check=True
    )
    assert "honest evaluation" in " ".join(done.stdout.split())
    for name in COMMANDS:
        assert name in done.stdout


def test_the_commands() -> None:
    assert {"datasets", "methods", "train", "evaluate", "plot"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str, command: Any) -> None:
    shown = command(name, "--help")
    assert shown.code == 0
    assert f"Example: graphcl {name}" in " ".join(shown.out.split())


def test_examples_of_the_help_are_commands(command: Any) -> None:
    """The words after "Example:" are options that exist."""
    group = typer.main.get_command(app.app)
    for name in COMMANDS:
        example = " ".join((group.commands[name].callback.__doc__ or "").split())
        words = example.partition("Example: graphcl ")[2].split()
        assert words[0] == name
        known = {option for p in group.commands[name].params for option in p.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_datasets(command: Any) -> None:
    shown = command("datasets")
    assert shown.code == 0
    for name in dataset_names():
        assert f" {name} " in shown.out
    line = next(row for row in shown.out.splitlines() if " karate " in row)
    assert line.split() == ["karate", "34", "156", "34", "4", "random10", "bgrl20", "-"]
    assert next(row for row in shown.out.splitlines() if " usps " in row).split()[-1] == "own"
    assert next(row for row in shown.out.splitlines() if " cora " in row).split()[-1] == "fetched"


def test_methods(command: Any) -> None:
    shown = command("methods")
    assert shown.code == 0
    for name in method_names():
        assert f" {name} " in shown.out
    assert "arXiv 2006.04131" in shown.out


@pytest.mark.parametrize("method", method_names())
def test_settings_of_a_method(method: str, command: Any) -> None:
    shown = command("methods", method)
    assert shown.code == 0
    assert "weight_decay" in shown.out
    if method == "grace":
        assert "citeseer" in shown.out
        assert "[0.2, 0.0]" in shown.out


def test_train_writes_a_run_and_shows_it(command: Any, tmp_path: Path) -> None:
    shown = command(*train("--seeds", 2, out=tmp_path / "run"))
    assert shown.code == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    assert metrics["epochs"] == [3, 3]
    assert "grace on karate, protocol random10" in shown.out
    assert f"{100 * metrics['metrics']['accuracy']['mean']:.2f} %" in shown.out
    assert "2 seeds, selected by validation" in shown.out
    before = (tmp_path / "run" / "seed-0" / "result.json").stat().st_mtime_ns
    assert command(*train("--seeds", 3, out=tmp_path / "run")).code == 0
    assert (tmp_path / "run" / "seed-0" / "result.json").stat().st_mtime_ns == before


def test_options_of_train_reach_the_run(command: Any, tmp_path: Path) -> None:
    words = ("--set", "drop_edge=[0.1, 0.5]", "--set", "activation=prelu", "--hold-out-links", 0.2)
    more = ("--protocol", "bgrl20", "--precision", "bf16-mixed")
    assert command(*train(*words, *more, out=tmp_path)).code == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"]["drop_edge"] == [0.1, 0.5]
    assert config["model"]["activation"] == "prelu"
    assert config["training"]["epochs"] == 3
    assert (config["held_out_links"], config["protocol"]) == (0.2, "bgrl20")
    assert config["precision"] == "bf16-mixed"


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
    shown = command(*train("--seeds", 2, out=tmp_path / "medium"))
    assert "another experiment (matmul_precision: 'medium' there, None now)" in shown.err


def test_the_probe_is_shown(command: Any, tmp_path: Path) -> None:
    shown = command(*train("--probe", "adam", out=tmp_path))
    assert "protocol random10, probe adam" in " ".join(shown.out.split())


def test_epochs_are_given_once(command: Any, tmp_path: Path) -> None:
    assert command(*train("--set", "epochs=3", out=tmp_path / "alike")).code == 0


@pytest.mark.parametrize("progress", ["--progress", "--no-progress"])
def test_ctrl_c_says_how_to_go_on(
    progress: str, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr("graphcl.methods.GRACE.after_step", interrupted)
        shown = command(*train(progress, out=tmp_path))
    assert shown.code not in (0, 2)
    assert f"graphcl: interrupted; the same command continues the run in {tmp_path}\n" in shown.err
    assert signal.getsignal(signal.SIGINT) == handler
    assert command(*train(out=tmp_path)).code == 0


def test_train_shows_progress_where_it_is_wanted(command: Any, tmp_path: Path) -> None:
    shown = command(*train("--progress", out=tmp_path))
    assert "grace on karate, seed 0" in shown.out


@pytest.mark.parametrize("task", ["classify", "cluster", "links"])
def test_evaluate(task: str, command: Any, finished: Path) -> None:
    shown = command("evaluate", "--run", finished, "--task", task)
    assert shown.code == 0
    metrics = json.loads((finished / f"metrics-{task}.json").read_text())
    name, values = next(iter(metrics["metrics"].items()))
    assert name in shown.out
    assert f"{100 * values['mean']:.2f} %" in shown.out
    assert metrics["selection"] in shown.out


def test_what_asks_for_nothing_is_not_refused(command: Any, finished: Path) -> None:
    assert command("evaluate", "--run", finished, "--task", "classify", "--no-oracle").code == 0


def test_evaluate_names_the_oracle(command: Any, finished: Path) -> None:
    shown = command("evaluate", "--run", finished, "--task", "cluster", "--oracle")
    assert "selected by oracle" in shown.out


def test_plot(command: Any, finished: Path) -> None:
    shown = command("plot", "--run", finished, "--seed", 1)
    assert shown.code == 0
    pictures = [finished / f"{name}.png" for name in ("loss", "projection", "similarity")]
    for path in pictures:
        assert str(path) in shown.out
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def mistakes(out: Path) -> dict[str, tuple[tuple, str]]:
    return {
        "loader forgotten": (
            train("--batch-size", 256, out=out),
            "--batch-size has no effect with --loader full; it is for --loader neighbor or cluster",
        ),
        "no loader's batch": (
            train("--batch-size", 0, out=out),
            "--batch-size has no effect with --loader full",
        ),
        "other loader": (
            train("--loader", "cluster", "--fan-out", "5,5", out=out),
            "--fan-out has no effect with --loader cluster",
        ),
        "dataset": (train(out=out, dataset="karat"), "Did you mean 'karate'?"),
        "markup": (train(out=out, dataset="[/]"), "unknown dataset '[/]'"),
        "method": (train(out=out, method="graec"), "unknown method 'graec'; choose from"),
        "epochs twice": (
            train("--set", "epochs=5", out=out),
            "--epochs 3 and --set epochs=5 differ; give one of them",
        ),
        "loader of hard batches": (
            train("--hard-every", 2, out=out),
            "hard_every=2 orders the seeds of loader 'neighbor', not of 'full': set hard_every to",
        ),
        "no queue": (
            train("--loader", "neighbor", "--key-momentum", 0.5, out=out),
            "momentum=0.5 (graphcl train --key-momentum) is of the keys of a queue",
        ),
        "no provable training": (
            train("--set", "kappa=0.4", out=out),
            "grace has no setting 'kappa' without provable training: choose its score by pot "
            "(graphcl train --pot). Known: hidden,",
        ),
        "no host of provable training": (
            train("--set", "kappa=0.4", out=out, method="dgi"),
            "POT cannot be added to dgi",
        ),
        "official links": (
            train("--hold-out-links", 0.3, out=out, dataset="ogbl-collab"),
            "ogbl-collab is tested on its official links: leave out held_out_links=0.3",
        ),
        **{
            f"{option} for {task}": (
                ("evaluate", "--run", out, "--task", task, option, *value),
                f"{option} has no effect with --task {task}; it is for --task {reader}",
            )
            for task, option, value, reader in (
                ("cluster", "--protocol", ["public"], "classify"),
                ("cluster", "--probe", ["adam"], "classify"),
                ("classify", "--oracle", [], "cluster"),
                ("links", "--oracle", [], "cluster"),
                ("links", "--probe", ["logistic"], "classify"),
            )
        },
        "setting": (train("--set", "taus=1", out=out), "no setting 'taus' (did you mean 'tau'?)"),
        "no value": (train("--set", "tau", out=out), "--set takes key=value, got 'tau'"),
        "bad value": (train("--set", "lr=fast", out=out), "lr must be float, got 'fast'"),
        "bad rate": (train("--set", "drop_edge=0.3", out=out), "drop_edge needs two rates"),
        "protocol": (train("--protocol", "x", out=out), "unknown protocol 'x'"),
        "device": (train("--device", "x", out=out), "unknown device 'x'"),
        "methods": (("methods", "graec"), "unknown method 'graec'"),
        "evaluate": (("evaluate", "--run", out), "holds no finished run"),
        "plot": (("plot", "--run", out), "run or continue it with: graphcl train"),
    }


@pytest.mark.parametrize("name", mistakes(Path()))
def test_a_mistake_ends_in_one_line(name: str, command: Any, tmp_path: Path) -> None:
    words, message = mistakes(tmp_path / "run")[name]
    shown = command(*words)
    assert shown.code == 2
    assert shown.out == ""
    assert shown.err.startswith("graphcl: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--loader", "'full', 'neighbor', 'cluster'"),
        ("--partition", "'auto', 'metis', 'louvain', 'bandwidth'"),
        ("--pot", "'none', 'pairwise', 'certified', 'official'"),
        ("--probe", "'logistic', 'adam'"),
        ("--selection", "'last', 'silhouette', 'modularity'"),
    ],
)
def test_an_unknown_choice_lists_the_known(
    option: str, choices: str, command: Any, tmp_path: Path
) -> None:
    shown = command(*train(option, "x", out=tmp_path / "run"))
    assert shown.code == 2
    told = " ".join(shown.err.replace("│", " ").split())
    assert f"Invalid value for '{option}'" in told
    assert f"'x' is not one of {choices}" in told
    assert not (tmp_path / "run").exists()


def test_other_mistakes_end_in_one_line(command: Any, tmp_path: Path, finished: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    for words, message in (
        (train("--root", file, out=tmp_path / "run", dataset="cora"), "data root must be a folder"),
        (train(out=file / "run"), "file"),
        (train(out=tmp_path), "is not empty and holds no experiment"),
        (train("--set", "lr=1e20", out=tmp_path / "far"), "the loss is nan at epoch"),
        (("plot", "--run", finished, "--seed", 7), "the run has no seed 7"),
        (train("--set", "tau=0.123", out=finished), "holds another experiment"),
    ):
        shown = command(*words)
        assert shown.code == 2, shown
        assert message in shown.err
        assert shown.err.count("\n") == 1


def test_missing_data_say_where_they_were_looked_for(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))
    words = train("--root", tmp_path / "data", out=tmp_path / "run", dataset="usair")
    shown = command(*words)
    assert shown.code == 2
    assert "LinkPrediction" in shown.err
    assert not (tmp_path / "run").exists()


def test_wrong_usage_is_typers_business(command: Any) -> None:
    for words in (
        ("trian",),
        ("train", "--dataset", "karate"),
        ("train", "--dataset", "karate", "--method", "grace", "--out", "x", "--seeds", 0),
        ("evaluate", "--run", "x", "--task", "rank"),
    ):
        shown = command(*words)
        assert shown.code == 2
        assert "Traceback" not in shown.err


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(app, "app", broken)
    with pytest.raises(KeyError):
        app.run()


def test_train_a_method_that_clusters(command: Any, tmp_path: Path) -> None:
    words = ("--set", "hidden=[8, 8]", "--set", "pretrain_epochs=2", "--selection", "modularity")
    arguments = ("train", "--dataset", "karate", "--method", "pamcgc", "--out", tmp_path)
    more = ("--epochs", 3, "--device", "cpu", "--no-progress", "--oracle", "--approximation")
    shown = command(*arguments, *more, *words)
    assert shown.code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["protocol"] == "clustering"
    assert "pamcgc on karate, protocol clustering" in " ".join(shown.out.split())
    for name in ("accuracy", "nmi", "ari", "macro_f1", "oracle_accuracy"):
        assert name in shown.out
        assert f"{100 * metrics['metrics'][name]['mean']:.2f} %" in shown.out
    assert "modularity" in metrics["selection"]
    assert command("plot", "--run", tmp_path).code == 0
    shown = command(*arguments[:-2], "--out", tmp_path / "new", "--protocol", "random10")
    assert "judged by protocol 'clustering'" in shown.err
