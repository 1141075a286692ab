"""The papers' weightings of negatives, for ``InfoNCE(weight=...)``, and what they are made of.

:class:`BetaMixture` is fitted for :class:`ProGCLWeight`; :class:`ViewSums` is what a
:class:`Weighting` of one's own is given.
"""

from graphcl.weights.ambiguous_band import AmbiguousBand
from graphcl.weights.beta_mixture import BetaMixture
from graphcl.weights.cluster_weight import ClusterWeight
from graphcl.weights.debiased import Debiased
from graphcl.weights.hard_tilt import HardTilt
from graphcl.weights.other_similarity import OtherSimilarityWeight
from graphcl.weights.pair_mlp_weight import PairMLPWeight
from graphcl.weights.progcl_mix import ProGCLMix
from graphcl.weights.progcl_weight import ProGCLWeight
from graphcl.weights.same_cluster import SameCluster
from graphcl.weights.similarity_filter import SimilarityFilter
from graphcl.weights.view_sums import ViewSums
from graphcl.weights.weighting import Weighting

__all__ = [
    "AmbiguousBand",
    "BetaMixture",
    "ClusterWeight",
    "Debiased",
    "HardTilt",
    "OtherSimilarityWeight",
    "PairMLPWeight",
    "ProGCLMix",
    "ProGCLWeight",
    "SameCluster",
    "SimilarityFilter",
    "ViewSums",
    "Weighting",
]
