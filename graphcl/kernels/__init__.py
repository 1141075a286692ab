"""Ground floor: tiled log-sum-exp over negatives, rank counts and segment reductions."""

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.implementation import ImplChoice, explain_impl
from graphcl.kernels.negatives import negative_logsumexp, two_sided_logsumexp
from graphcl.kernels.ranks import NonFiniteScores, RankCounts, rank_counts
from graphcl.kernels.segments import (
    segment_logsumexp,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)
from graphcl.kernels.weights import (
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
)

__all__ = [
    "Exclude",
    "GroupWeight",
    "ImplChoice",
    "KeyWeight",
    "LowRankWeight",
    "NonFiniteScores",
    "RankCounts",
    "SimilarityWeight",
    "TileWeight",
    "explain_impl",
    "negative_logsumexp",
    "rank_counts",
    "segment_logsumexp",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "two_sided_logsumexp",
]
