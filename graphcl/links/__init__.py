"""Link prediction from common neighbours: heuristics, NCN and NCNC, without compiled packages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphcl.links.heuristics import adamic_adar, common_neighbours, resource_allocation
from graphcl.links.ncn import GAE, NCN
from graphcl.links.ncnc import NCNC
from graphcl.links.neighbourhoods import Neighbourhoods

if TYPE_CHECKING:
    from graphcl.links.training import LinkFit, fit_links

__all__ = [
    "GAE",
    "NCN",
    "NCNC",
    "LinkFit",
    "Neighbourhoods",
    "adamic_adar",
    "common_neighbours",
    "fit_links",
    "resource_allocation",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: training needs the probes' scikit-learn.
    if name in ("LinkFit", "fit_links"):
        return getattr(import_module("graphcl.links.training"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
