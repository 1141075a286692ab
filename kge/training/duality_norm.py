"""The duality-induced penalty (DURA) on the factors of a batch's triples."""

from __future__ import annotations

from torch import Tensor

from kge.training.nuclear_norm import squared_moduli

PLAIN, PRODUCT = 0.5, 1.5
"""Weights of the two kinds of norms in the released runs of ComplEx."""


def duality_norm(
    heads: Tensor,
    relations: Tensor,
    tails: Tensor,
    *,
    plain: float = PLAIN,
    product: float = PRODUCT,
) -> Tensor:
    r"""DURA (B,) of each triple.

    .. math:: a (\|h\|^2 + \|t\|^2) + b (\|h \circ r\|^2 + \|t \circ \bar r\|^2),

    Zhang et al. (2020, arXiv 2011.05816): the score of ComplEx, DistMult or CP is a product of the
    query :math:`h \circ r` with t, and of :math:`t \circ \bar r` with h. Beside the scores, the sum
    bounds the distances of query and answer in both, so that tails that a head is connected to
    by one relation come near each other. Averaged over a batch, an entity is penalised as often as
    it occurs.

    Args:
        heads: (B, d), as a rule embeddings; of complex ones the moduli count.
        relations: (B, d).
        tails: (B, d).
        plain: the weight a.
        product: the weight b.
    """
    r = squared_moduli(relations)
    ends = squared_moduli(heads) + squared_moduli(tails)
    return (ends * (plain + product * r)).sum(1)
