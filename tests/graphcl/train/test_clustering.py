"""Experiments with a method that clusters: protocol, selection without labels, oracle by name."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

import graphcl.train.experiment as module
from graphcl.cli.plots import plot_run
from graphcl.data import load_dataset
from graphcl.methods import PamCGC
from graphcl.probes import clustering_scores
from graphcl.train import fit, run_experiment, settings_for
from graphcl.train.clustering import ORACLE, ClusterTrace, cluster_values, label_free_value
from graphcl.train.evaluation import evaluate_run
from graphcl.train.preparation import FilePreparation

SMALL: dict[str, Any] = {
    "hidden": [16, 16],
    "width": 4,
    "epochs": 6,
    "pretrain_epochs": 4,
    "restarts": 3,
}


def run(out: Path, dataset: str = "karate", **options: Any) -> dict[str, Any]:
    return run_experiment(
        dataset,
        "pamcgc",
        out,
        **{"overrides": SMALL, "progress": False, "device": "cpu", **options},
    )


def trace_rows(path: Path) -> list[dict[str, float]]:
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_the_run_is_judged_by_its_clusters(tmp_path: Path) -> None:
    metrics = run(tmp_path, seeds=(0, 1))
    assert (metrics["protocol"], metrics["selection"]) == (
        "clustering",
        "last epoch, without labels",
    )
    assert "oracle" not in metrics
    names = {"accuracy", "nmi", "ari", "macro_f1", "silhouette", "modularity"}
    assert metrics["metrics"].keys() == names | {f"kmeans_{name}" for name in names}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"]["clusters"] == 4  # as many as there are classes
    assert (config["selection"], config["oracle"]) == ("last", False)
    rows = trace_rows(tmp_path / "seed-0" / "clusters.csv")
    assert [row["epoch"] for row in rows] == list(range(7))
    assert list(rows[0]) == ["epoch", "clusters", "changed"]
    assert [path.name for path in plot_run(tmp_path)] == [
        "loss.png",
        "projection.png",
        "similarity.png",
    ]
    assert evaluate_run(tmp_path, "cluster")["selection"] == "inertia"
    assert not (tmp_path / "seed-0" / "preparation.ckpt").exists()
    before = trace_rows(tmp_path / "seed-0" / "preparation.csv")
    assert [row["epoch"] for row in before] == [0, 1, 2, 3]
    assert metrics["seconds"].keys() == {"prepare", "train", "epoch", "evaluate"}
    assert metrics["seconds"]["prepare"] > 0


def test_kmeans_looks_at_directions_alone() -> None:
    """Rows of any length in three directions; the centres split the longest and miss the others."""
    label = torch.arange(60) % 3
    length = torch.where(label == 0, torch.linspace(1, 90, 60), 1.0)[:, None]

    class Fixed(PamCGC):
        def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(label, 3).float() * length

    method = Fixed(4, 3, hidden=[8], width=3)
    with torch.no_grad():
        method.centres.copy_(torch.tensor([[5.0, 0, 0], [40, 0, 0], [80, 0, 0]]))
    data = Data(x=torch.rand(60, 4), edge_index=torch.tensor([[0, 1], [1, 0]]), y=label)
    found = cluster_values(method, data, 0)
    assert found["accuracy"] < 0.9
    assert found["kmeans_accuracy"] == found["kmeans_ari"] == 1
    assert found["kmeans_silhouette"] == pytest.approx(1)
    del data.y
    assert cluster_values(method, data, 0).keys() == {
        "silhouette",
        "modularity",
        "kmeans_silhouette",
        "kmeans_modularity",
    }


def test_scores_are_those_of_the_stored_weights(tmp_path: Path) -> None:
    metrics = run(tmp_path, overrides={**SMALL, "clusters": 3})
    settings = settings_for("pamcgc", "karate", {**SMALL, "clusters": 3})
    method: Any = settings.build(34)
    state = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    method.load_state_dict({k.removeprefix("method."): v for k, v in state.items()})
    data = load_dataset("karate")
    label = method.communities(data.x, data.edge_index)
    assert len(label.unique()) <= 3
    for name, value in clustering_scores(data.y, label).items():
        assert metrics["metrics"][name]["values"] == [value]
    with np.load(tmp_path / "embeddings.npz") as arrays:
        z = torch.from_numpy(arrays["embeddings"])
    torch.testing.assert_close(method.embed(data.x, data.edge_index), z)


@pytest.mark.parametrize("selection", ["silhouette", "modularity"])
def test_selection_keeps_the_weights_of_the_highest_value(selection: Any, tmp_path: Path) -> None:
    metrics = run(tmp_path, selection=selection)
    assert metrics["selection"] == f"{selection} epoch, without labels"
    rows = trace_rows(tmp_path / "seed-0" / "clusters.csv")
    best = max(row[selection] for row in rows)
    assert metrics["metrics"][selection]["mean"] == pytest.approx(best)


def test_labels_choose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other labels the same weights are kept; only the scores differ, by name."""
    honest = run(tmp_path / "a", selection="modularity")
    real = load_dataset("karate")

    def shuffled(name: str, root: Any) -> Data:
        data = real.clone()
        data.y = data.y[torch.randperm(34, generator=torch.Generator().manual_seed(3))]
        return data

    monkeypatch.setattr(module, "load_dataset", shuffled)
    other = run(tmp_path / "b", selection="modularity", oracle=True)
    with (
        np.load(tmp_path / "a" / "embeddings.npz") as one,
        np.load(tmp_path / "b" / "embeddings.npz") as two,
    ):
        assert (one["embeddings"] == two["embeddings"]).all()
    assert honest["metrics"]["modularity"] == other["metrics"]["modularity"]
    assert honest["metrics"]["accuracy"] != other["metrics"]["accuracy"]


