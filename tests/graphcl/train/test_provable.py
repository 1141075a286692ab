"""POT in experiments: settings and recipes, interruptions, what a run keeps."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphcl.data import dataset_names
from graphcl.methods import GRACE, POT
from graphcl.train import fit, method_names, run_experiment, settings_for
from graphcl.train.provable import pot_keys, pot_recipe, tomllib
from graphcl.train.recipes import method_class

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
FAMILY = [name for name in method_names() if issubclass(method_class(name), GRACE)]


@pytest.mark.parametrize("dataset", ["default", "cora", "citeseer", "amazon-photo"])
@pytest.mark.parametrize("method", FAMILY)
def test_every_host_of_the_family_takes_pot(method: str, dataset: str) -> None:
    settings = settings_for(method, dataset, {"epochs": 3}, pot="certified")
    assert settings.pot is not None
    assert settings.pot["score"] == "certified"
    assert settings.model["edge_budget"] == "mean"
    assert settings.model["mask_feature"] == [0.0, 0.0]
    built = settings.build(6)
    assert isinstance(built, POT)
    assert type(built.host) is method_class(method)
    ring = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    assert built(torch.rand(5, 6), torch.cat([ring, ring.flip(0)], 1)).isfinite()
    assert settings.as_dict()["pot"] == settings.pot
    assert "pot" not in settings_for(method, dataset).as_dict()


# lr, hidden, activation, edge rates, tau, epochs of the release.
SHIPPED: dict[tuple[str, str], tuple[Any, ...]] = {
    ("grace", "cora"): (5e-4, 128, "relu", [0.4, 0.3], 0.7, 200),
    ("grace", "citeseer"): (1e-3, 256, "prelu", [0.3, 0.1], 0.9, 200),
    ("grace", "pubmed"): (1e-3, 256, "relu", [0.4, 0.1], 0.7, 2500),
    ("grace", "amazon-computers"): (1e-2, 128, "relu", [0.6, 0.4], 0.2, 2500),
    ("grace", "amazon-photo"): (5e-4, 256, "relu", [0.3, 0.5], 0.2, 1000),
    ("grace", "wikics"): (1e-2, 256, "prelu", [0.2, 0.3], 0.4, 1500),
    ("gca", "cora"): (5e-4, 128, "relu", [0.3, 0.1], 0.9, 700),
    ("gca", "citeseer"): (1e-3, 256, "prelu", [0.2, 0.2], 0.9, 1000),
    ("gca", "pubmed"): (1e-2, 256, "relu", [0.4, 0.1], 0.3, 3000),
    ("gca", "amazon-photo"): (5e-4, 256, "relu", [0.3, 0.5], 0.3, 2000),
    ("gca", "amazon-computers"): (1e-2, 128, "prelu", [0.6, 0.3], 0.2, 2000),
    ("gca", "wikics"): (1e-2, 256, "prelu", [0.2, 0.3], 0.4, 3000),
}


@pytest.mark.parametrize(("method", "dataset"), SHIPPED)
def test_shipped_settings(method: str, dataset: str) -> None:
    settings = settings_for(method, dataset, pot="pairwise")
    model, training = settings.model, settings.training
    keys = ("hidden", "activation", "drop_edge", "tau")
    found = (training.lr, *(model[key] for key in keys), training.epochs)
    assert found == SHIPPED[method, dataset]
    assert training.weight_decay == 1e-5
    assert settings.pot == {"score": "pairwise", "kappa": {"grace": 0.4, "gca": 0.3}[method]}
    # The host alone keeps its own recipe.
    assert settings_for(method, dataset).model.get("edge_budget") is None


def test_data_files_name_datasets_and_settings_that_exist() -> None:
    folder = resources.files("graphcl").joinpath("recipes", "pot")
    files = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    assert {"default.toml", "grace.toml", "gca.toml"} <= {file.name for file in files}
    for file in files:
        for section in tomllib.loads(file.read_text()):
            assert section == "default" or section in dataset_names()
    assert pot_recipe("gcool", "karate") == pot_recipe("nothing", "default")


def test_settings_of_the_regulariser() -> None:
    assert set(pot_keys()) == {
        "kappa",
        *(f"pot_{n}" for n in ("warmup", "refresh", "batch", "intervals", "check", "block")),
    }
    overrides = {"kappa": 0.2, "pot_warmup": 3, "pot_intervals": "sound", "warmup": 2, "lr": 0.1}
    settings = settings_for("grace", "karate", overrides, pot="pairwise")
    assert settings.pot == {"score": "pairwise", "kappa": 0.2, "warmup": 3, "intervals": "sound"}
    assert (settings.training.warmup, settings.training.lr) == (2, 0.1)
    assert (
        settings_for("grace", "karate", {"edge_budget": None}, pot="pairwise").model["edge_budget"]
        is None
    )
    with pytest.raises(ValueError, match="grace has no setting 'kappa'"):
        settings_for("grace", "karate", {"kappa": 0.2})
    with pytest.raises(ValueError, match=r"'pot_warm' \(did you mean 'pot_warmup'\?\)"):
        settings_for("grace", "karate", {"pot_warm": 2}, pot="pairwise")
    with pytest.raises(ValueError, match="unknown POT score 'best'; choose from none, pairwise"):
        settings_for("grace", "karate", pot="best")
    for method in ("dgi", "bgrl"):
        with pytest.raises(ValueError, match=f"POT cannot be added to {method}"):
            settings_for(method, "karate", pot="pairwise")
    with pytest.raises(ValueError, match="kappa must lie in"):
        settings_for("grace", "karate", {"kappa": 2}, pot="pairwise").build(3)


class Interruption(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"pot_warmup": 4},
        {"pot_batch": 10},
        {"pot_refresh": 3, "pot_warmup": 1},
        {"pot_refresh": 3, "patience": 50},
    ],
    ids=["plain", "warm-up", "batch", "refresh", "best weights"],
)
def test_interrupted_run_ends_like_an_uninterrupted_one(
    overrides: dict[str, Any], karate: Any, tmp_path: Path
) -> None:
    settings = settings_for(
        "gca", "karate", {"epochs": 9, "hidden": 8, **overrides}, pot="pairwise"
    )

    def build() -> Any:
        torch.manual_seed(0)
        return settings.build(34)

    whole = build()
    wanted = fit(whole, karate, settings.training, seed=3, **QUIET)
    for epoch in (2, 6):
        options = {"seed": 3, "folder": tmp_path / str(epoch), "checkpoint_seconds": 0, **QUIET}
        broken = build()
        forward, calls = broken.forward, []

        def failing(
            *a: Any, forward: Any = forward, calls: list = calls, epoch: int = epoch
        ) -> Any:
            calls.append(None)
            if len(calls) == epoch + 1:
                raise Interruption
            return forward(*a)

        broken.forward = failing
        with pytest.raises(Interruption):
            fit(broken, karate, settings.training, **options)
        continued = build()
        found = fit(continued, karate, settings.training, **options)
        assert found.resumed_from == epoch
        assert found.losses == wanted.losses
        first, second = continued.state_dict(), whole.state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_run_keeps_scores_and_compactness(tmp_path: Path) -> None:
    metrics = run_experiment(
        "karate",
        "grace",
        tmp_path,
        seeds=(0, 1),
        overrides={"epochs": 20, "hidden": 8, "kappa": 0.5},
        pot="certified",
        **QUIET,
    )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pot"] == {"score": "certified", "kappa": 0.5}
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    found = metrics["pot"]
    assert (found["score"], found["kappa"]) == ("certified", 0.5)
    for seed in (0, 1):
        with np.load(tmp_path / f"seed-{seed}" / "compactness.npz") as arrays:
            assert {*arrays} == {
                f"{k}_{w}" for k in ("sampled", "certified") for w in ("before", "after")
            }
            for when, suffix in (("before", "_before"), ("after", "")):
                sampled, certified = arrays[f"sampled_{when}"], arrays[f"certified_{when}"]
                assert sampled.shape == certified.shape == (34,)
                assert (certified <= sampled + 1e-5).all()
                for name, value in (
                    ("certified_mean", certified.mean()),
                    ("certified_positive", (certified > 0).mean()),
                    ("sampled_mean", sampled.mean()),
                    ("sampled_positive", (sampled > 0).mean()),
                ):
                    assert found[name + suffix]["values"][seed] == pytest.approx(float(value))
    with pytest.raises(ValueError, match="holds another experiment"):
        run_experiment("karate", "grace", tmp_path, overrides={"epochs": 20, "hidden": 8}, **QUIET)


def test_the_measuring_of_compactness_leaves_training_alone(tmp_path: Path) -> None:
    """With kappa 0 a run is that of the host with the same settings."""
    overrides = {"epochs": 4, "hidden": 8, "drop_edge": [0.3, 0.3]}
    one = run_experiment(
        "karate",
        "grace",
        tmp_path / "pot",
        overrides={**overrides, "kappa": 0},
        pot="pairwise",
        **QUIET,
    )
    host = {**overrides, "edge_budget": "mean", "mask_feature": [0.0, 0.0]}
    two = run_experiment("karate", "grace", tmp_path / "host", overrides=host, **QUIET)
    assert one["metrics"] == two["metrics"]
    assert "pot" not in two
    assert "pot" not in json.loads((tmp_path / "host" / "config.json").read_text())
    assert not (tmp_path / "host" / "seed-0" / "compactness.npz").exists()
    arrays = [np.load(tmp_path / name / "embeddings.npz") for name in ("pot", "host")]
    assert np.array_equal(arrays[0]["embeddings"], arrays[1]["embeddings"])


def test_held_out_links_and_mixed_precision(tmp_path: Path) -> None:
    metrics = run_experiment(
        "karate",
        "gcool",
        tmp_path,
        overrides={"epochs": 3, "hidden": 8},
        pot="pairwise",
        held_out_links=0.2,
        precision="bf16-mixed",
        **QUIET,
    )
    assert "link_auc" in metrics["metrics"]


@pytest.mark.real_data
def test_pot_on_cora_keeps_the_accuracy(data_root: Path, tmp_path: Path) -> None:
    metrics = run_experiment(
        "cora",
        "grace",
        tmp_path,
        root=data_root,
        protocol="random10",
        overrides={"epochs": 5, "hidden": 32},
        pot="pairwise",
        **QUIET,
    )
    assert metrics["metrics"]["accuracy"]["mean"] > 0.6
