"""The network-schema view: what the direct neighbours of each type say about a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.parameter_dict import ParameterDict

from graphcl.hetero.attention import SemanticAttention
from graphcl.metapaths.composition import MetaPath


@dataclass(frozen=True)
class NeighbourLists:
    """Neighbours of one type of each target node.

    Attributes:
        ptr: (N + 1,) int64.
        column: (E,) int64.
    """

    ptr: Tensor
    column: Tensor

    @classmethod
    def of(cls, hop: MetaPath) -> NeighbourLists:
        """The lists of a meta-path of one hop."""
        counts = hop.counts()
        return cls(torch.from_numpy(counts.indptr).long(), torch.from_numpy(counts.indices).long())

    def to(self, device: torch.device | str) -> NeighbourLists:
        """The same lists on a device."""
        return NeighbourLists(self.ptr.to(device), self.column.to(device))

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        """``size`` neighbours of each node, drawn by torch's global generator.

        A node with more of them has each at most once; one with fewer draws with replacement.

        Returns:
            (N, size) ids, and (N,) whether the node has a neighbour at all (else its ids are 0).
        """
        degree = self.ptr.diff()
        some = degree > 0
        if not self.column.numel():
            return degree.new_zeros(len(degree), size), some
        # With replacement, for all; then the long lists again, by a random order of their entries.
        draw = torch.rand(len(degree), size, device=degree.device) * degree[:, None]
        place = draw.long().minimum((degree - 1).clamp_min(0)[:, None])
        chosen = self.column[(self.ptr[:-1, None] + place).clamp_max(self.column.numel() - 1)]
        chosen = chosen.masked_fill(~some[:, None], 0)
        long = degree >= size
        if bool(long.any()):
            node = torch.arange(len(degree), device=degree.device).repeat_interleave(degree)
            order = torch.argsort(torch.rand(len(node), device=degree.device))
            order = order[torch.argsort(node[order], stable=True)]
            slots = self.ptr[:-1][long, None] + torch.arange(size, device=degree.device)
            chosen[long] = self.column[order[slots]]
        return chosen, some


class SchemaEncoder(nn.Module):
    """Attention over sampled neighbours of each type, then over types (HeCo's schema view).

    A node's own features take part in the attention only, not in its embedding: they are masked in
    this view, as the nodes between are masked in the meta-path view.

    Args:
        channels: D.
        sample: neighbours drawn of each type that may be a neighbour.
        dropout: of the attention vectors.

    Raises:
        ValueError: no type, or a sample below 1.
    """

    def __init__(self, channels: int, sample: Mapping[str, int], *, dropout: float = 0.0) -> None:
        super().__init__()
        if not sample or not all(isinstance(n, int) and n > 0 for n in sample.values()):
            raise ValueError(
                f"sample must give a positive number for each type, got {dict(sample)}"
            )
        self.sample = dict(sample)
        self.queries = ParameterDict(
            {kind: nn.Parameter(torch.empty(1, 2 * channels)) for kind in sample}
        )
        self.dropout = nn.Dropout(dropout)
        self.types = SemanticAttention(channels, dropout)
        for query in self.queries.values():
            nn.init.xavier_normal_(query, gain=1.414)

    def forward(
        self, target: Tensor, h: Mapping[str, Tensor], neighbours: Mapping[str, NeighbourLists]
    ) -> Tensor:
        """Embeddings (N, D) from target rows, rows of each type and neighbour lists."""
        views = []
        for kind, lists in neighbours.items():
            chosen, some = lists.sample(self.sample[kind])
            query = self.dropout(self.queries[kind])[0]
            own, other = query.chunk(2)
            # a . [h_i || h_j] in two parts: no (N, size, 2 D) tensor.
            score = (target @ own)[:, None] + (h[kind] @ other)[chosen]
            share = F.leaky_relu(score).softmax(1)
            mixed = (share[:, :, None] * h[kind][chosen]).sum(1)
            views.append(F.elu(torch.where(some[:, None], mixed, 0.0)))
        out: Tensor = self.types(views)
        return out
