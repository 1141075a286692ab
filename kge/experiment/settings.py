"""Settings of an experiment: what may be set, where it goes, and what it is by default."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pykeen.training  # noqa: F401  (before its callers: their modules import each other)
from pykeen.losses import loss_resolver
from pykeen.models import model_resolver
from pykeen.optimizers import optimizer_resolver
from pykeen.sampling import negative_sampler_resolver
from pykeen.training import training_loop_resolver
from pykeen.training.training_loop import TrainingLoop

from kge.experiment.choices import choose
from kge.experiment.keywords import check_number, home_of, keywords
from kge.registration import register

NEGATIVES = {
    "uniform": "basic",
    "bernoulli": "bernoulli",
    "hasa": "hasa",
    "lemon": "lemon",
    "inbatch": "inbatch",
}
"""Names of the command line, and PyKEEN's for the sampler or, for ``inbatch``, the loop."""

STOPPING_METRICS = {
    "mrr": "both.realistic.inverse_harmonic_mean_rank",
    **{f"hits@{k}": f"both.realistic.hits_at_{k}" for k in (1, 3, 10)},
}

SAMPLING = {"num_negs_per_pos": 32, "filtered": True}
"""Settings that every sampler has by default."""

_DATASET: dict[str, Any] = {"unseen": "keep", "create_inverse_triples": False}
_TRAINING: dict[str, Any] = {"batch_size": 256}
_STOPPING: dict[str, Any] = {
    "metric": "mrr",
    "frequency": None,
    "patience": 5,
    "relative_delta": 0.0,
}
_VALIDATED = {"validation_triples": 0}
"""How many triples early stopping looks at, 0 for all; kept in a run's settings where it is set."""
# Counts that PyKEEN takes as they are, to fail somewhere else.
_LEAST = {
    "batch_size": 1,
    "sub_batch_size": 1,
    "embedding_dim": 1,
    "num_negs_per_pos": 1,
    "num_workers": 0,
}
_MORE_TRAINING = (
    "sub_batch_size",
    "label_smoothing",
    "num_workers",
    "drop_last",
    "sampler",
    "gradient_clipping_max_norm",
    "gradient_clipping_norm_type",
    "gradient_clipping_max_abs_value",
)


