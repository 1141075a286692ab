"""ProGCL's synthetic negatives: the hardest true negatives, mixed with each other."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.tiles import blocks
from graphcl.weights.beta_mixture import BetaMixture
from graphcl.weights.view_sums import Both, ViewSums, log_add, with_diagonal
from graphcl.weights.weighting import Weighting

# Pairs of one block: rows of all candidates, about 16 MB in float32.
_BLOCK_PAIRS = 2**22


class ProGCLMix(Weighting):
    r"""Mixed negatives of ProGCL, Xia et al., 2022, arXiv 2110.02027.

    With B as in :class:`ProGCLWeight`, the ``sel_num`` inter-view negatives of an anchor with the
    largest B are each mixed with one of them, drawn at random and now and then itself,

    .. math:: m = (B_j s_{ij} + B_k s_{ik}) / (B_j + B_k),

    and :math:`e^{m / \tau}` is added to the sum over all negatives. Partners are drawn anew in
    every call, one permutation of ranks for all anchors. Rows are visited in blocks that are
    computed again for the gradient: memory O(N D) and a few blocks of 2^22 pairs.

    Args:
        mixture: fitted to the similarities between the views.
        sel_num: number of mixed negatives per anchor; all N - 1 where there are fewer.

    Raises:
        ValueError: ``sel_num`` below 1.
    """

    paper: ClassVar[str] = "ProGCL, Xia et al., 2022, arXiv 2110.02027"

    def __init__(self, mixture: BetaMixture, sel_num: int = 1000) -> None:
        if sel_num < 1:
            raise ValueError(f"sel_num must be at least 1, got {sel_num}")
        self.mixture, self.sel_num = mixture, sel_num

    def log_negatives(self, sums: ViewSums) -> Both:
        """See :meth:`Weighting.log_negatives`."""
        nodes, device = sums.z1.shape[0], sums.z1.device
        partner = torch.randperm(min(self.sel_num, nodes - 1), device=device)
        hidden = with_diagonal(sums.exclude)
        # The backward pass asks again, when the mixture may have been fitted anew.
        options = sums.tau, hidden, partner, deepcopy(self.mixture).log_weight
        forward = self._mixed(sums.z1, sums.z2, *options)
        backward = forward
        if sums.symmetric:
            backward = self._mixed(sums.z2, sums.z1, *options)
        return log_add(sums.negatives(), (forward, backward))

    def _mixed(
        self,
        anchors: Tensor,
        candidates: Tensor,
        tau: float,
        hidden: Exclude,
        partner: Tensor,
        function: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Log-sum (N,) over the mixed negatives of every anchor."""
        hidden = hidden.to(anchors.device)

        def block(part: Tensor, candidates: Tensor, rows: slice) -> Tensor:
            similarity = part @ candidates.T
            log_weight = function(similarity.detach())
            hidden.rows(rows.start, rows.stop)(log_weight, 0, len(candidates))
            top, where = log_weight.topk(len(partner))
            weight, chosen = top.exp(), similarity.gather(1, where)
            other = weight[:, partner]
            both = weight + other
            mixed = (chosen * weight + chosen[:, partner] * other) / both.clamp_min(1e-30)
            # Where an anchor has fewer negatives than that, the last ranks are excluded pairs.
            mixed = (mixed / tau).masked_fill(weight == 0, -torch.inf)
            none = (weight == 0).all(1)
            total = mixed.masked_fill(none[:, None], 0.0).logsumexp(1)
            return torch.where(none, -torch.inf, total)

        size = max(1, _BLOCK_PAIRS // len(candidates))
        found: list[Tensor] = [
            checkpoint(block, anchors[rows], candidates, rows, use_reentrant=False)
            for rows in blocks(len(anchors), size)
        ]
        return torch.cat(found)
