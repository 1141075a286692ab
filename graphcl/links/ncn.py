"""Neural common neighbours: a pair's score from both ends and from what lies between them."""

from __future__ import annotations

from typing import Any, ClassVar

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
        out_layers: hidden layers of ``out``, 1 or more.
        tail: end each part in a linear layer, not in its activation.
    """

    paper: ClassVar[str] = "GAE, Kipf and Welling, 2016, arXiv 1611.07308"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 256,
        dropout: float = 0.0,
        *,
        out_layers: int = 1,
        tail: bool = False,
    ) -> None:
        super().__init__()
        if in_channels < 1 or hidden < 1:
            raise ValueError(f"in_channels={in_channels}, hidden={hidden}: give positive widths")
        if out_layers < 1:
            raise ValueError(f"out_layers must be at least 1, got {out_layers}")
        self.in_channels, self.hidden, self.dropout = in_channels, hidden, dropout
        self.ends = nn.Sequential(
            nn.Linear(in_channels, hidden), *normed(hidden, dropout), *last(hidden, tail)
        )
        layers = [[nn.Linear(hidden, hidden), *normed(hidden, dropout)] for _ in range(out_layers)]
        self.out = nn.Sequential(*(part for layer in layers for part in layer))
        self.out.append(nn.Linear(hidden, 1))

    def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """Logits (B,), the same for both orders of a pair.

        Args:
            h: (N, D) node embeddings.
            graph: edges that are known; in training without those of the pairs themselves, see
                :meth:`Neighbourhoods.without`.
            pairs: (2, B) node pairs.
        """
        pairs = check_input(h, graph, pairs, self.in_channels)
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
        edge_dropout: in training, share of the entries left out of the neighbour lists that are
            intersected, drawn anew for each batch; nothing is rescaled.
        transform: use :math:`\mathrm{MLP}_x`; otherwise :math:`\tilde x = h`.
        options: ``out_layers`` and ``tail`` of :class:`GAE`.

    Example:
        >>> graph = Neighbourhoods(torch.tensor([[0, 1], [1, 2]]), 3)
        >>> NCN(4, 8)(torch.rand(3, 4), graph, torch.tensor([[0, 0], [2, 1]])).shape
        torch.Size([2])
    """

    paper: ClassVar[str] = "NCN, Wang et al., 2024, arXiv 2302.00890"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 256,
        dropout: float = 0.0,
        *,
        edge_dropout: float = 0.0,
        transform: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, hidden, dropout, **options)
        if not 0 <= edge_dropout < 1:
            raise ValueError(f"edge_dropout must lie in [0, 1), got {edge_dropout}")
        self.edge_dropout = edge_dropout
        self.between = nn.Sequential(
            *two_layers(in_channels, hidden, dropout), *last(hidden, options.get("tail", False))
        )
        self.change = (
            nn.Sequential(*two_layers(in_channels, in_channels, dropout)) if transform else None
        )
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
        """See :meth:`GAE.forward`."""
        pairs = check_input(h, graph, pairs, self.in_channels)
        seen = self.seen(graph)
        return self.score(h, pairs, common_neighbour_sum(seen, pairs, self.transformed(h)))

    def seen(self, graph: Neighbourhoods) -> Neighbourhoods:
        """The neighbour lists that are intersected: in training some entries are left out."""
        return graph.thinned(self.edge_dropout) if self.training else graph

    def transformed(self, h: Tensor) -> Tensor:
        """What common neighbours contribute, (N, D)."""
        return h if self.change is None else h + self.change(h)

    def score(self, h: Tensor, pairs: Tensor, pooled: Tensor) -> Tensor:
        """Logits (B,) from embeddings and what was pooled (B, D) for each pair."""
        ends = self.ends(h[pairs[0]] * h[pairs[1]])
        return self._logit(self.beta * self.between(pooled) + ends)


def normed(width: int, dropout: float) -> list[nn.Module]:
    """Layer norm, dropout, ReLU."""
    return [nn.LayerNorm(width), nn.Dropout(dropout), nn.ReLU()]


def two_layers(width: int, hidden: int, dropout: float) -> list[nn.Module]:
    """Linear, dropout, ReLU, then linear, layer norm, dropout, ReLU."""
    first = [nn.Linear(width, hidden), nn.Dropout(dropout), nn.ReLU()]
    return [*first, nn.Linear(hidden, hidden), *normed(hidden, dropout)]


def last(width: int, tail: bool) -> list[nn.Module]:
    """A linear layer, or nothing."""
    return [nn.Linear(width, width)] if tail else []


def check_input(h: Tensor, graph: Neighbourhoods, pairs: Tensor, width: int) -> Tensor:
    """Pairs in int64; embeddings and pairs must fit the graph and the predictor."""
    u, v = graph.checked(pairs)
    if h.shape != (graph.num_nodes, width):
        raise ValueError(
            f"embeddings must be ({graph.num_nodes}, {width}) for this graph and predictor, got "
            f"{tuple(h.shape)}"
        )
    return torch.stack([u, v])
