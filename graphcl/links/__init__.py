"""Link prediction from common neighbours: heuristics, NCN and NCNC, without compiled packages."""

from graphcl.links.heuristics import adamic_adar, common_neighbours, resource_allocation
from graphcl.links.ncn import GAE, NCN
from graphcl.links.ncnc import NCNC
from graphcl.links.neighbourhoods import Neighbourhoods

__all__ = [
    "GAE",
    "NCN",
    "NCNC",
    "Neighbourhoods",
    "adamic_adar",
    "common_neighbours",
    "resource_allocation",
]
