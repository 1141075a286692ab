"""Settings: defaults, whose a key is, and how mistakes are told."""

from typing import Any

import pytest

from kge.experiment.keywords import home_of, keywords, parse_overrides
from kge.experiment.settings import NEGATIVES, setting_names, settings_for


@pytest.mark.parametrize(
    ("negatives", "loss"),
    [("uniform", "crossentropy"), ("hasa", "hasa"), ("lemon", "crossentropy"), ("inbatch", None)],
)
def test_loss_by_kind_of_negatives(negatives: str, loss: str | None) -> None:
    assert settings_for("complex", negatives).loss == loss


def test_names_may_be_written_otherwise() -> None:
    settings = settings_for("DistMult", "HaSa", loss="InfoNCE")
    assert (settings.model, settings.negatives, settings.loss) == ("distmult", "hasa", "infonce")


@pytest.mark.parametrize(
    ("key", "value", "section"),
    [
        ("embedding_dim", 3, "model"),
        ("num_negs_per_pos", 7, "negatives"),
        ("hard_share", 0.25, "negatives"),
        ("beta", 0.5, "loss"),
        ("lr", 0.3, "optimizer"),
        ("batch_size", 17, "training"),
        ("gradient_clipping_max_norm", 1.5, "training"),
        ("patience", 9, "stopping"),
        ("create_inverse_triples", True, "dataset"),
    ],
)
def test_a_key_finds_its_component(key: str, value: Any, section: str) -> None:
    plain = settings_for("distmult", "hasa", overrides={key: value})
    assert plain.options[section][key] == value
    assert settings_for("distmult", "hasa", overrides={f"{section}.{key}": value}) == plain


def test_a_key_of_two_components_needs_a_section() -> None:
    with pytest.raises(ValueError, match=r"2 components: say loss.num_structural or negatives.num"):
        settings_for("distmult", "hasa", overrides={"num_structural": 2})
    found = settings_for("distmult", "hasa", overrides={"loss.num_structural": 2})
    assert found.options["loss"] == {"num_structural": 2}


