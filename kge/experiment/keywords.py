"""Settings given as ``key=value``: reading them, and finding whose they are."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kge.experiment.choices import choose, close_to

# What PyKEEN gives a component, so that a user cannot.
_GIVEN = {
    "self",
    "triples_factory",
    "mapped_triples",
    "num_entities",
    "num_relations",
    "params",
    "loss",
    "loss_kwargs",
    "random_seed",
}


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; a value is JSON where it can be, text otherwise.

    Raises:
        ValueError: no equals sign, or nothing before it.

    Example:
        >>> parse_overrides(["lr=0.01", "filtered=false", "pool=all"])
        {'lr': 0.01, 'filtered': False, 'pool': 'all'}
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


def keywords(cls: type, *, inherited: bool = True) -> dict[str, Any]:
    """Keywords of a constructor with their defaults, None where there is none.

    Args:
        cls: whose constructor.
        inherited: also those of the parents that it passes its options on to.

    Example:
        >>> class Loss:
        ...     def __init__(self, margin: float = 1.0) -> None: ...
        >>> keywords(Loss)
        {'margin': 1.0}
    """
    found: dict[str, Any] = {}
    for owner in cls.__mro__:
        constructor = vars(owner).get("__init__")
        if constructor is None or owner.__module__.startswith("torch.nn"):
            continue
        parameters = inspect.signature(constructor).parameters.values()
        for p in parameters:
            if p.name not in _GIVEN and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                found.setdefault(p.name, None if p.default is p.empty else p.default)
        if not inherited or not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def home_of(key: str, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Section and name of a setting; the section may be given before a dot.

    Raises:
        ValueError: nothing has this setting, or more than one section has.

    Example:
        >>> home_of("model.dim", {"model": {"dim": 50}, "loss": {}})
        ('model', 'dim')
    """
    section, dot, name = key.partition(".")
    if dot:
        choose("section of settings", section, known)
        return section, choose(f"setting of {section}", name, known[section])
    homes = [section for section, names in known.items() if key in names]
    if not homes:
        every = [name for names in known.values() for name in names]
        listed = "; ".join(f"{part}: {', '.join(names)}" for part, names in known.items() if names)
        raise ValueError(f"unknown setting {key!r}{close_to(key, every)}. Known are {listed}")
    if len(homes) > 1:
        choices = " or ".join(f"{home}.{key}" for home in homes)
        raise ValueError(f"setting {key!r} is known to {len(homes)} components: say {choices}")
    return homes[0], key


def check_number(name: str, value: Any, default: Any) -> None:
    """Refuse a text or a list where the default is a number.

    Raises:
        ValueError: it is one.
    """
    if isinstance(default, int | float) and not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number like {default!r}, got {value!r}")
