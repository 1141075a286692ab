"""NCNC: common neighbours that may be missing count by how likely they are."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphcl.encoders.evaluating import evaluating
from graphcl.kernels.tiles import work_blocks
from graphcl.links.ncn import NCN, check_input
from graphcl.links.neighbourhoods import Neighbourhoods, common_neighbour_sum, pool

# Blocks of a batch whose weights are kept for the gradient; those of further ones are made anew.
_KEPT = 32


class NCNC(NCN):
    r"""Neural common neighbours with completion (Wang et al., 2024, arXiv 2302.00890), depth 1.

    A neighbour u of one end alone would be common if its edge to the other end were there; it adds
    :math:`P\,\tilde x_u`, with P the calibrated probability that NCN, with the same weights and
    without a gradient, gives to that edge:

    .. math:: P = \alpha\frac{p_t p_0}{p_t p_0 + 1 - p_0},
              \quad p_0 = \mathrm{sigmoid}(scale\,(logit - offset)).

    The release hands the inner call its already transformed embeddings and drops edges in it anew;
    here it is NCN itself, on all edges. An end of the pair is never counted as its own neighbour.

    A hub brings all its neighbours to each of its pairs. They are walked in blocks, so that memory
    does not grow with degrees times pairs; within a block an edge is scored once however many pairs
    ask for it, and pairs with the same end share blocks.

    Args:
        in_channels: width D of the node embeddings.
        hidden: width of the predictor.
        dropout: inside the predictor.
        alpha: largest probability; 0 gives NCN.
        prior: :math:`p_t`.
        scale: of the logits.
        offset: of the logits.
        max_logits: edges scored at a time in the completion, which bounds the memory.
        max_candidates: neighbours of pairs' ends that are looked at together, which bounds it too.
        options: of :class:`NCN`.
    """

    paper: ClassVar[str] = "NCNC, Wang et al., 2024, arXiv 2302.00890"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 256,
        dropout: float = 0.0,
        *,
        alpha: float = 1.0,
        prior: float = 0.5,
        scale: float = 5.0,
        offset: float = 3.0,
        max_logits: int = 1 << 16,
        max_candidates: int = 1 << 21,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, hidden, dropout, **options)
        for name, value in (("alpha", alpha), ("prior", prior), ("scale", scale)):
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        for name, count in (("max_logits", max_logits), ("max_candidates", max_candidates)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        self.alpha, self.prior, self.scale, self.offset = alpha, prior, scale, offset
        self.max_logits, self.max_candidates = max_logits, max_candidates

    def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """See :meth:`GAE.forward`."""
        pairs = check_input(h, graph, pairs, self.in_channels)
        values, seen = self.transformed(h), self.seen(graph)
        pooled = common_neighbour_sum(seen, pairs, values)
        for part in self._completion(h, graph, seen, pairs, values):
            pooled = pooled + part
        return self.score(h, pairs, pooled)

    def _completion(
        self, h: Tensor, graph: Neighbourhoods, seen: Neighbourhoods, pairs: Tensor, values: Tensor
    ) -> tuple[Tensor, ...]:
        """What neighbours of the first ends alone and of the second alone add, (B, D) each."""
        if not pairs.numel():
            return ()
        plain = self._plain(h)
        ends = torch.cat([pairs, pairs.flip(0)], dim=1)  # neighbours of one end, edges to the other
        order = ends[1].argsort(stable=True)
        ends = ends[:, order]

        def completed(at: slice, values: Tensor) -> Tensor:
            pair, node = seen.only_first(ends[:, at])
            likely = self._probabilities(h, plain, graph, torch.stack([ends[1, at][pair], node]))
            return pool(pair, node, values, at.stop - at.start, likely)

        parts: list[Tensor] = []
        for at in work_blocks(seen.degree[ends[0]], self.max_candidates):
            if len(parts) < _KEPT:
                parts.append(completed(at, values))
            else:
                parts.append(
                    checkpoint(completed, at, values, use_reentrant=False, preserve_rng_state=False)
                )
        return torch.cat(parts)[order.argsort()].chunk(2)

    def probabilities(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """Calibrated probability (B,) of each pair (2, B) to be an edge, without a gradient."""
        return self._probabilities(h, self._plain(h), graph, pairs)

    def _plain(self, h: Tensor) -> Tensor:
        """What common neighbours contribute, (N, D), where probabilities are asked for."""
        with evaluating(self):  # no draw of dropout, and a constant for the gradient
            return self.transformed(h)

    def _probabilities(
        self, h: Tensor, plain: Tensor, graph: Neighbourhoods, pairs: Tensor
    ) -> Tensor:
        if not pairs.numel():
            return h.new_zeros(0)
        low, high = pairs.long().aminmax(dim=0)
        keys, of = (low * graph.num_nodes + high).unique(return_inverse=True)
        edges = torch.stack([keys // graph.num_nodes, keys % graph.num_nodes])
        with evaluating(self):  # no draw of dropout, and a constant for the gradient
            logits = [
                self.score(h, part, common_neighbour_sum(graph, part, plain))
                for part in edges.split(self.max_logits, dim=1)
            ]
        return self.calibrate(torch.cat(logits))[of]

    def calibrate(self, logit: Tensor) -> Tensor:
        """Probability of an edge from NCN's logit."""
        # The formula of the class, where the sigmoid may round to 1 and the prior may be 0.
        log_prior = math.log(self.prior) if self.prior else -math.inf
        return self.alpha * torch.sigmoid(self.scale * (logit - self.offset) + log_prior)
