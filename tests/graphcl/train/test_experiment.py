"""A run directory: what it holds, that nothing is done twice, that experiments are not mixed."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

import graphcl.train.experiment as module
from graphcl.data import load_dataset
from graphcl.methods import GRACE
from graphcl.probes import linear_probe, make_split
from graphcl.train import probing, run_experiment
from graphcl.train.experiment import spread
from graphcl.train.probing import training_graph
from graphcl.train.run_directory import claimed
from graphcl.views.features import normalized_features

QUICK: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL = {"hidden": 8, "epochs": 3}
FILES = ["checkpoint.ckpt", "config.json", "curves.csv", "embeddings.npz", "metrics.json"]


def run(out: Path, dataset: str = "karate", method: str = "grace", **options: Any) -> dict:
    options = {"overrides": SMALL, **QUICK, **options}
    return run_experiment(dataset, method, out, **options)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds that were trained, in order."""
    seeds: list[int] = []
    real = module.fit

    def noting(*arguments: Any, **options: Any) -> Any:
        seeds.append(options["seed"])
        return real(*arguments, **options)

    monkeypatch.setattr(module, "fit", noting)
    return seeds


@pytest.mark.parametrize("dataset", ["karate", "digits"])
def test_run_directory_of_two_seeds(dataset: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = run(out, dataset, seeds=(0, 1))
    assert sorted(p.name for p in out.iterdir()) == [*FILES, "seed-0", "seed-1"]
    for seed in (0, 1):
        names = sorted(p.name for p in (out / f"seed-{seed}").iterdir())
        assert names == ["checkpoint.ckpt", "curves.csv", "embeddings.npz", "result.json"]
    assert metrics == read(out / "metrics.json")

    config = read(out / "config.json")
    assert (config["dataset"], config["method"]) == (dataset, "grace")
    assert (config["seeds"], config["protocol"]) == ([0, 1], "random10")
    assert config["model"]["hidden"] == 8
    assert config["training"]["epochs"] == 3

    nodes = {"karate": 34, "digits": 1797}[dataset]
    with np.load(out / "embeddings.npz") as arrays:
        assert arrays["embeddings"].shape == (nodes, 8)
        assert arrays["embeddings"].dtype == np.float32
        assert (arrays["labels"] == load_dataset(dataset).y.numpy()).all()
        assert arrays["seed"] == 0
    with open(out / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["seed", "epoch", "loss", "lr", "seconds"]
    assert [(row["seed"], row["epoch"]) for row in rows] == [
        (seed, epoch) for seed in "01" for epoch in "012"
    ]
    first = (out / "seed-0" / "checkpoint.ckpt").read_bytes()
    assert (out / "checkpoint.ckpt").read_bytes() == first


def test_metrics_have_the_documented_form(tmp_path: Path) -> None:
    metrics = run(tmp_path, seeds=(0, 1, 3))
    assert (metrics["dataset"], metrics["method"]) == ("karate", "grace")
    assert (metrics["protocol"], metrics["selection"]) == ("random10", "validation")
    assert metrics["classifier"] == "logistic"
    assert metrics["seeds"] == [0, 1, 3]
    assert metrics["epochs"] == [3, 3, 3]
    names = {"accuracy", "micro_f1", "macro_f1", "validation_accuracy"}
    assert metrics["metrics"].keys() == names
    for name in names:
        one = metrics["metrics"][name]
        assert one.keys() == {"mean", "std", "values"}
        assert one["values"] == [
            read(tmp_path / f"seed-{seed}" / "result.json")["metrics"][name] for seed in (0, 1, 3)
        ]
        assert one["mean"] == pytest.approx(np.mean(one["values"]))
        assert one["std"] == pytest.approx(np.std(one["values"], ddof=1))
        assert all(0 <= value <= 1 for value in one["values"])
    assert metrics["seconds"].keys() == {"train", "epoch", "evaluate"}
    assert all(value > 0 for value in metrics["seconds"].values())
    assert isinstance(metrics["peak_memory_bytes"], int)
    environment = metrics["environment"]
    assert {"torch", "device", "threads", "version", "commit"} <= environment.keys()


def test_a_summary_keeps_what_its_seeds_were_measured_with(tmp_path: Path) -> None:
    before = run(tmp_path, seeds=(0,))
    done = tmp_path / "seed-0" / "result.json"
    older = read(done)
    older["environment"]["commit"] = "0123456789ab"
    done.write_text(json.dumps(older))
    assert run(tmp_path, seeds=(0,)) == {**before, "environment": older["environment"]}


def test_accuracy_is_the_probes_on_the_stored_embeddings(tmp_path: Path) -> None:
    metrics = run(tmp_path, seeds=(1,))
    data = load_dataset("karate")
    with np.load(tmp_path / "embeddings.npz") as arrays:
        z = torch.from_numpy(arrays["embeddings"])
    split = make_split(data, "random10", seed=1)
    wanted = linear_probe(z, data.y, split, seed=1).accuracy
    assert metrics["metrics"]["accuracy"]["values"] == [wanted]


def test_one_seed_has_no_spread() -> None:
    assert spread([0.5]) == {"mean": 0.5, "std": 0.0, "values": [0.5]}
    values = [0.1, 0.4, 0.7]
    assert spread(values) == {"mean": mean(values), "std": stdev(values), "values": values}


def test_seeds_draw_weights_views_and_splits(tmp_path: Path) -> None:
    both = run(tmp_path / "both", seeds=(0, 1))
    alone = run(tmp_path / "alone", seeds=(1,))

    def embeddings(folder: Path) -> np.ndarray:
        with np.load(folder / "embeddings.npz") as arrays:
            return arrays["embeddings"]

    first, second = (embeddings(tmp_path / "both" / f"seed-{seed}") for seed in (0, 1))
    assert not np.allclose(first, second)
    assert (embeddings(tmp_path / "alone") == second).all()  # whatever ran before
    for name, one in alone["metrics"].items():
        assert one["values"] == both["metrics"][name]["values"][1:]


def test_a_second_call_does_no_work(tmp_path: Path, trained: list[int]) -> None:
    first = run(tmp_path, seeds=(0, 1))
    assert trained == [0, 1]
    assert run(tmp_path, seeds=(0, 1)) == first
    assert trained == [0, 1]


def test_more_seeds_extend_a_run(tmp_path: Path, trained: list[int]) -> None:
    first = run(tmp_path)
    more = run(tmp_path, seeds=(0, 3, 1))
    assert trained == [0, 3, 1]
    assert more["seeds"] == read(tmp_path / "config.json")["seeds"] == [0, 3, 1]
    value = first["metrics"]["accuracy"]["values"]
    assert more["metrics"]["accuracy"]["values"][:1] == value
    seeds = {line.split(",")[0] for line in (tmp_path / "curves.csv").read_text().splitlines()}
    assert seeds == {"seed", "0", "3", "1"}


def test_a_failed_seed_is_repeated_and_the_others_are_not(
    tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", seeds=(0, 1))
    real = probing.linear_probe

    def failing(*arguments: Any, **options: Any) -> Any:
        if options["seed"] == 1:
            raise RuntimeError("out of memory")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(probing, "linear_probe", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(tmp_path / "run", seeds=(0, 1))
    assert not (tmp_path / "run" / "metrics.json").exists()
    trained.clear()
    found = run(tmp_path / "run", seeds=(0, 1))
    assert trained == [1]
    assert found["metrics"] == whole["metrics"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"overrides": {**SMALL, "epochs": 4}}, "'epochs': 3.* there, .*'epochs': 4.* now"),
        ({"overrides": {**SMALL, "tau": 0.9}}, "'tau': 0.5.* there, .*'tau': 0.9.* now"),
        ({"method": "dgi"}, "method: 'grace' there, 'dgi' now"),
        ({"protocol": "bgrl20"}, "protocol: 'random10' there, 'bgrl20' now"),
        ({"held_out_links": 0.1}, "held_out_links: 0.0 there, 0.1 now"),
        ({"classifier": "adam"}, "classifier: 'logistic' there, 'adam' now"),
        ({"precision": "bf16-mixed"}, "precision: '32-true' there"),
    ],
)
def test_another_experiment_in_the_same_folder(
    change: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    before = run(tmp_path)
    with pytest.raises(ValueError, match=f"holds another experiment.*{difference}") as raised:
        run(tmp_path, **change)
    assert "give another folder, or remove this one" in str(raised.value)
    assert read(tmp_path / "metrics.json") == before
    assert read(tmp_path / "config.json")["method"] == "grace"


def test_another_precision_of_products_is_another_experiment(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = torch.get_float32_matmul_precision()
    request.addfinalizer(lambda: torch.set_float32_matmul_precision(before))
    run(tmp_path)
    assert "matmul_precision" not in read(tmp_path / "config.json")  # as in earlier versions
    torch.set_float32_matmul_precision("medium")
    with pytest.raises(ValueError, match="matmul_precision: None there, 'medium' now"):
        run(tmp_path)


def test_settings_are_compared_as_they_are_stored(tmp_path: Path, trained: list[int]) -> None:
    for rates in ([0.1, 0.2], (0.1, 0.2)):
        run(tmp_path, overrides={**SMALL, "drop_edge": rates})
    assert trained == [0]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(ValueError, match="is not empty and holds no experiment"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "mistake",
    [
        {"protocol": "random11"},
        {"protocol": "public"},
        {"classifier": "forest"},
        {"overrides": {"drop_edge": [2, 0]}},
        {"method": "gca", "overrides": {"scheme": "closeness"}},
        {"precision": "17-bit"},
        {"device": "abacus"},
        {"seeds": ()},
        {"seeds": (0, 0)},
        {"dataset": "karat"},
        {"dataset": "ogbl-collab", "held_out_links": 0.3},
    ],
    ids=lambda mistake: " ".join(mistake),
)
def test_a_mistake_is_told_before_training_and_takes_no_folder(
    mistake: dict[str, Any], tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ValueError,
        match=r"random11|no train_mask|forest|\[2, 0\]|closeness|17|aba|seeds|karat|official",
    ):
        run(tmp_path / "run", **mistake)
    assert not list(tmp_path.rglob("checkpoint.ckpt"))
    assert len(run(tmp_path / "run")["seeds"]) == 1


def test_a_diverged_start_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run(tmp_path, overrides={**SMALL, "lr": 1e20, "epochs": 30})
    run(tmp_path, overrides={**SMALL, "lr": 1e-3})


def test_held_out_links_are_not_in_the_training_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = module.fit

    def noting(method: Any, data: Any, *arguments: Any, **options: Any) -> Any:
        embed = method.embed
        seen.append(data)
        method.embed = lambda x, edges: seen.append(edges) or embed(x, edges)
        return real(method, data, *arguments, **options)

    monkeypatch.setattr(module, "fit", noting)
    metrics = run(tmp_path, held_out_links=0.2, seeds=(0, 1))

    def pairs(edges: Tensor) -> set[tuple[int, int]]:
        return {(int(u), int(v)) for u, v in edges.T}

    full = load_dataset("karate")
    held = []
    for seed, (graph, embedded) in enumerate(zip(seen[::2], seen[1::2], strict=True)):
        links = training_graph(full, {"held_out_links": 0.2}, seed)[1]
        kept = pairs(graph.edge_index)
        assert torch.equal(graph.edge_index, embedded)
        assert kept == {(v, u) for u, v in kept}
        hidden = pairs(links.test) | pairs(links.validation)
        hidden |= {(v, u) for u, v in hidden}
        assert len(links.test.T) == int(0.2 * 78)
        assert len(links.validation.T) == int(0.1 * 78)
        assert not kept & hidden
        assert kept | hidden == pairs(full.edge_index)
        held.append(hidden)
    assert held[0] != held[1]
    names = metrics["metrics"].keys()
    assert {"accuracy", "link_auc", "link_average_precision"} <= names
    assert full.num_edges == 156  # the dataset is left alone


def test_all_edges_are_trained_on_by_default() -> None:
    data = load_dataset("karate")
    graph, links = training_graph(data, {"held_out_links": 0.0}, 0)
    assert graph is data
    assert links is None


@pytest.mark.parametrize("method", ["gca", "bgrl", "dgi"])
def test_every_method_runs(method: str, tmp_path: Path) -> None:
    overrides: dict[str, Any] = {"epochs": 3}
    overrides |= {"channels": [8, 8]} if method == "bgrl" else {"hidden": 8}
    metrics = run(tmp_path, method=method, overrides=overrides)
    assert 0 <= metrics["metrics"]["accuracy"]["mean"] <= 1


def test_the_cross_validated_protocol_names_its_selection(tmp_path: Path) -> None:
    assert run(tmp_path, "digits", protocol="bgrl20")["selection"] == "cross-validation"


def test_a_dataset_without_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = load_dataset("karate")
    del bare.x
    monkeypatch.setattr(module, "load_dataset", lambda name, root: bare)
    with pytest.raises(ValueError, match="'karate' has no node features"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_path_of_this_machine_is_written(tmp_path: Path, timeless: Callable[..., str]) -> None:
    metrics = run(tmp_path / "somewhere", held_out_links=0.2, root=tmp_path)
    files = [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.csv")]
    assert len(files) == 5
    texts = [path.read_text() for path in files]
    places = (tmp_path, Path.cwd(), Path.home(), Path(module.__file__).parents[2])
    for text in [*texts, timeless(metrics)]:
        assert not any(str(place) in text for place in places)
        assert not re.search(r'"(/|[A-Z]:\\)', text)


def test_a_run_beside_others_of_a_launcher_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several runs of one process each in a job of SLURM: none of them is the second of another."""
    monkeypatch.setenv("RANK", "3")
    assert run(tmp_path)["seeds"] == [0]
    assert (tmp_path / "metrics.json").exists()


def test_two_processes_do_not_work_in_one_directory(tmp_path: Path) -> None:
    with claimed(tmp_path, {"seeds": [0], "tau": 0.4}):
        with pytest.raises(ValueError, match="another process works in"):
            run(tmp_path)
        assert read(tmp_path / "config.json") == {"seeds": [0], "tau": 0.4}
    run(tmp_path)  # nothing but settings was left there
    assert read(tmp_path / "config.json")["method"] == "grace"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classifier": "adam", "protocol": "bgrl20"}, "'bgrl20' is logistic regression"),
        ({"seeds": range(40)}, "of the single class"),
    ],
)
def test_what_the_probe_refuses_is_told_before_training(
    options: dict[str, Any], words: str, tmp_path: Path, trained: list[int]
) -> None:
    """Of three training nodes some seed of forty draws a single class."""
    with pytest.raises(ValueError, match=words):
        run(tmp_path, **options)
    assert not trained
    assert not (tmp_path / "config.json").exists()


def test_seeds_of_several_environments_are_told_apart(tmp_path: Path) -> None:
    run(tmp_path)
    place = tmp_path / "seed-0" / "result.json"
    earlier = read(place)
    earlier["environment"]["commit"] = "earlier"
    place.write_text(json.dumps(earlier))
    found = run(tmp_path, seeds=(0, 1))
    assert found["environments"][0]["commit"] == "earlier"
    assert len(found["environments"]) == 2
    assert found["environment"] == found["environments"][1]


def test_embeddings_that_do_not_fit_on_the_device_are_made_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings, refused = GRACE.embeddings, []

    def full(self: GRACE, graph: Data) -> Tensor:
        if not refused:
            refused.append(True)
            raise torch.OutOfMemoryError
        return embeddings(self, graph)

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(GRACE, "embeddings", full)
    assert run(tmp_path / "full")["metrics"] == whole["metrics"]
    assert refused


def test_features_with_negative_entries_are_left_as_they_are() -> None:
    counts = torch.tensor([[1.0, 3.0], [0.0, 0.0], [0.2, 0.2]])
    wanted = torch.tensor([[0.25, 0.75], [0.0, 0.0], [0.2, 0.2]])
    torch.testing.assert_close(normalized_features(counts), wanted)
    as_pyg = NormalizeFeatures()(Data(x=counts.clone())).x
    assert torch.equal(normalized_features(counts), as_pyg)
    signed = torch.randn(5, 3)
    with pytest.warns(UserWarning, match="negative entries"):
        assert normalized_features(signed) is signed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'cuda' was asked for, but this machine has 0 CUDA"):
        run(tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_folders_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run("~/run")  # type: ignore[arg-type]
    assert (tmp_path / "run" / "metrics.json").exists()
