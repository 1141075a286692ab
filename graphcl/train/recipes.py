"""Hyper-parameters per method and dataset, from the data files in ``graphcl/recipes``."""

from __future__ import annotations

import difflib
import inspect
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any, Literal

from graphcl.train.provable import check_host, pot_keys, pot_recipe, provable

if TYPE_CHECKING:
    from graphcl.methods.method import Method

_CLASSES = {
    "grace": "GRACE",
    "gca": "GCA",
    "bgrl": "BGRL",
    "dgi": "DGI",
    "gcool": "GCooL",
    "progcl": "ProGCL",
    "costa": "COSTA",
    "pamcgc": "PamCGC",
    "meow": "MEOW",
    "adameow": "AdaMEOW",
    "heco": "HeCo",
}


@dataclass(frozen=True)
class TrainingOptions:
    """How a method is optimised.

    Args:
        epochs: number of optimiser steps on the full graph.
        lr: learning rate.
        weight_decay: L2 penalty (``adam``) or decoupled decay (``adamw``).
        optimizer: ``adam`` or ``adamw``.
        schedule: ``constant``, or ``warmup_cosine``: linear warm-up, then a cosine to zero.
        warmup: steps of the warm-up.
        patience: stop after so many epochs without a lower training loss and keep the weights of
            the lowest; 0 trains all epochs and keeps the last weights.
        normalize_features: divide each node's features by their sum.
    """

    epochs: int = 200
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "warmup_cosine"] = "constant"
    warmup: int = 0
    patience: int = 0
    normalize_features: bool = True

    def __post_init__(self) -> None:
        for option in fields(self):
            value, kind = getattr(self, option.name), type(option.default)
            allowed = (int, float) if kind is float else kind
            if not isinstance(value, allowed) or isinstance(value, bool) != (kind is bool):
                raise ValueError(f"{option.name} must be {kind.__name__}, got {value!r}")
        for name, low in (("epochs", 1), ("warmup", 0), ("patience", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.lr <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"lr must be positive and weight_decay not negative, got {self.lr} and "
                f"{self.weight_decay}"
            )
        for name, known in (
            ("optimizer", ("adam", "adamw")),
            ("schedule", ("constant", "warmup_cosine")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(known)}"
                )
        if self.schedule == "warmup_cosine" and self.warmup >= self.epochs:
            raise ValueError(f"warmup ({self.warmup}) must be shorter than epochs ({self.epochs})")


@dataclass(frozen=True)
class Settings:
    """A method's name, its constructor's arguments and its training options.

    With ``pot``, the arguments of :class:`~graphcl.losses.POTRegularizer`, it is trained provably.
    """

    method: str
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    pot: dict[str, Any] | None = None

    def build(self, in_channels: Any) -> Method:
        """A fresh module; weights come from torch's global generator.

        Args:
            in_channels: what :meth:`~graphcl.methods.Method.input_channels` gives for the data.

        Raises:
            ValueError: a setting that the constructor refuses, or of a type it cannot use.
        """
        try:
            module: Method = method_class(self.method)(in_channels, **self.model)
            if self.pot is not None:
                module = provable(module, self.pot)
        except TypeError as error:
            raise ValueError(
                f"{self.method} does not take these settings: {self.model} ({error})"
            ) from error
        return module

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``config.json``."""
        plain: dict[str, Any] = {"method": self.method, "model": dict(self.model)}
        plain["training"] = asdict(self.training)
        # Without POT there is no key.
        return plain if self.pot is None else {**plain, "pot": dict(self.pot)}


def method_names() -> list[str]:
    """Names that the command line knows."""
    return sorted(_CLASSES)


def method_class(name: str) -> type[Method]:
    """Class of a method by name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name.lower() not in _CLASSES:
        raise ValueError(f"unknown method {name!r}; choose from {', '.join(method_names())}")
    found: type[Method] = getattr(import_module("graphcl.methods"), _CLASSES[name.lower()])
    return found


def recipe(method: str) -> dict[str, dict[str, Any]]:
    """All sections of a method's data file: ``default`` and one per dataset with own settings."""
    method_class(method)
    text = resources.files("graphcl").joinpath("recipes", f"{method.lower()}.toml").read_text()
    return tomllib.loads(text)


def settings_for(
    method: str,
    dataset: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    pot: str = "none",
) -> Settings:
    """The recipe of a method for a dataset, with overrides on top.

    With ``pot`` the settings that POT's release ships for this host come between the two.

    Args:
        method: one of :func:`method_names`.
        dataset: a name of :func:`graphcl.data.load_dataset`; without a section of its own the
            method's default serves.
        overrides: values by key, of the method's constructor or of :class:`TrainingOptions`, and
            with ``pot`` those of :func:`~graphcl.train.provable.pot_keys`.
        pot: ``none``, or a score of :mod:`graphcl.pot`.

    Raises:
        ValueError: unknown method or key, a value the options refuse, or a method that POT cannot
            be added to.
    """
    name = method.lower()
    sections = recipe(name)
    values = {**sections["default"], **sections.get(dataset.lower(), {})}
    training_keys = [f.name for f in fields(TrainingOptions)]
    known = _model_keys(method_class(name)) + training_keys
    regularizer_keys: dict[str, str] = {}
    if pot != "none":
        check_host(name, method_class(name), pot)
        values |= pot_recipe(name, dataset)
        regularizer_keys = pot_keys()
        known += regularizer_keys
    for key, value in (overrides or {}).items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            if pot == "none" and key in pot_keys():
                check_host(name, method_class(name), "pairwise")
                hint = " without provable training: choose its score by pot (graphcl train --pot)"
            raise ValueError(f"{name} has no setting {key!r}{hint}. Known: {', '.join(known)}")
        values[key] = value
    # A shorter budget keeps its share of warm-up.
    if "warmup" not in (overrides or {}) and values.get("warmup", 0) >= values["epochs"]:
        values["warmup"] = values["epochs"] // 10
    training = TrainingOptions(**{k: v for k, v in values.items() if k in training_keys})
    regularizer = {own: values.pop(k) for k, own in regularizer_keys.items() if k in values}
    model = {k: v for k, v in values.items() if k not in training_keys}
    if pot == "none":
        return Settings(name, model, training)
    return Settings(name, model, training, {"score": pot, **regularizer})


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; a value is JSON where it can be, text otherwise.

    Example:
        >>> parse_overrides(["lr=0.01", "drop_edge=[0.1, 0.2]", "activation=prelu"])
        {'lr': 0.01, 'drop_edge': [0.1, 0.2], 'activation': 'prelu'}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set takes key=value, got {pair!r}")
        try:
            values[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            values[key.strip()] = text.strip()
    return values


def _model_keys(cls: type[Method]) -> list[str]:
    """Keywords of the constructor and of those parents it passes its options on to."""
    keys: list[str] = []
    for owner in cls.__mro__:
        constructor = vars(owner).get("__init__")
        if constructor is None:
            continue
        parameters = inspect.signature(constructor).parameters
        keys += [
            p.name
            for p in parameters.values()
            if p.name not in ("self", "in_channels", "loss", *keys)
            and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return keys
