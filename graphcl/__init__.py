"""Node-level contrastive learning on graphs: exact losses, linear memory, honest evaluation.

Names are loaded on first use: ``import graphcl`` itself loads neither torch nor PyG.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphcl.version import __version__

if TYPE_CHECKING:
    from graphcl.data import load_dataset
    from graphcl.losses import BootstrapLoss, InfoNCE
    from graphcl.methods import BGRL, DGI, GCA, GRACE
    from graphcl.probes import cluster_nodes, linear_probe, link_probe, make_split

__all__ = [
    "BGRL",
    "DGI",
    "GCA",
    "GRACE",
    "BootstrapLoss",
    "InfoNCE",
    "__version__",
    "cluster_nodes",
    "linear_probe",
    "link_probe",
    "load_dataset",
    "make_split",
]

_HOMES = {
    "BGRL": "methods",
    "DGI": "methods",
    "GCA": "methods",
    "GRACE": "methods",
    "BootstrapLoss": "losses",
    "InfoNCE": "losses",
    "cluster_nodes": "probes",
    "linear_probe": "probes",
    "link_probe": "probes",
    "load_dataset": "data",
    "make_split": "probes",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"graphcl.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