def test_settings_of_in_batch_training_are_the_loops() -> None:
    found = settings_for("distmult", "inbatch", overrides={"pool": "all", "tau": 0.5, "margin": 1})
    assert found.options["negatives"] == {"pool": "all", "tau": 0.5, "margin": 1}
    known = setting_names("distmult", "inbatch", None, "adam")["negatives"]
    assert not {"model", "optimizer", "triples_factory"} & set(known)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "distmlut"}, "unknown model 'distmlut' .did you mean 'distmult'"),
        ({"negatives": "hassa"}, "unknown kind of negatives 'hassa' .did you mean 'hasa'"),
        ({"loss": "infonec"}, "unknown loss 'infonec' .did you mean 'infonce'"),
        ({"overrides": {"optimizer": "adan"}}, "unknown optimizer 'adan' .did you mean 'adam"),
        ({"overrides": {"embeding_dim": 3}}, "'embeding_dim' .did you mean 'embedding_dim'"),
        ({"overrides": {"modell.embedding_dim": 3}}, "section of settings 'modell'"),
        ({"overrides": {"model.lr": 3}}, "unknown setting of model 'lr'"),
        ({"overrides": {"embedding_dim": "ten"}}, "embedding_dim must be a number like 50"),
        ({"overrides": {"metric": "auc"}}, "unknown stopping metric 'auc'"),
        ({"overrides": {"frequency": 0}}, "frequency must be a whole number from 1"),
        ({"overrides": {"patience": -1}}, "patience must be a whole number from 0"),
        ({"epochs": 0}, "epochs must be a whole number from 1, got 0"),
        ({"epochs": 5, "overrides": {"epochs": 40}}, "epochs=5 and the setting epochs=40 differ"),
        ({"overrides": {"epochs": 1.5}}, "epochs must be a whole number from 1, got 1.5"),
        ({"negatives": "inbatch", "loss": "hasa"}, "in-batch training has its own loss"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    arguments = {"model": "distmult", "negatives": "uniform", **changes}
    with pytest.raises(ValueError, match=message):
        settings_for(arguments.pop("model"), arguments.pop("negatives"), **arguments)


def test_epochs_as_a_setting() -> None:
    assert settings_for("distmult", "uniform", overrides={"epochs": 40}).epochs == 40
    assert settings_for("distmult", "uniform", epochs=40, overrides={"epochs": 40}).epochs == 40
    every = settings_for("distmult", "uniform", epochs=40).options["stopping"]["frequency"]
    assert every == 2


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_every_component_has_settings(negatives: str) -> None:
    settings = settings_for("transe", negatives)
    known = setting_names("transe", negatives, settings.loss, settings.optimizer)
    assert "scoring_fct_norm" in known["model"]
    assert known["negatives"]
    for section, values in settings.options.items():
        assert values.keys() <= known[section].keys()


@pytest.mark.parametrize("pair", ["lr", "=3", " =3"])
def test_a_setting_without_a_key_or_value(pair: str) -> None:
    with pytest.raises(ValueError, match="takes key=value"):
        parse_overrides([pair])


def test_values_are_json_where_they_can_be() -> None:
    found = parse_overrides(["a=1", "b=null", "c=[1, 2]", "d= x=y", 'e={"p": 2}'])
    assert found == {"a": 1, "b": None, "c": [1, 2], "d": "x=y", "e": {"p": 2}}


class Parent:
    def __init__(self, width: int = 3, *, loss: str = "x") -> None: ...


class Child(Parent):
    def __init__(self, depth: int, **kwargs: Any) -> None: ...


def test_keywords_of_parents_count_where_they_are_passed_on() -> None:
    assert keywords(Child) == {"depth": None, "width": 3}
    assert keywords(Child, inherited=False) == {"depth": None}
    with pytest.raises(ValueError, match="unknown setting 'q'"):
        home_of("q", {"child": keywords(Child)})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be a whole number from 1, got 0"),
        ({"embedding_dim": 1.5}, "embedding_dim must be a whole number from 1, got 1.5"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
        ({"num_negs_per_pos": "many"}, "num_negs_per_pos must be a whole number from 1"),
        ({"num_workers": -1}, "num_workers must be a whole number from 0, got -1"),
        ({"optimizer": "lbfgs"}, "'lbfgs' evaluates the loss several times a step"),
        ({"optimizer": "sparseadam"}, "add --negatives inbatch --set row_gradients=true"),
    ],
)
def test_what_would_fail_in_pykeen_is_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_for("distmult", "uniform", overrides=overrides)


@pytest.mark.parametrize(
    ("negatives", "overrides", "message"),
    [
        ("inbatch", {"tau": "abc"}, "tau must be a number like 1.0, got 'abc'"),
        ("hasa", {"hard_share": "lots"}, "hard_share must be a number like 0.5, got 'lots'"),
        ("hasa", {"pool_size": "many"}, "pool_size must be a number like 256, got 'many'"),
    ],
)
def test_words_in_place_of_numbers_are_refused(
    negatives: str, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings_for("distmult", negatives, overrides=overrides)


def test_what_may_be_no_number_may_be_none() -> None:
    found = settings_for("distmult", "hasa", overrides={"pool_size": None})
    assert found.options["negatives"]["pool_size"] is None
    pool = settings_for("distmult", "inbatch", overrides={"pool": "all"})
    assert pool.options["negatives"]["pool"] == "all"


@pytest.mark.parametrize("optimizer", ["lazyadam", "sparseadam"])
def test_adam_of_rows(optimizer: str) -> None:
    overrides = {"optimizer": optimizer, "row_gradients": True}
    assert settings_for("complex", "inbatch", overrides=overrides).optimizer == optimizer
