"""Link prediction from common neighbours: heuristics, NCN and NCNC, without compiled packages."""

from graphcl.links.heuristics import adamic_adar, common_neighbours, resource_allocation
from graphcl.links.ncn import GAE, NCN
from graphcl.links.ncnc import NCNC
from graphcl.links.neighbourhoods import Neighbourhoods
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
