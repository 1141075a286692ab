"""Neural common neighbours: a pair's score from both ends and from what lies between them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from graphcl.links.neighbourhoods import Neighbourhoods, common_neighbour_sum


class GAE(nn.Module):
    """Score of a pair from its two ends alone, ``out(MLP(h_i * h_j))``.

    After Kipf and Welling, 2016, arXiv 1611.07308, with a learned product.

    Args:
        in_channels: width D of the node embeddings.
        hidden: width of the predictor.
        dropout: inside the predictor.
    """

    paper: ClassVar[str] = "GAE, Kipf and Welling, 2016, arXiv 1611.07308"

    def __init__(self, in_channels: int, hidden: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        if in_channels < 1 or hidden < 1:
            raise ValueError(f"in_channels={in_channels}, hidden={hidden}: give positive widths")
        self.in_channels, self.hidden, self.dropout = in_channels, hidden, dropout
        self.ends = two_layers(in_channels, hidden, dropout)
        self.out = nn.Linear(hidden, 1)

    def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """Logits (B,), the same for both orders of a pair.

        Args:
            h: (N, D) node embeddings.
            graph: edges that are known; in training without those of the pairs themselves, see
                :meth:`Neighbourhoods.without`.
            pairs: (2, B) node pairs.
        """
        check_embeddings(h, graph, self.in_channels)
        return self._logit(self.ends(h[pairs[0]] * h[pairs[1]]))

    def _logit(self, inner: Tensor) -> Tensor:
        logit: Tensor = self.out(inner)
        return logit.squeeze(-1)


class NCN(GAE):
    r"""Neural common neighbours (Wang et al., 2024, arXiv 2302.00890).

    .. math:: \mathrm{out}\Big(\beta\,\mathrm{MLP}_{cn}\big(\sum_{u \in N(i) \cap N(j)} \tilde x_u
              \big) + \mathrm{MLP}_{ij}(h_i \odot h_j)\Big), \quad \tilde x = h + \mathrm{MLP}_x(h),

    with a learned :math:`\beta`, as released; the paper writes a concatenation.

    Args:
        in_channels: width D of the node embeddings.
        hidden: width of the predictor.
        dropout: inside the predictor.
        transform: use :math:`\mathrm{MLP}_x`; otherwise :math:`\tilde x = h`.

    Example:
        >>> graph = Neighbourhoods(torch.tensor([[0, 1], [1, 2]]), 3)
        >>> NCN(4, 8)(torch.rand(3, 4), graph, torch.tensor([[0, 0], [2, 1]])).shape
        torch.Size([2])
    """

    paper: ClassVar[str] = "NCN, Wang et al., 2024, arXiv 2302.00890"

    def __init__(
        self, in_channels: int, hidden: int = 256, dropout: float = 0.0, *, transform: bool = True
    ) -> None:
        super().__init__(in_channels, hidden, dropout)
        self.between = two_layers(in_channels, hidden, dropout)
        self.change = two_layers(in_channels, in_channels, dropout) if transform else None
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """See :meth:`GAE.forward`."""
        check_embeddings(h, graph, self.in_channels)
        return self.score(h, pairs, common_neighbour_sum(graph, pairs, self.transformed(h)))

    def transformed(self, h: Tensor) -> Tensor:
        """What common neighbours contribute, (N, D)."""
        return h if self.change is None else h + self.change(h)

    def score(self, h: Tensor, pairs: Tensor, pooled: Tensor) -> Tensor:
        """Logits (B,) from embeddings and what was pooled (B, D) for each pair."""
        ends = self.ends(h[pairs[0]] * h[pairs[1]])
        return self._logit(self.beta * self.between(pooled) + ends)


def two_layers(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Linear, layer norm, dropout, ReLU, linear: (..., width) to (..., hidden)."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LayerNorm(hidden),
        nn.Dropout(dropout),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
    )


def check_embeddings(h: Tensor, graph: Neighbourhoods, width: int) -> None:
    """Refuse embeddings that do not fit the graph or the predictor."""
    if h.shape != (graph.num_nodes, width):
        raise ValueError(
            f"embeddings must be ({graph.num_nodes}, {width}) for this graph and predictor, got "
            f"{tuple(h.shape)}"
        )
