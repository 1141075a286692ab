"""Evaluation of a finished run, whose embeddings are all it needs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphcl.data import load_dataset
from graphcl.probes import cluster_nodes
from graphcl.train import run_experiment
from graphcl.train.evaluation import TASKS, evaluate_run

OPTIONS: dict[str, Any] = {
    "overrides": {"hidden": 8, "epochs": 3},
    "progress": False,
    "device": "cpu",
    "seeds": (0, 1),
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on all edges."""
    folder = tmp_path_factory.mktemp("full")
    run_experiment("karate", "grace", folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that leaves edges out."""
    folder = tmp_path_factory.mktemp("held-out")
    run_experiment("karate", "grace", folder, held_out_links=0.2, **OPTIONS)
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_classification_repeats_the_runs_own(full: Path) -> None:
    found, before = evaluate_run(full), read(full / "metrics.json")
    assert found == read(full / "metrics-classify.json")
    assert (found["task"], found["protocol"]) == ("classify", "random10")
    for name in ("accuracy", "micro_f1", "macro_f1"):
        assert found["metrics"][name] == before["metrics"][name]
    assert (found["seeds"], found["selection"]) == ([0, 1], "validation")
    assert read(full / "metrics.json") == before


def test_classification_by_another_protocol_and_classifier(full: Path) -> None:
    found = evaluate_run(full, protocol="bgrl20")
    assert (found["protocol"], found["selection"]) == ("bgrl20", "cross-validation")
    found = evaluate_run(full, classifier="adam")
    assert (found["classifier"], found["selection"]) == ("adam", "validation")


def test_the_probe_is_the_runs_own(full: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(full, copied)
    config = read(copied / "config.json")
    (copied / "config.json").write_text(json.dumps({**config, "classifier": "adam"}))
    found = evaluate_run(copied)
    assert found["classifier"] == "adam"
    assert found["metrics"] == evaluate_run(full, classifier="adam")["metrics"]


def test_figures_that_cannot_be_written_are_told(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("graphcl.train.evaluation.write_json", full_disk)
    with pytest.warns(UserWarning, match="not kept: no space left"):
        assert evaluate_run(full)["metrics"]["accuracy"]["mean"] > 0


def test_clustering(full: Path) -> None:
    found = evaluate_run(full, "cluster")
    assert found["metrics"].keys() == {"accuracy", "nmi", "ari", "macro_f1"}
    assert (found["task"], found["protocol"], found["selection"]) == ("cluster", None, "inertia")
    with np.load(full / "seed-1" / "embeddings.npz") as arrays:
        z = torch.from_numpy(arrays["embeddings"])
    wanted = cluster_nodes(z, load_dataset("karate").y, seed=1)
    assert found["metrics"]["nmi"]["values"][1] == pytest.approx(wanted.nmi)
    oracle = evaluate_run(full, "cluster", oracle=True)
    assert oracle["selection"] == "oracle"
    assert oracle["metrics"]["accuracy"]["mean"] >= found["metrics"]["accuracy"]["mean"]


def test_links_repeat_the_runs_own(held_out: Path) -> None:
    found, before = evaluate_run(held_out, "links"), read(held_out / "metrics.json")
    assert (found["task"], found["selection"]) == ("links", "validation")
    assert {"link_auc", "link_average_precision"} <= found["metrics"].keys()
    for name, values in found["metrics"].items():
        assert values == before["metrics"][name]


def test_links_of_a_run_that_has_seen_them(full: Path) -> None:
    with pytest.raises(ValueError, match=r"would leak; train with held_out_links=0\.1"):
        evaluate_run(full, "links")
    assert not (full / "metrics-links.json").exists()


@pytest.mark.parametrize("task", TASKS)
def test_form_of_the_result(task: str, held_out: Path) -> None:
    found = evaluate_run(held_out, task)
    assert found == read(held_out / f"metrics-{task}.json")
    assert (found["dataset"], found["method"], found["seeds"]) == ("karate", "grace", [0, 1])
    for values in found["metrics"].values():
        assert values.keys() == {"mean", "std", "values"}
        assert len(values["values"]) == 2
    assert found["seconds"]["evaluate"] > 0
    assert "torch" in found["environment"]


def test_seeds_still_to_come_are_not_asked_for(full: Path, tmp_path: Path) -> None:
    """config.json of a run that is being extended names more seeds than are done."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(full, folder)
    config = read(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "seeds": [0, 1, 2, 3]}))
    assert evaluate_run(folder)["seeds"] == [0, 1]


def test_what_is_no_finished_run(full: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no finished run \(metrics.json is missing\)"):
        evaluate_run(tmp_path)
    with pytest.raises(ValueError, match="unknown task 'rank'; choose from classify, cluster, lin"):
        evaluate_run(full, "rank")
    with pytest.raises(ValueError, match="unknown protocol 'random11'"):
        evaluate_run(full, protocol="random11")
    with pytest.raises(ValueError, match="unknown protocol 'clustering'"):
        evaluate_run(full, protocol="clustering")


def test_a_run_of_clusters_is_classified_by_the_data_sets_protocol(tmp_path: Path) -> None:
    small = {"hidden": [16, 16], "width": 4, "epochs": 3, "pretrain_epochs": 2, "restarts": 2}
    run_experiment("karate", "pamcgc", tmp_path, **{**OPTIONS, "overrides": small})
    assert read(tmp_path / "config.json")["protocol"] == "clustering"
    assert evaluate_run(tmp_path)["protocol"] == "random10"
    with pytest.raises(ValueError, match="unknown protocol 'clustering'"):
        evaluate_run(tmp_path, protocol="clustering")


@pytest.mark.real_data
def test_graphs_for_link_prediction_keep_links_by_themselves(
    data_root: Path, tmp_path: Path
) -> None:
    options = {**OPTIONS, "seeds": (0,), "root": data_root}
    found = run_experiment("usair", "grace", tmp_path, **options)
    assert read(tmp_path / "config.json")["held_out_links"] == 0.1
    assert 0.5 < found["metrics"]["link_auc"]["mean"] <= 1
    again = evaluate_run(tmp_path, "links", root=data_root)["metrics"]
    assert again["link_auc"] == found["metrics"]["link_auc"]
