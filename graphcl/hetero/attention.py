"""Attention over whole views: one weight each, the same for all nodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SemanticAttention(nn.Module):
    r"""Weights of views by their mean (HAN, Wang et al., 2019, arXiv 1903.07293).

    :math:`\beta = \mathrm{softmax}_v\, (a \cdot \text{mean}_i \tanh(W z_i^v + b))`, and the views
    are summed with these weights.

    Args:
        channels: D.
        dropout: of the vector a.
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.query = nn.Parameter(torch.empty(1, channels))
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_normal_(self.linear.weight, gain=1.414)
        nn.init.xavier_normal_(self.query, gain=1.414)

    def weights(self, views: Sequence[Tensor]) -> Tensor:
        """(V,) weights of views (N, D); they sum to one."""
        query = self.dropout(self.query)[0]
        return torch.stack([torch.tanh(self.linear(z)).mean(0) @ query for z in views]).softmax(0)

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """The weighted sum (N, D).

        Raises:
            ValueError: no view.
        """
        if not views:
            raise ValueError("attention over no view; give one at least")
        share = self.weights(views)
        total = share[0] * views[0]
        for weight, z in zip(share[1:], views[1:], strict=True):
            total = total + weight * z
        return total
