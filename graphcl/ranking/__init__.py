"""Exact ranking of link predictions: filtered metrics, known triples, OGB's protocol."""

from graphcl.kernels.ranks import NonFiniteScores
from graphcl.ranking.evaluator import LinkPredictionEvaluator
from graphcl.ranking.known import KnownTriples
from graphcl.ranking.metrics import RankMetrics
from graphcl.ranking.ogb import ogb_hits_at_k, ogb_mean_mrr, ogb_mrr
from graphcl.ranking.ranks import Ranks
from graphcl.ranking.report import Protocol, RankReport
from graphcl.ranking.side_ranking import InconsistentScores, QueryKeyScorer

__all__ = [
    "InconsistentScores",
    "KnownTriples",
    "LinkPredictionEvaluator",
    "NonFiniteScores",
    "Protocol",
    "QueryKeyScorer",
    "RankMetrics",
    "RankReport",
    "Ranks",
    "ogb_hits_at_k",
    "ogb_mean_mrr",
    "ogb_mrr",
]
