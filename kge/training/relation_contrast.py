"""Relation prediction beside entity prediction: which relation holds between head and tail."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import negative_logsumexp
from kge.sides import Side
from kge.training.batch_vectors import BatchVectors


def relation_contrast(
    vectors: BatchVectors, triples: Tensor, side: Side, *, tau: float = 1.0
) -> Tensor:
    r"""Softmax loss (B,) of each triple's relation against all relations, inverse ones included.

    :math:`-\log p(r \mid h, t)` with logits score / tau: the auxiliary objective of Chen et al.
    (2021, arXiv 2110.02834). Other relations that hold between the same two entities are not left
    out, as there.

    Args:
        vectors: of the batch.
        triples: (B, 3) without inverse relations.
        side: with inverse relations, ``head`` asks for the relation of the inverse triples.
        tau: temperature.

    Raises:
        ValueError: the model has no query for relations.
    """
    queries = vectors.relation_queries(triples, side)
    if queries is None:
        raise ValueError(
            "relation prediction needs DistMult, ComplEx or TransE, got "
            f"{type(vectors.model).__name__}; leave out relations"
        )
    keys = vectors.relation_keys()
    own = vectors.asked(triples, side)[:, 1]
    if vectors.score == "dot":
        positive = (queries * F.embedding(own, keys)).sum(1) / tau
        return negative_logsumexp(queries, keys, tau=tau) - positive
    scores = -torch.cdist(queries, keys, p=1.0 if vectors.score == "l1" else 2.0)
    return F.cross_entropy(scores / tau, own, reduction="none")