def test_the_oracle_is_named_and_the_best_of_all_epochs(tmp_path: Path) -> None:
    metrics = run(tmp_path, oracle=True)
    assert metrics["oracle"] == ORACLE
    rows = trace_rows(tmp_path / "seed-0" / "clusters.csv")
    for name in ("accuracy", "nmi", "ari", "macro_f1"):
        best = metrics["metrics"][f"oracle_{name}"]["mean"]
        assert best == pytest.approx(max(row[f"oracle_{name}"] for row in rows))
        assert best >= metrics["metrics"][name]["mean"]
        assert rows[-1][f"oracle_{name}"] == pytest.approx(metrics["metrics"][name]["mean"])


def test_the_error_of_the_proxy_is_reported_for_every_epoch(tmp_path: Path) -> None:
    run(tmp_path, approximation=True)
    rows = trace_rows(tmp_path / "seed-0" / "clusters.csv")
    assert len(rows) == 7
    for row in rows:
        assert row["error"] == pytest.approx(row["exact"] - row["proxy"])
        assert row["error"] >= 0
        assert row["predicted"] == pytest.approx(row["error"], rel=0.3, abs=1e-4)


@pytest.mark.parametrize("stop", ["pretraining", "training", "end"])
def test_an_interrupted_run_ends_like_a_whole_one(
    stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeless: Callable[..., str]
) -> None:
    options: dict[str, Any] = {
        "selection": "silhouette",
        "oracle": True,
        "checkpoint_seconds": 0.0,
    }
    whole = run(tmp_path / "whole", **options)
    epochs: list[int] = []
    real_save = FilePreparation.save

    def save(self: Any, state: Any, *, last: bool = False) -> None:
        real_save(self, state, last=last)
        epochs.append(len(state["losses"]))
        if stop == "pretraining" and epochs == [1, 2]:
            raise KeyboardInterrupt

    def interrupt(self: Any, step: int, total: int) -> None:
        if stop == "training" and step == 3 and "stopped" not in state:
            state.add("stopped")
            raise RuntimeError("stopped")

    state: set[str] = set()
    real_values = module.cluster_values

    def values(*arguments: Any) -> Any:
        if stop == "end" and "stopped" not in state:
            state.add("stopped")
            raise RuntimeError("stopped")
        return real_values(*arguments)

    monkeypatch.setattr(FilePreparation, "save", save)
    monkeypatch.setattr("graphcl.methods.PamCGC.after_step", interrupt)
    monkeypatch.setattr(module, "cluster_values", values)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        run(tmp_path / "run", **options)
    again = run(tmp_path / "run", **options)
    # Pre-trained once, wherever it stopped.
    assert epochs == [1, 2, 3, 4]
    assert timeless(again) == timeless(whole)
    traces = [tmp_path / name / "seed-0" / "clusters.csv" for name in ("run", "whole")]
    assert traces[0].read_text() == traces[1].read_text()
    losses = [
        [row["loss"] for row in trace_rows(path.with_name("preparation.csv"))] for path in traces
    ]
    assert losses[0] == losses[1]
    with (
        np.load(tmp_path / "run" / "embeddings.npz") as one,
        np.load(tmp_path / "whole" / "embeddings.npz") as two,
    ):
        assert (one["embeddings"] == two["embeddings"]).all()


