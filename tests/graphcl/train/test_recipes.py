"""Data files of hyper-parameters: complete, valid, and equal to the published values."""

import inspect
from importlib import resources
from typing import Any

import pytest
import torch

from graphcl.data import dataset_names
from graphcl.methods import BGRL, DGI, GCA, GRACE, GraphMethod
from graphcl.train import method_names, settings_for
from graphcl.train.recipes import TrainingOptions, method_class, parse_overrides, recipe

SECTIONS = [(method, section) for method in method_names() for section in recipe(method)]


def test_every_method_has_a_data_file_and_every_data_file_a_method() -> None:
    files = resources.files("graphcl").joinpath("recipes").iterdir()
    names = sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))
    assert names == method_names()
    assert {"grace", "gca", "bgrl", "dgi"} <= set(names)


@pytest.mark.parametrize(("method", "section"), SECTIONS)
def test_every_section_builds_its_method(method: str, section: str) -> None:
    assert section == "default" or section in dataset_names()
    settings = settings_for(method, section)
    homogeneous = issubclass(method_class(method), GraphMethod)
    sample = settings.model.get("sample")
    types = dict.fromkeys(sample if isinstance(sample, dict) else ("paper", "author"), 6)
    built = settings.build(6 if homogeneous else types)
    assert type(built) is method_class(method)
    if homogeneous:  # tests of heterogeneous methods run them
        edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        assert built(torch.rand(5, 6), edges).isfinite()
    assert settings.as_dict() == {
        "method": method,
        "model": settings.model,
        "training": vars(settings.training),
    }
    # A data file says nothing that nobody reads.
    fields = set(inspect.signature(TrainingOptions).parameters)
    written = {**recipe(method)["default"], **recipe(method)[section]}
    assert written.keys() == settings.model.keys() | (fields & written.keys())


# lr, hidden, activation, edge rates, feature rates, tau, epochs: CRIPAC-DIG/GRACE and GCA.
GRACE_FAMILY: dict[tuple[str, str], tuple[Any, ...]] = {
    ("grace", "cora"): (5e-4, 128, "relu", [0.2, 0.4], [0.3, 0.4], 0.4, 200),
    ("grace", "citeseer"): (1e-3, 256, "prelu", [0.2, 0.0], [0.3, 0.2], 0.9, 200),
    ("grace", "pubmed"): (1e-3, 256, "relu", [0.4, 0.1], [0.0, 0.2], 0.7, 1500),
    ("grace", "dblp-citation"): (1e-3, 256, "relu", [0.1, 0.4], [0.1, 0.0], 0.7, 1000),
    ("gca", "wikics"): (0.01, 256, "prelu", [0.2, 0.3], [0.1, 0.1], 0.4, 3000),
    ("gca", "amazon-computers"): (0.01, 128, "rrelu", [0.6, 0.3], [0.2, 0.3], 0.2, 2000),
    ("gca", "amazon-photo"): (0.1, 256, "relu", [0.3, 0.5], [0.1, 0.1], 0.3, 2000),
    ("gca", "coauthor-cs"): (5e-4, 256, "rrelu", [0.3, 0.2], [0.3, 0.4], 0.4, 1000),
    ("gca", "coauthor-physics"): (0.01, 128, "rrelu", [0.4, 0.1], [0.1, 0.4], 0.5, 1500),
}


@pytest.mark.parametrize(("method", "dataset"), GRACE_FAMILY)
def test_published_settings_of_the_grace_family(method: str, dataset: str) -> None:
    settings = settings_for(method, dataset)
    model, training = settings.model, settings.training
    keys = ("hidden", "activation", "drop_edge", "mask_feature", "tau")
    found = (training.lr, *(model[key] for key in keys), training.epochs)
    assert found == GRACE_FAMILY[method, dataset]
    assert (training.optimizer, training.weight_decay) == ("adam", 1e-5)


@pytest.mark.parametrize(
    ("dataset", "projection"),
    [("wikics", 256), ("amazon-computers", 128), ("amazon-photo", 64), ("coauthor-physics", 64)],
)
def test_published_projections_of_gca(dataset: str, projection: int) -> None:
    assert settings_for("gca", dataset).model["projection"] == projection


