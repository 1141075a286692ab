"""Mass of a query's negatives: hard ones weighted up, hidden true answers subtracted."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Floor = Literal["relative", "cosine", "zero"]

RELATIVE_FLOOR = 1e-2
"""Share of the mass of all proposals that the correction leaves at least."""


class Columns(NamedTuple):
    """Scores (B, N) with the places that count, bool (B, N)."""

    scores: Tensor
    mask: Tensor


def log_negative_mass(
    negative: Columns,
    structural: Columns | None,
    *,
    beta: float = 0.0,
    tau_plus: float = 0.0,
    tau: float = 1.0,
    floor: Floor = "relative",
) -> Tensor:
    r"""Log g of each of B queries, where ``softplus(log g - a)`` is HaSa's loss.

    HaSa (Zhang et al., 2024, arXiv:2305.10563); hardness as in Robinson et al., 2021,
    arXiv:2010.04592, correction as in Chuang et al., 2020, arXiv:2007.00224. With N negatives of
    scores :math:`s_j` and structural candidates of scores :math:`u_k`,

    .. math::
        g = \frac{N}{1 - τ^+} \max\Big( \sum_j w_j e^{s_j / τ} - τ^+ \sum_k v_k e^{u_k / τ},
        \text{floor} \Big), \quad w = \mathrm{softmax}(β s), \quad v = \mathrm{softmax}(β u).

    The weights w and v carry no gradient. N counts the negatives of each row, and a row without
    structural candidates is not corrected. All is computed in log space, for scores of any size.

    Args:
        negative: (B, N) scores; a row without any negative gives -inf and no gradient.
        structural: (B, M) scores of likely true answers, or None.
        beta: tilt towards high scores, in units of 1 / score; 0 weighs all alike.
        tau_plus: share of true answers among the proposed negatives, in [0, 1).
        tau: temperature.
        floor: ``"relative"`` keeps the share :data:`RELATIVE_FLOOR` of the uncorrected sum, for
            scores of any kind; ``"cosine"`` keeps exp(-1 / tau), the least value of cosine scores;
            ``"zero"`` keeps nothing, and such a row then has neither loss nor gradient.
    """
    count = negative.mask.sum(1)
    mass = _tilted_mean(negative, beta, tau)
    prior = torch.zeros_like(mass)
    if structural is not None and structural.scores.shape[1] and tau_plus > 0:
        hidden = _tilted_mean(structural, beta, tau) + math.log(tau_plus)
        corrected = structural.mask.any(1) & (count > 0)
        # Rows that are not corrected must not put infinities into the backward pass.
        gap = torch.where(corrected, hidden - mass, -torch.inf)
        left = _log_one_minus_exp(gap)
        if floor == "relative":
            left = left.clamp(min=math.log(RELATIVE_FLOOR))
        mass = mass + left
        if floor == "cosine":
            mass = torch.where(corrected, mass.clamp(min=-1 / tau), mass)
        prior = math.log1p(-tau_plus) * corrected.to(mass.dtype)
    number = count.clamp(min=1).to(mass.dtype)
    return torch.where(count > 0, mass + number.log() - prior, -torch.inf)


def official_log_negative_mass(
    positive: Tensor,
    negative: Columns,
    structural: Columns | None,
    *,
    tau_plus: float,
    width: int,
) -> Tensor:
    """Log g as the released code of HaSa has it, for comparison only.

    It differs from :func:`log_negative_mass` in that the weights are softmax(s / |s|) with |s| the
    Euclidean norm of the row of scores (of the positive (B,) as well), so that they hardly differ;
    the factor N is ``width``, that of the embeddings (500 there); the difference is clamped at
    zero. Temperature and beta are 1. Masked columns count nothing (in the released code they keep
    a weight of e^-10).
    """
    every = Columns(
        torch.cat((positive[:, None], negative.scores), 1),
        torch.cat((torch.ones_like(negative.mask[:, :1]), negative.mask), 1),
    )
    log_weight = _unit_softmax(every, first=-10.0)[:, 1:]
    mass = _log_sum(negative.scores + log_weight, negative.mask)
    left = torch.zeros_like(mass)
    if structural is not None and structural.scores.shape[1] and tau_plus > 0:
        hidden = _log_sum(structural.scores + _unit_softmax(structural), structural.mask)
        corrected = structural.mask.any(1) & negative.mask.any(1)
        left = _log_one_minus_exp(
            torch.where(corrected, hidden + math.log(tau_plus) - mass, -torch.inf)
        )
    return mass + left + math.log(width) - math.log1p(-tau_plus)


def contrast(log_mass: Tensor, logit: Tensor) -> Tensor:
    """-log(e^a / (e^a + g)) from log g and a of the same shape; 0 where g is."""
    some = log_mass != -torch.inf
    excess = torch.where(some, log_mass, 0.0) - logit
    # Not softplus, which rounds to its argument beyond 20.
    return torch.where(some, torch.logaddexp(excess, torch.zeros_like(excess)), 0.0)


def _tilted_mean(columns: Columns, beta: float, tau: float) -> Tensor:
    """Log of the mean of exp(s / tau) under weights softmax(beta s); -inf without columns."""
    scores = torch.where(columns.mask, columns.scores, 0.0)
    tilt = (scores.detach() * beta).masked_fill(~columns.mask, -torch.inf)
    # A row without columns gets weights of zero, not NaN.
    tilt = tilt.masked_fill(~columns.mask.any(1, keepdim=True), 0.0)
    return _log_sum(scores / tau + tilt.log_softmax(1), columns.mask)


def _log_sum(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-sum-exp over the places that count; -inf with zero gradient where there are none."""
    some = mask.any(1)
    inside = logits.masked_fill(~mask & some[:, None], -torch.inf)
    inside = torch.where(some[:, None], inside, 0.0)
    return torch.where(some, inside.logsumexp(1), -torch.inf)


def _unit_softmax(columns: Columns, first: float | None = None) -> Tensor:
    """Log softmax of scores scaled to Euclidean length one, without gradient."""
    unit = F.normalize(torch.where(columns.mask, columns.scores.detach(), 0.0), dim=1)
    unit = unit.masked_fill(~columns.mask, -torch.inf)
    if first is not None:
        unit[:, 0] = first
    return unit.masked_fill(~columns.mask.any(1, keepdim=True), 0.0).log_softmax(1)


def _log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - e^x), -inf where x >= 0, accurate near 0 and far from it."""
    below = x < 0
    safe = torch.where(below, x, -1.0)
    near = safe > -math.log(2)
    value = torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, safe, -0.5))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, safe))),
    )
    return torch.where(below, value, -torch.inf)