def test_preparation_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(tmp_path, progress=True)
    assert "seed 0, preparation" in capsys.readouterr().out


def test_a_method_without_preparation_is_left_alone(tmp_path: Path) -> None:
    run_experiment(
        "karate",
        "grace",
        tmp_path,
        overrides={"hidden": 4, "epochs": 2},
        progress=False,
        device="cpu",
    )
    assert not list(tmp_path.rglob("preparation.ckpt"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "random10"}, "judged by protocol 'clustering'.*got 'random10'"),
        (
            {"selection": "accuracy"},
            "last, silhouette, modularity; got 'clustering' and 'accuracy'",
        ),
        ({"overrides": {**SMALL, "clusters": 35}}, "35 clusters were asked for"),
        ({"overrides": {**SMALL, "clusters": 1}}, "at least 2, got 1"),
        ({"overrides": {**SMALL, "alhpa": 1}}, "did you mean 'alpha'"),
    ],
)
def test_mistakes(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "run", **options)
    assert not list(tmp_path.rglob("checkpoint.ckpt"))


@pytest.mark.parametrize("option", [{"oracle": True}, {"selection": "silhouette"}])
def test_other_methods_have_no_such_options(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="grace does not cluster"):
        run_experiment("karate", "grace", tmp_path, progress=False, device="cpu", **option)


def test_a_graph_without_labels_is_clustered_too(tmp_path: Path) -> None:
    data = load_dataset("karate")
    del data.y
    with pytest.raises(ValueError, match="oracle scores need labels"):
        ClusterTrace(data, oracle=True)
    with pytest.raises(ValueError, match="unknown selection 'loss'"):
        ClusterTrace(data, "loss")  # type: ignore[arg-type]
    settings = settings_for("pamcgc", "karate", SMALL)
    method: Any = settings.build(34)
    trace = ClusterTrace(data, "modularity")
    fit(method, data, settings.training, device="cpu", progress=False, selector=trace)
    assert trace.oracle_scores() == {}
    assert max(row["modularity"] for row in trace.rows) == trace.best_value


def test_label_free_values_of_a_collapsed_clustering() -> None:
    data = load_dataset("karate")
    for name in ("silhouette", "modularity"):
        single = torch.zeros(34, dtype=torch.long)
        assert label_free_value(name, data.x, single, data.edge_index, 0) == -1.0
        assert -1 <= label_free_value(name, data.x, data.y, data.edge_index, 0) <= 1
    assert label_free_value("silhouette", data.x, torch.arange(34), data.edge_index, 0) == -1.0


def test_a_pretraining_that_diverges_is_told(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="lower pretrain_lr"):
        run(tmp_path, overrides={**SMALL, "pretrain_lr": 1e30})


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "real"), [("usps", True), ("acm-cluster", False), ("citeseer-cluster", False)]
)
def test_clustering_datasets_keep_their_values(name: str, real: bool, data_root: Path) -> None:
    data = load_dataset(name, data_root)
    assert bool(((data.x > 0) & (data.x < 1)).any()) == real
    assert settings_for("pamcgc", name).model["clusters"] == data.num_classes


def test_the_last_look_moves_no_centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where centres would be put anew after as many epochs as there are."""
    called: list[int] = []
    anew = PamCGC._put_centres_anew

    def counted(self: PamCGC, z: Tensor) -> None:
        called.append(int(self.epoch))
        anew(self, z)

    monkeypatch.setattr(PamCGC, "_put_centres_anew", counted)
    run(tmp_path, overrides={**SMALL, "recentre": 3})
    assert called == [3]  # of 6 epochs: not after the last one
    assert len(trace_rows(tmp_path / "seed-0" / "clusters.csv")) == 7


def test_an_interruption_after_the_last_state_keeps_the_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is written before the state, with which pre-training has nothing left to do."""

    class Killed(Exception):
        """Stands for a kill between two files."""

    write = torch.save

    def killed(state: Any, file: Any, **options: Any) -> None:
        write(state, file, **options)
        if isinstance(state, dict) and len(state.get("rows", ())) == 3:
            raise Killed

    preparation = FilePreparation(tmp_path)
    for epoch in range(1, 4):
        preparation.show(epoch, 3, 0.5)
    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(Killed):
        preparation.save({}, last=True)
    assert FilePreparation(tmp_path).seconds_spent() is not None