@dataclass(frozen=True)
class Settings:
    """All that a run depends on besides its data and seed.

    Attributes:
        model: PyKEEN's name of the model.
        negatives: a key of :data:`NEGATIVES`.
        loss: PyKEEN's name of the loss; None for ``inbatch``, whose loop has its own.
        epochs: at most.
        optimizer: PyKEEN's name.
        options: keyword arguments by section: ``dataset``, ``model``, ``loss``, ``negatives`` (of
            the sampler or the loop), ``optimizer``, ``training`` and ``stopping``.
    """

    model: str
    negatives: str
    loss: str | None
    epochs: int
    optimizer: str = "adam"
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as for ``config.json``."""
        return asdict(self)


def settings_for(
    model: str,
    negatives: str,
    *,
    loss: str | None = None,
    epochs: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Defaults with overrides on top.

    Negatives other than in-batch come 32 per positive and never are known training triples; the
    loss is the softmax of each positive against its negatives (``crossentropy``), for ``hasa`` the
    loss of that name, which is the same with weights and a correction. Adam with a rate of 0.01,
    batches of 256, 100 epochs; the metric of validation is looked at 20 times, and training stops
    after 5 times (``patience``; 0 for never) without a gain. Models of texts get inverse triples.

    Args:
        model: a name that PyKEEN knows.
        negatives: a key of :data:`NEGATIVES`.
        loss: a name that PyKEEN knows.
        epochs: at most.
        overrides: values by key. A key that several components have needs the name of the section
            before it: ``loss.margin``, ``negatives.margin``.

    Raises:
        ValueError: unknown names or keys, keys of two components, values out of range.

    Example:
        >>> found = settings_for("distmult", "hasa", overrides={"embedding_dim": 32, "lr": 0.1})
        >>> found.loss, found.options["model"], found.options["optimizer"]
        ('hasa', {'embedding_dim': 32}, {'lr': 0.1})
    """
    register()
    values = dict(overrides or {})
    model = choose("model", _plain(model), model_names())
    negatives = choose("kind of negatives", negatives.lower(), NEGATIVES)
    if negatives == "inbatch":
        if loss is not None:
            raise ValueError(f"in-batch training has its own loss; leave out loss={loss!r}")
    else:
        loss = "hasa" if loss is None and negatives == "hasa" else loss or "crossentropy"
        loss = choose("loss", _plain(loss), _names(loss_resolver))
    optimizer = str(values.pop("optimizer", "adam"))
    optimizer = choose("optimizer", _plain(optimizer), _names(optimizer_resolver))
    if "epochs" in values:
        given = values.pop("epochs")
        if epochs is not None and epochs != given:
            raise ValueError(f"epochs={epochs} and the setting epochs={given} differ; give one")
        epochs = given
    epochs = 100 if epochs is None else epochs
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number from 1, got {epochs!r}")
    options: dict[str, dict[str, Any]] = {
        "dataset": dict(_DATASET),
        "model": {},
        "loss": {},
        "negatives": {},
        "optimizer": {"lr": 0.01},
        "training": dict(_TRAINING),
        "stopping": {**_STOPPING, "frequency": max(1, epochs // 20)},
    }
    if getattr(model_resolver.lookup(model), "needs_inverse_triples", False):
        options["dataset"]["create_inverse_triples"] = True
    if negatives != "inbatch":
        options["negatives"] = dict(SAMPLING)
    known = setting_names(model, negatives, loss, optimizer)
    for key, value in values.items():
        section, name = home_of(key, known)
        # Of negatives some numbers may be none at all, and the pool all entities.
        if section != "negatives" or not (value is None or name == "pool"):
            check_number(name, value, known[section][name])
        options[section][name] = value
    _check_stopping(options["stopping"])
    for given in options.values():
        for name, value in given.items():
            if value is not None and name in _LEAST:
                _check_whole(name, value, _LEAST[name])
    _check_optimizer(optimizer, options["negatives"])
    return Settings(model, negatives, loss, epochs, optimizer, options)


def setting_names(
    model: str, negatives: str, loss: str | None, optimizer: str
) -> dict[str, dict[str, Any]]:
    """Keys that may be set, with the components' own defaults, by section."""
    if negatives == "inbatch":
        loop = training_loop_resolver.lookup("inbatch")
        own = set(inspect.signature(TrainingLoop.__init__).parameters)
        source = {name: value for name, value in keywords(loop).items() if name not in own}
    else:
        source = keywords(negative_sampler_resolver.lookup(NEGATIVES[negatives]))
    return {
        "dataset": _DATASET,
        "model": keywords(model_resolver.lookup(model), inherited=False),
        "loss": {} if loss is None else keywords(loss_resolver.lookup(loss)),
        "negatives": source,
        "optimizer": keywords(optimizer_resolver.lookup(optimizer)),
        "training": {**_TRAINING, **dict.fromkeys(_MORE_TRAINING)},
        "stopping": {**_STOPPING, **_VALIDATED},
    }


def model_names() -> list[str]:
    """Names of PyKEEN's models."""
    return sorted(model_resolver.lookup_dict)


def _check_stopping(options: Mapping[str, Any]) -> None:
    choose("stopping metric", str(options["metric"]), STOPPING_METRICS)
    options = {**_VALIDATED, **options}
    for name, least in (("frequency", 1), ("patience", 0), ("validation_triples", 0)):
        _check_whole(name, options[name], least)


def _check_optimizer(name: str, negatives: Mapping[str, Any]) -> None:
    if name == "lbfgs":
        raise ValueError(
            "optimizer 'lbfgs' evaluates the loss several times a step, which PyKEEN does not do"
        )
    if name == "sparseadam" and not negatives.get("row_gradients"):
        raise ValueError(
            "optimizer 'sparseadam' takes gradients of rows alone: add --negatives inbatch --set "
            "row_gradients=true, or use adam or lazyadam"
        )


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")


def _names(resolver: Any) -> list[str]:
    """Names that are fit for a command line, synonyms of one word included."""
    names = {*resolver.lookup_dict, *resolver.synonyms}
    return sorted(name for name in names if name == _plain(name))


def _plain(name: str) -> str:
    return "".join(one for one in name.lower() if one.isalnum())