# lr, hidden, activation, edge rates, tau, epochs: the released runs of ProGCL and COSTA.
LATER_RUNS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("progcl", "cora"): (5e-4, 128, "relu", [0.3, 0.1], 0.6, 700),
    ("progcl", "citeseer"): (0.01, 256, "prelu", [0.4, 0.3], 0.4, 1000),
    ("progcl", "pubmed"): (1e-3, 256, "prelu", [0.4, 0.1], 0.5, 2000),
    ("progcl", "amazon-photo"): (0.01, 128, "prelu", [0.6, 0.3], 0.2, 2500),
    ("progcl", "amazon-computers"): (0.01, 128, "prelu", [0.6, 0.3], 0.3, 3000),
    ("progcl", "wikics"): (0.01, 256, "prelu", [0.2, 0.3], 0.4, 3000),
    ("costa", "cora"): (1e-3, 256, "relu", [0.2, 0.4], 0.4, 700),
    ("costa", "citeseer"): (1e-3, 256, "relu", [0.3, 0.1], 0.4, 1500),
    ("costa", "pubmed"): (1e-3, 256, "relu", [0.4, 0.1], 0.4, 2000),
    ("costa", "wikics"): (1e-3, 256, "relu", [0.2, 0.3], 0.4, 3000),
    ("costa", "amazon-computers"): (1e-3, 128, "relu", [0.6, 0.3], 0.4, 4000),
    ("costa", "amazon-photo"): (1e-3, 256, "relu", [0.3, 0.5], 0.4, 4000),
}


@pytest.mark.parametrize(("method", "dataset"), LATER_RUNS)
def test_published_settings_of_progcl_and_costa(method: str, dataset: str) -> None:
    settings = settings_for(method, dataset)
    model, training = settings.model, settings.training
    found = (model[key] for key in ("hidden", "activation", "drop_edge", "tau"))
    assert (training.lr, *found, training.epochs) == LATER_RUNS[method, dataset]
    assert training.weight_decay == (1e-5 if method == "progcl" else 0.0)
    if method == "progcl":
        assert (model["scheme"], model["epoch_start"]) == ("eigenvector", 400)
        assert (model["mode"], model["weight_init"], model["sel_num"]) == ("weight", 0.05, 1000)
    else:
        assert (model["views"], model["ratio"]) == ("multi", 0.5)


# channels, lr, edge rates, feature rates: nerdslab/bgrl.
BOOTSTRAP: dict[str, tuple[Any, ...]] = {
    "wikics": ([512, 256], 5e-4, [0.2, 0.3], [0.2, 0.1]),
    "amazon-computers": ([256, 128], 5e-4, [0.5, 0.4], [0.2, 0.1]),
    "amazon-photo": ([256, 128], 1e-4, [0.4, 0.1], [0.1, 0.2]),
    "coauthor-cs": ([512, 256], 1e-5, [0.3, 0.2], [0.3, 0.4]),
}


@pytest.mark.parametrize("dataset", BOOTSTRAP)
def test_published_settings_of_bgrl(dataset: str) -> None:
    settings = settings_for("bgrl", dataset)
    model, training = settings.model, settings.training
    found = (model["channels"], training.lr, model["drop_edge"], model["mask_feature"])
    assert found == BOOTSTRAP[dataset]
    assert (training.epochs, training.warmup, training.schedule) == (10_000, 1000, "warmup_cosine")
    assert (training.optimizer, training.weight_decay) == ("adamw", 1e-5)
    assert (model["predictor"], model["momentum"]) == (512, 0.99)


def test_published_settings_of_dgi() -> None:
    settings = settings_for("dgi", "cora")
    assert settings.model == {"hidden": 512, "activation": "prelu"}
    training = settings.training
    assert (training.lr, training.patience, training.weight_decay) == (1e-3, 20, 0.0)
    assert training.normalize_features


def test_names_are_read_in_any_case() -> None:
    assert settings_for("GRACE", "Cora") == settings_for("grace", "cora")


