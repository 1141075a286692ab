"""Draws from the union of the clusters near an anchor, for many anchors at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from graphcl.kernels.tiles import work_blocks
from kge.sampling.similar_members import SimilarMembers
from kge.text.clusters import Clusters

_NONE = -1
# Similarities computed at once when members must pass a threshold.
_SIMILARITIES = 2**23


class Neighbourhoods:
    """Entities in the clusters nearest to each entity, kept as clusters, not as E lists.

    Memory is O(E W + E d) with W clusters per entity; a draw costs O(W). With ``min_cosine`` a
    draw compares each distinct anchor of the batch with the members of its clusters.

    Args:
        clusters: of the entities.
        n_near: clusters per entity, by distance of their centroids.
        min_size: take further clusters until they hold so many entities.
        weights: ``uniform`` over all members of those clusters, or ``distance``: members of a
            cluster at distance d weigh ``exp(-d / m)``, m the mean of the entity's W distances.
        min_cosine: only members at least so similar to the anchor, in the reduced space.

    Raises:
        ValueError: ``n_near`` below 1, ``min_size`` below 0, unknown ``weights``, or
            ``min_cosine`` outside of [-1, 1].
    """

    def __init__(
        self,
        clusters: Clusters,
        *,
        n_near: int = 3,
        min_size: int = 0,
        weights: Literal["uniform", "distance"] = "uniform",
        min_cosine: float | None = None,
    ) -> None:
        near, distance = clusters.nearest(n_near, min_size)
        ptr, members = clusters.members()
        rank = np.zeros(len(clusters.label), dtype=np.int64)
        rank[members] = np.arange(len(members)) - ptr[clusters.label[members]]
        self.num_entities = len(clusters.label)
        self.near = torch.from_numpy(np.ascontiguousarray(near, dtype=np.int64))
        self.label = torch.from_numpy(np.array(clusters.label, dtype=np.int64))
        self.rank = torch.from_numpy(rank)
        self.ptr = torch.from_numpy(np.asarray(ptr, dtype=np.int64))
        self.members = torch.from_numpy(np.asarray(members, dtype=np.int64))
        # The last, found under the cluster -1, is empty.
        self.size = torch.from_numpy(np.append(clusters.sizes, 0).astype(np.int64))
        self.weight = _weights(torch.from_numpy(distance), weights)
        self.min_cosine, self.unit = min_cosine, None
        if min_cosine is not None:
            if not -1 <= min_cosine <= 1:
                raise ValueError(f"min_cosine must be in [-1, 1], got {min_cosine}")
            vectors = torch.from_numpy(np.array(clusters.vectors, dtype=np.float32))
            self.unit = torch.nn.functional.normalize(vectors, dim=1)
            self.unit_members = self.unit[self.members]

    def sizes(self) -> Tensor:
        """(E,) how many entities lie in the clusters of each entity, itself included."""
        return self.size[self.near].sum(1)

    def draw(self, anchor: Tensor, exclude: Tensor, generator: torch.Generator) -> Tensor:
        """One entity for each of M anchors, independently; -1 where there is none to draw.

        Args:
            anchor: (M,) entities.
            exclude: (M, X) entities that slot m must not get; a row may repeat one.
            generator: source of all randomness.

        Returns:
            (M,) int64.
        """
        share = torch.rand(len(anchor), 2, generator=generator, dtype=torch.float64)
        exclude = _distinct(exclude)
        if self.unit is None:
            return self._choose(anchor, exclude, share, None, anchor)
        drawn = torch.full_like(anchor, _NONE)
        distinct, row = torch.unique(anchor, return_inverse=True)
        order = row.argsort()
        bounds = torch.searchsorted(row[order], torch.arange(len(distinct) + 1))
        for at in work_blocks(self.size[self.near[distinct]].sum(1), _SIMILARITIES):
            slots = order[bounds[at.start] : bounds[at.stop]]
            similar = self._similar(distinct[at])
            drawn[slots] = self._choose(
                anchor[slots], exclude[slots], share[slots], similar, row[slots] - at.start
            )
        return drawn

    def _similar(self, anchors: Tensor) -> SimilarMembers:
        assert self.unit is not None
        assert self.min_cosine is not None
        return SimilarMembers(
            self.unit[anchors],
            self.near[anchors],
            self.unit_members,
            self.ptr,
            self.min_cosine,
        )

    def _choose(
        self,
        anchor: Tensor,
        exclude: Tensor,
        share: Tensor,
        similar: SimilarMembers | None,
        row: Tensor,
    ) -> Tensor:
        """Pick a cluster by its mass, then one of its members that are not excluded.

        ``row`` places the anchors in ``similar``, which lists the members that count; by default
        all do.
        """
        near, place = self.near[anchor], self.rank[exclude]
        # An excluded id of -1 lies in no cluster, nor do the places of ``near`` that hold -1.
        label = torch.where(exclude < 0, _NONE, self.label[exclude])
        inside = (near[:, :, None] == label[:, None, :]) & (near >= 0)[:, :, None]
        size = self.size[near]
        if similar is not None:
            size = similar.size[row]
            place, listed = similar.find(row[:, None], inside.int().argmax(1), place)
            inside &= listed[:, None, :]
        free = size - inside.sum(2)
        mass = free.double() if self.weight is None else free * self.weight[anchor]
        bound = mass.cumsum(1)
        # Rounding may push the product up to the total: the last cluster with members takes it.
        column = (bound <= share[:, :1] * bound[:, -1:]).sum(1, keepdim=True)
        last = (mass > 0).int().cumsum(1).argmax(1, keepdim=True)
        column = torch.minimum(column, last)
        count = free.gather(1, column)[:, 0]
        chosen = torch.minimum((share[:, 1] * count).long(), (count - 1).clamp(min=0))
        here = inside.gather(1, column[:, :, None].expand(-1, -1, exclude.shape[1]))[:, 0]
        chosen = _step_over(chosen, torch.where(here, place, self.num_entities))
        column, found = column[:, 0], bound[:, -1] > 0
        if similar is not None:
            chosen = similar.member(row, column, torch.where(found, chosen, 0))
        cluster = near.gather(1, column[:, None])[:, 0]
        index = torch.where(found, self.ptr[cluster] + chosen, 0)
        return torch.where(found, self.members[index], _NONE)


def draw_uniform(num_entities: int, exclude: Tensor, generator: torch.Generator) -> Tensor:
    """One entity for each of M slots, uniform over all but the (M, X) excluded; -1 if none is left.

    Example:
        >>> draw_uniform(3, torch.tensor([[0, 2], [1, 2]]), torch.Generator().manual_seed(0))
        tensor([1, 0])
    """
    exclude = _distinct(exclude)
    count = num_entities - (exclude >= 0).sum(1)
    share = torch.rand(len(exclude), generator=generator, dtype=torch.float64)
    drawn = torch.minimum((share * count).long(), (count - 1).clamp(min=0))
    drawn = _step_over(drawn, torch.where(exclude < 0, num_entities, exclude))
    return torch.where(count > 0, drawn, _NONE)


def _step_over(place: Tensor, taken: Tensor) -> Tensor:
    """Places counted among those that are free as places among all, ``taken`` (M, X) included."""
    for position in taken.sort(1).values.unbind(1):
        place = place + (place >= position)
    return place


def _distinct(ids: Tensor) -> Tensor:
    """Rows of ids in ascending order, with repetitions replaced by -1."""
    ids = ids.sort(1).values
    repeated = torch.zeros_like(ids, dtype=torch.bool)
    repeated[:, 1:] = ids[:, 1:] == ids[:, :-1]
    return torch.where(repeated, _NONE, ids)


def _weights(distance: Tensor, kind: str) -> Tensor | None:
    if kind == "uniform":
        return None
    if kind != "distance":
        raise ValueError(f"unknown weights {kind!r}; choose 'uniform' or 'distance'")
    there = distance.isfinite()
    distance = torch.where(there, distance, 0).double()
    mean = distance.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
    return torch.exp(-distance / mean.clamp(min=1e-300)) * there
