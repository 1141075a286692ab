"""Methods: an encoder, its views and its loss in one module, usable in anyone's loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphcl.methods.adameow import AdaMEOW
    from graphcl.methods.bgrl import BGRL
    from graphcl.methods.clustering import ClusteringMethod
    from graphcl.methods.costa import COSTA
    from graphcl.methods.dgi import DGI
    from graphcl.methods.gca import GCA
    from graphcl.methods.gcool import GCooL
    from graphcl.methods.grace import GRACE
    from graphcl.methods.heco import HeCo
    from graphcl.methods.hetero_method import HeteroMethod
    from graphcl.methods.meow import MEOW
    from graphcl.methods.method import GraphMethod, Method
    from graphcl.methods.multiplex import MultiplexGCooL, relation_views
    from graphcl.methods.pamcgc import PamCGC
    from graphcl.methods.pot import POT, Compactness
    from graphcl.methods.preparation import Preparation
    from graphcl.methods.progcl import ProGCL

__all__ = [
    "BGRL",
    "COSTA",
    "DGI",
    "GCA",
    "GRACE",
    "MEOW",
    "POT",
    "AdaMEOW",
    "ClusteringMethod",
    "Compactness",
    "GCooL",
    "GraphMethod",
    "HeCo",
    "HeteroMethod",
    "Method",
    "MultiplexGCooL",
    "PamCGC",
    "Preparation",
    "ProGCL",
    "relation_views",
]

_HOMES = {
    "AdaMEOW": "graphcl.methods.adameow",
    "ClusteringMethod": "graphcl.methods.clustering",
    "Compactness": "graphcl.methods.pot",
    "Preparation": "graphcl.methods.preparation",
    "relation_views": "graphcl.methods.multiplex",
    "BGRL": "graphcl.methods.bgrl",
    "COSTA": "graphcl.methods.costa",
    "DGI": "graphcl.methods.dgi",
    "GCA": "graphcl.methods.gca",
    "GCooL": "graphcl.methods.gcool",
    "GRACE": "graphcl.methods.grace",
    "GraphMethod": "graphcl.methods.method",
    "HeCo": "graphcl.methods.heco",
    "HeteroMethod": "graphcl.methods.hetero_method",
    "MEOW": "graphcl.methods.meow",
    "Method": "graphcl.methods.method",
    "MultiplexGCooL": "graphcl.methods.multiplex",
    "POT": "graphcl.methods.pot",
    "PamCGC": "graphcl.methods.pamcgc",
    "ProGCL": "graphcl.methods.progcl",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: encoders need torch_geometric.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
