"""Members of clusters that are similar enough to an anchor, for the anchors of one batch."""

from __future__ import annotations

import torch
from torch import Tensor


class SimilarMembers:
    """For U anchors and W clusters each, the members whose cosine to the anchor is high enough.

    Computed cluster by cluster, one matrix product with all anchors that look into it; kept as
    lists of places within the clusters, ascending.

    Args:
        anchors: (U, d) unit vectors.
        near: (U, W) distinct clusters of each anchor, -1 for none.
        members: (P, d) unit vectors of the members of all clusters, cluster by cluster.
        ptr: (K + 1,) where each cluster begins in ``members``.
        min_cosine: the least similarity; rounding counts as equal.
    """

    def __init__(
        self, anchors: Tensor, near: Tensor, members: Tensor, ptr: Tensor, min_cosine: float
    ) -> None:
        self.width, self.most = near.shape[1], int(ptr.diff().max()) + 1
        keys = []
        # Slots that look into the same cluster lie together.
        cluster, slot = near.reshape(-1).sort(stable=True)
        names, counts = torch.unique_consecutive(cluster, return_counts=True)
        for name, slots in zip(names.tolist(), slot.split(counts.tolist()), strict=True):
            if name < 0:
                continue
            owner = slots.div(self.width, rounding_mode="floor")
            cosine = anchors[owner] @ members[ptr[name] : ptr[name + 1]].T
            position, place = (cosine >= min_cosine - 1e-6).nonzero(as_tuple=True)
            keys.append(slots[position] * self.most + place)
        self.keys = torch.cat(keys).sort().values if keys else near.new_zeros(0)
        limits = torch.arange(near.numel() + 1) * self.most
        self.start = torch.searchsorted(self.keys, limits)
        self.size = self.start.diff().view(near.shape)
        """(U, W) how many members of each cluster are similar."""

    def find(self, row: Tensor, column: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Positions of members, given by their places, in the lists, and whether they are there."""
        slot = (row * self.width + column).expand_as(place)
        key = slot * self.most + place
        index = torch.searchsorted(self.keys, key)
        there = torch.zeros_like(key, dtype=torch.bool)
        if len(self.keys):
            there = self.keys[index.clamp(max=len(self.keys) - 1)] == key
        return index - self.start[slot], there

    def member(self, row: Tensor, column: Tensor, position: Tensor) -> Tensor:
        """Places within their clusters of the members at these positions; 0 in empty lists."""
        slot = row * self.width + column
        if len(self.keys) == 0:
            return torch.zeros_like(slot)
        index = (self.start[slot] + position).clamp(max=len(self.keys) - 1)
        return self.keys[index] % self.most
