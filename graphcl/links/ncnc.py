"""NCNC: common neighbours that may be missing count by how likely they are."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from graphcl.links.ncn import NCN, check_embeddings
from graphcl.links.neighbourhoods import Neighbourhoods, common_neighbour_sum, pool


class NCNC(NCN):
    r"""Neural common neighbours with completion (Wang et al., 2024, arXiv 2302.00890), depth 1.

    A neighbour u of one end alone would be common if its edge to the other end were there; it adds
    :math:`P\,\tilde x_u`, with P the calibrated probability that NCN, with the same weights and
    without a gradient, gives to that edge:

    .. math:: P = \alpha\frac{p_t p_0}{p_t p_0 + 1 - p_0},
              \quad p_0 = \mathrm{sigmoid}(scale\,(logit - offset)).

    An edge is scored once however many pairs ask for it. The release hands the inner call its
    already transformed embeddings and drops edges in it anew; here it is NCN itself, on all edges.
    An end of the pair is never counted as its own neighbour.

    Args:
        in_channels: width D of the node embeddings.
        hidden: width of the predictor.
        dropout: inside the predictor.
        alpha: largest probability; 0 gives NCN.
        prior: :math:`p_t`.
        scale: of the logits.
        offset: of the logits.
        max_logits: edges scored at a time in the completion, which bounds the memory.
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
        **options: Any,
    ) -> None:
        super().__init__(in_channels, hidden, dropout, **options)
        for name, value in (("alpha", alpha), ("prior", prior), ("scale", scale)):
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if max_logits < 1:
            raise ValueError(f"max_logits must be at least 1, got {max_logits}")
        self.alpha, self.prior, self.scale, self.offset = alpha, prior, scale, offset
        self.max_logits = max_logits

    def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """See :meth:`GAE.forward`."""
        check_embeddings(h, graph, self.in_channels)
        values, seen = self.transformed(h), self.seen(graph)
        pooled = common_neighbour_sum(seen, pairs, values)
        for ends in (pairs, pairs.flip(0)):  # neighbours of one end, edges to the other
            pair, node = seen.only_first(ends)
            likely = self.probabilities(h, graph, torch.stack([ends[1][pair], node]))
            pooled = pooled + pool(pair, node, values, pairs.shape[1], likely)
        return self.score(h, pairs, pooled)

    @torch.no_grad()
    def probabilities(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """Calibrated probability (B,) of each pair (2, B) to be an edge."""
        low, high = pairs.aminmax(dim=0) if pairs.numel() else (pairs[0], pairs[1])
        keys, of = (low * graph.num_nodes + high).unique(return_inverse=True)
        edges = torch.stack([keys // graph.num_nodes, keys % graph.num_nodes])
        training = self.training
        self.eval()  # a probability, not a draw of dropout
        try:
            logits = [super(NCNC, self).forward(h, graph, part) for part in self._parts(edges)]
        finally:
            self.train(training)
        return self.calibrate(torch.cat(logits))[of] if logits else h.new_zeros(0)

    def calibrate(self, logit: Tensor) -> Tensor:
        """Probability of an edge from NCN's logit."""
        plain = torch.sigmoid(self.scale * (logit - self.offset))
        return self.alpha * self.prior * plain / (self.prior * plain + 1 - plain)

    def _parts(self, edges: Tensor) -> list[Tensor]:
        return list(edges.split(self.max_logits, dim=1)) if edges.numel() else []
