"""POT in experiments: its settings, its recipe on top of the host's, and what is kept of a run."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from graphcl.methods.method import Method


def pot_keys() -> dict[str, str]:
    """Keys of settings, and the argument of :class:`~graphcl.losses.POTRegularizer` each sets.

    Example:
        >>> sorted(pot_keys())[:3]
        ['kappa', 'pot_batch', 'pot_block']
    """
    from graphcl.losses.pot import POTRegularizer

    names = list(inspect.signature(POTRegularizer).parameters)
    # A name of its own beside the method's and the training's settings.
    return {name if name == "kappa" else f"pot_{name}": name for name in names if name != "score"}


def check_host(name: str, host: type[Method], score: str) -> None:
    """Raise ValueError unless the score is known and POT can be added to methods of this class."""
    from graphcl.methods.grace import GRACE
    from graphcl.pot.scores import SCORES

    if score not in SCORES:
        raise ValueError(f"unknown POT score {score!r}; choose from none, {', '.join(SCORES)}")
    if not issubclass(host, GRACE):
        raise ValueError(
            f"POT cannot be added to {name}: it needs two views of one GCN encoder, as in grace, "
            "gca or gcool; use pot='none'"
        )


def pot_recipe(method: str, dataset: str) -> dict[str, Any]:
    """What POT changes in a host's recipe: for every host, for this host, and for the dataset."""
    folder = resources.files("graphcl").joinpath("recipes", "pot")
    values = tomllib.loads(folder.joinpath("default.toml").read_text())["default"]
    own = folder.joinpath(f"{method.lower()}.toml")
    sections = tomllib.loads(own.read_text()) if own.is_file() else {}
    return {**values, **sections.get("default", {}), **sections.get(dataset.lower(), {})}


def provable(host: Method, options: Mapping[str, Any]) -> Method:
    """The host with a regulariser of these options."""
    methods = import_module("graphcl.methods")
    losses = import_module("graphcl.losses")
    module: Method = methods.POT(host, losses.POTRegularizer(**options))
    return module


def node_compactness(method: Method, graph: Any, seed: int) -> dict[str, np.ndarray]:
    """Sampled and certified compactness (N,) of a method trained with POT; empty for others.

    The views are the same before and after training, and the global random state is left alone.
    """
    import torch

    from graphcl.methods.pot import POT

    if not isinstance(method, POT):
        return {}
    device = next(method.parameters()).device
    assert graph.x is not None
    assert graph.edge_index is not None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        found = method.compactness(graph.x.to(device), graph.edge_index.to(device))
    return {name: value.float().cpu().numpy() for name, value in found._asdict().items()}


def write_compactness(
    path: Path, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Write both as ``compactness.npz`` and return their summary, numbers by name.

    ``certified_positive`` is the share of nodes whose certified compactness is above zero.
    """
    from graphcl.data.files import write_npz

    pairs = (("before", before), ("after", after))
    write_npz(path, {f"{k}_{when}": v for when, part in pairs for k, v in part.items()})
    summary: dict[str, float] = {}
    for suffix, part in (("", after), ("_before", before)):
        summary[f"certified_positive{suffix}"] = float((part["certified"] > 0).mean())
        summary[f"certified_mean{suffix}"] = float(part["certified"].mean())
        summary[f"sampled_positive{suffix}"] = float((part["sampled"] > 0).mean())
        summary[f"sampled_mean{suffix}"] = float(part["sampled"].mean())
    return summary