def test_a_dataset_without_a_section_takes_the_default() -> None:
    assert settings_for("grace", "karate") == settings_for("grace", "default")


def test_overrides_go_to_the_method_or_to_the_training() -> None:
    settings = settings_for("gca", "wikics", {"lr": 0.5, "scheme": "pagerank", "tau": 0.1})
    assert settings.training.lr == 0.5
    assert (settings.model["scheme"], settings.model["tau"]) == ("pagerank", 0.1)
    assert settings.training.epochs == 3000
    assert settings_for("gca", "wikics").training.lr == 0.01  # the data are left alone


def test_a_method_that_passes_options_on_knows_its_parents_settings() -> None:
    assert settings_for("gca", "cora", {"undirected_views": True}).model["undirected_views"]
    with pytest.raises(ValueError, match="dgi has no setting 'tau'"):
        settings_for("dgi", "cora", {"tau": 0.5})


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("drop_edges", "drop_edge"), ("epoch", "epochs"), ("leraning_rate", None), ("loss", None)],
)
def test_unknown_key(key: str, suggestion: str | None) -> None:
    with pytest.raises(ValueError, match=f"grace has no setting '{key}'") as raised:
        settings_for("grace", "cora", {key: 1})
    message = str(raised.value)
    assert (f"did you mean '{suggestion}'?" in message) == (suggestion is not None)
    assert "Known: hidden, projection," in message
    assert "weight_decay" in message


def test_unknown_method() -> None:
    with pytest.raises(
        ValueError, match=r"unknown method 'graec'; choose from adameow, .*gca, gcool, grace"
    ):
        settings_for("graec", "cora")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": 2.5}, "epochs must be int, got 2.5"),
        ({"epochs": True}, "epochs must be int, got True"),
        ({"patience": -1}, "patience must be at least 0, got -1"),
        ({"lr": 0}, "lr must be positive"),
        ({"lr": "fast"}, "lr must be float, got 'fast'"),
        ({"weight_decay": -1.0}, "weight_decay not negative"),
        ({"normalize_features": 1}, "normalize_features must be bool, got 1"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; choose from adam, adamw"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"warmup": 1000, "epochs": 1000}, r"warmup \(1000\) must be shorter than epochs"),
    ],
)
def test_options_that_make_no_sense(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_for("bgrl", "wikics", overrides)


@pytest.mark.parametrize("overrides", [{"hidden": "abc"}, {"tau": "hot"}, {"drop_edge": 0.3}])
def test_a_model_setting_of_the_wrong_type(overrides: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(overrides))):
        settings_for("grace", "cora", overrides).build(5)


def test_a_shorter_budget_keeps_its_share_of_warm_up() -> None:
    training = settings_for("bgrl", "wikics", {"epochs": 500}).training
    assert (training.epochs, training.warmup) == (500, 50)
    assert settings_for("bgrl", "wikics", {"epochs": 5}).training.warmup == 0
    assert settings_for("bgrl", "wikics", {"epochs": 2000}).training.warmup == 1000


def test_pairs_of_the_command_line() -> None:
    pairs = ["lr=1e-2", "drop_edge=[0.1, 0.2]", "activation=prelu", "flag=true", "a=b=c", " k = 1 "]
    assert parse_overrides(pairs) == {
        "lr": 0.01,
        "drop_edge": [0.1, 0.2],
        "activation": "prelu",
        "flag": True,
        "a": "b=c",
        "k": 1,
    }
    for pair in ("lr", "=3", ""):
        with pytest.raises(ValueError, match="--set takes key=value"):
            parse_overrides([pair])


@pytest.mark.parametrize("cls", [BGRL, DGI, GCA, GRACE])
def test_classes_by_name(cls: type) -> None:
    assert method_class(cls.__name__) is cls
    assert method_class(cls.__name__.lower()) is cls


def test_meow_masks_features_as_the_release_does() -> None:
    shares = {"acm": 0.3, "dblp": 0.2, "aminer": 0.2, "imdb": 0.3}
    for dataset, share in shares.items():
        assert settings_for("meow", dataset).model["mask_feature"] == share, dataset
