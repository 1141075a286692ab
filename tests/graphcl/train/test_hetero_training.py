"""Heterogeneous methods through experiments: labels per class, resume, renaming, the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch_geometric.data import Data, HeteroData

import graphcl.train.evaluation as evaluation
import graphcl.train.experiment as experiment
from graphcl.metapaths import compose, top_neighbours
from graphcl.methods import MEOW
from graphcl.probes import Split, linear_probe, make_split
from graphcl.train import fit, run_experiment, settings_for
from graphcl.train.evaluation import evaluate_run

NODES = 2200
QUICK: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, dict[str, Any]] = {
    "meow": {"top_n": [6, 6], "ties": "random", "clusters": [20], "mask_edge": 0.2},
    "adameow": {"top_n": 6, "pair_hidden": 1},
    "heco": {"sample": 3, "metapaths": ["PAP"]},
}


def academic(seed: int = 0) -> HeteroData:
    """Three classes, sorted as files often are; splits of 20 and 40 labels a class."""
    rng = np.random.default_rng(seed)
    data = HeteroData()
    y = np.sort(rng.integers(3, size=NODES))
    x = rng.normal(size=(NODES, 10)) + 0.8 * np.eye(3, 10)[y]
    data["paper"].x, data["paper"].y = torch.from_numpy(x).float(), torch.from_numpy(y)
    data["author"].num_nodes, data["subject"].num_nodes = 600, 300

    def partners(count: int) -> torch.Tensor:
        kind = np.where(rng.random(NODES) < 0.7, y, rng.integers(3, size=NODES))
        return torch.from_numpy(rng.integers(count // 3, size=NODES) * 3 + kind)

    papers = torch.arange(NODES)
    first, second = partners(600), partners(600)
    authors = torch.stack([papers.repeat(2), torch.cat([first, second])]).unique(dim=1)
    data["paper", "to", "author"].edge_index = authors
    data["paper", "to", "subject"].edge_index = torch.stack([papers, partners(300)])
    data.splits = {}
    for count in (20, 40):
        order = torch.from_numpy(rng.permutation(NODES))
        label = data["paper"].y[order]
        train = torch.cat([order[label == k][:count] for k in range(3)])
        rest = order[~torch.isin(order, train)]
        data.splits[count] = {"train": train, "val": rest[:1000], "test": rest[1000:2000]}
    return data


@pytest.fixture(scope="module")
def graph() -> HeteroData:
    """The graph, made once."""
    return academic()


@pytest.fixture(autouse=True)
def _acm(monkeypatch: pytest.MonkeyPatch, graph: HeteroData) -> None:
    """Let "acm" be the small graph."""
    for module in (experiment, evaluation):
        monkeypatch.setattr(module, "load_dataset", lambda name, root=None: graph.clone())


def run(out: Path, method: str = "meow", **options: Any) -> dict[str, Any]:
    overrides = {
        "hidden": 8,
        "epochs": 3,
        "lr": 0.02,
        "normalize_features": False,  # they are Gaussian, not counts
        **SMALL[method],
        **options.pop("overrides", {}),
    }
    return run_experiment("acm", method, out, overrides=overrides, **{**QUICK, **options})


@pytest.mark.parametrize("method", ["meow", "adameow", "heco"])
def test_run_directory(method: str, tmp_path: Path) -> None:
    metrics = run(tmp_path, method)
    assert (metrics["protocol"], metrics["selection"]) == ("labels_per_class", "validation")
    names = ("accuracy", "micro_f1", "macro_f1", "auc", "validation_accuracy")
    assert metrics["metrics"].keys() == {name + end for name in names for end in ("", "@20")}
    assert all(0.4 < one["mean"] <= 1 for one in metrics["metrics"].values())
    with np.load(tmp_path / "embeddings.npz") as arrays:
        assert arrays["embeddings"].shape == (NODES, 8)
        assert len(arrays["labels"]) == NODES
    clusters = evaluate_run(tmp_path, "cluster")
    assert 0 <= clusters["metrics"]["nmi"]["mean"] <= 1
    again = evaluate_run(tmp_path)["metrics"]
    assert again["macro_f1@20"] == metrics["metrics"]["macro_f1@20"]
    with pytest.raises(ValueError, match="links"):
        evaluate_run(tmp_path, "links")


def test_labels_per_class_are_a_setting_of_the_protocol(tmp_path: Path) -> None:
    whole = run(tmp_path / "all")["metrics"]
    one = run(tmp_path / "one", overrides={"labels_per_class": 20})["metrics"]
    assert one.keys() == {"accuracy", "micro_f1", "macro_f1", "auc", "validation_accuracy"}
    assert one["macro_f1"] == whole["macro_f1@20"]
    assert json.loads((tmp_path / "one" / "config.json").read_text())["labels_per_class"] == 20
    with pytest.raises(ValueError, match=r"holds counts \[20, 40\], not 60"):
        run(tmp_path / "bad", overrides={"labels_per_class": 60})
    with pytest.raises(ValueError, match="goes with protocol 'labels_per_class'"):
        run(tmp_path / "bad", protocol="random10", overrides={"labels_per_class": 20})
    assert not (tmp_path / "bad").exists()


def test_auc_is_one_class_against_the_rest(graph: HeteroData) -> None:
    z, y = graph["paper"].x, graph["paper"].y
    split = make_split(graph, "labels_per_class", count=40)
    for classifier in ("logistic", "adam"):
        found = linear_probe(z, y, split, classifier=classifier, grid=[1.0], epochs=100)
        assert 0.6 < found.auc < 1
    from sklearn.linear_model import LogisticRegression

    unit = torch.nn.functional.normalize(z).double().numpy()
    model = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(
        unit[split.train], y[split.train].numpy()
    )
    shares = model.predict_proba(unit[split.test])
    wanted = roc_auc_score(y[split.test].numpy(), shares, multi_class="ovr")
    assert linear_probe(z, y, split, grid=[1.0]).auc == pytest.approx(wanted, abs=1e-3)


def test_methods_and_data_of_different_kinds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"grace takes a homogeneous graph .*HeteroData"):
        run_experiment("acm", "grace", tmp_path, **QUICK)
    with pytest.raises(ValueError, match="held-out links are for homogeneous"):
        run(tmp_path, held_out_links=0.1)
    assert not list(tmp_path.iterdir())


def test_heterogeneous_method_on_a_homogeneous_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Data(x=torch.rand(5, 3), edge_index=torch.tensor([[0, 1], [1, 0]]))
    monkeypatch.setattr(experiment, "load_dataset", lambda name, root=None: plain)
    with pytest.raises(ValueError, match="meow takes a heterogeneous graph"):
        run_experiment("cora", "meow", tmp_path, **QUICK)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    graph: HeteroData, tmp_path: Path, curve_rows: Callable[[Path], list[str]]
) -> None:
    """Stopped between two clusterings: the old one has to come back with the checkpoint."""
    settings = settings_for(
        "meow", "acm", {"hidden": 8, "epochs": 7, "recluster": 3, **SMALL["meow"]}
    )

    def trained(folder: Path, stop_at: int | None = None) -> tuple[torch.Tensor, int]:
        torch.manual_seed(1)
        method = settings.build(MEOW.input_channels(graph))
        real = method.training_loss

        def stopping(inputs: Any) -> torch.Tensor:
            if int(method.epoch) == stop_at:
                raise RuntimeError("interrupted")
            return real(inputs)

        method.training_loss = stopping  # type: ignore[method-assign]
        options = {"seed": 1, "folder": folder, "checkpoint_seconds": 0, **QUICK}
        result = fit(method, graph, settings.training, **options)
        return method.embeddings(result.graph), result.resumed_from

    whole, _ = trained(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="interrupted"):
        trained(tmp_path / "broken", stop_at=5)
    broken, resumed_from = trained(tmp_path / "broken")
    assert resumed_from == 5
    assert torch.equal(whole, broken)
    curves = [curve_rows(tmp_path / name / "curves.csv") for name in ("whole", "broken")]
    assert curves[0] == curves[1]


def test_bf16_trains_as_float32_does(tmp_path: Path) -> None:
    longer = {"hidden": 16, "epochs": 12}
    found = [
        run(tmp_path / name, precision=name, overrides=longer)["metrics"]["macro_f1"]["mean"]
        for name in ("32-true", "bf16-mixed")
    ]
    assert found[1] == pytest.approx(found[0], abs=0.05)
    assert min(found) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["meow", "heco"])
def test_renaming_nodes_leaves_the_pipeline(graph: HeteroData, method: str) -> None:
    """From the graph to macro-F1; nodes are sorted by class, which must not help."""
    overrides = {"hidden": 16, "epochs": 12, "lr": 1e-2, "patience": 0, **SMALL[method]}
    settings = settings_for(method, "acm", overrides)
    order = torch.randperm(NODES)
    place = torch.argsort(order)
    moved = graph.clone()
    moved["paper"].x, moved["paper"].y = graph["paper"].x[order], graph["paper"].y[order]
    for kind in ("author", "subject"):
        moved["paper", "to", kind].edge_index[0] = place[graph["paper", "to", kind].edge_index[0]]
    split = make_split(graph, "labels_per_class", count=40)
    other = Split(
        "labels_per_class", *(place[p] for p in (split.train, split.validation, split.test))
    )
    gaps, scores = [], []
    for seed in (0, 1):
        pair = []
        for data, used in ((graph, split), (moved, other)):
            torch.manual_seed(seed)
            built = settings.build(type(settings.build({"paper": 1})).input_channels(data))
            torch.manual_seed(seed)
            fitted = fit(built, data, settings.training, seed=seed, **QUICK)
            z = built.embeddings(fitted.graph)
            pair.append(linear_probe(z, data["paper"].y, used, grid=[16.0]).macro_f1)
        gaps.append(pair[0] - pair[1])
        scores += pair
    assert min(scores) > 0.6
    assert abs(sum(gaps)) / 2 < 0.03


def test_ties_of_the_release_leak_the_order(graph: HeteroData) -> None:
    """What the rule for ties is worth on a graph that is sorted by class."""
    data = graph.clone()
    edges = data["paper", "to", "subject"].edge_index
    edges[1] = edges[0] % 3  # subjects say nothing
    y, same = data["paper"].y, {}
    for ties in ("random", "index"):
        built = top_neighbours(compose(data, "PSP"), 50, ties=ties)  # type: ignore[arg-type]
        row, column = built.edge_index
        same[ties] = y[row if ties == "index" else column].bincount(minlength=3) / len(row)
    assert float(same["index"][2]) > 0.9  # neighbours are the last papers, all of one class
    assert float(same["random"].max()) < 0.45
