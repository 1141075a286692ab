"""LEMON: negatives from the text neighbourhood of an entity of the triple, for PyKEEN."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pykeen.sampling import NegativeSampler
from torch import Tensor

from kge.sampling.draw_counts import DrawCounts
from kge.sampling.filtering import (
    balanced_columns,
    batch_generator,
    corrupt,
    known_triples,
    redraw_known,
)
from kge.sampling.neighbourhoods import Neighbourhoods, draw_uniform
from kge.sides import HEAD, TAIL
from kge.text.clusters import Reduce
from kge.text.encoder import TextEncoder
from kge.text.entity_clusters import find_entity_clusters

OFFICIAL_COMPONENTS = 2
"""Width after PCA in the released code."""


class LEMONNegativeSampler(NegativeSampler):
    """Corrupts by entities with texts like those of the triple (LEMON, 2022, arXiv:2203.04703).

    Texts are encoded, reduced and clustered once (:func:`kge.text.clusters.text_clusters`). A slot
    that replaces the tail of (h, r, t) has an anchor, h or t, and draws from the members of the
    ``n_near`` clusters whose centroids are nearest to the anchor, each member with equal
    probability; likewise for heads. Every row is corrupted on both sides in equal shares. The
    positive itself is never returned.

    With ``filtered``, known training triples are drawn again ``rounds`` times, and then uniformly
    from all entities that are allowed. Anchors without text, and such whose clusters have no other
    member, are corrupted uniformly over all entities at once; ``draw_counts`` tells how often.
    An entity without text is thus proposed only by uniform draws.

    All randomness comes from torch's global generator; the sampler has no state.

    Args:
        mapped_triples: (n, 3) training triples.
        num_entities: E; PyKEEN gives it, as it does ``mapped_triples`` and ``num_relations``.
        num_relations: count of relations.
        num_negs_per_pos: negatives per positive.
        filtered: never return a known training triple (exactly, not by a Bloom filter).
        filterer: a filter of PyKEEN in addition, which only masks.
        filterer_kwargs: its arguments.
        texts: one per entity in the order of PyKEEN's ids, or the path of a table
            ``id TAB name TAB description`` (:func:`kge.text.entity_texts.read_entity_texts`).
        entity_ids: names of the entities in the order of PyKEEN's ids, to pick them from the table;
            needed where the table has other entities than the triples.
        embeddings: instead of texts, vectors (E, D): array, tensor or path of a ``.npy`` file.
        labels: instead of clustering, the cluster of each entity; with ``n_near`` > 1 texts or
            embeddings must give their distances.
        encoder: a :class:`kge.TextEncoder`, or its model: ``tfidf``, or a name or folder of a
            sentence transformer.
        encoder_kwargs: its other arguments.
        anchor: ``kept``: texts like the entity that stays, as in the released code; ``replaced``:
            texts like the entity that goes.
        n_near: clusters to draw from, 1 for the anchor's own.
        n_clusters: count of clusters, or ``elbow``.
        reduce: ``pca`` or ``none``.
        n_components: width after PCA, by default ``min(32, D)``.
        n_init: starts of k-means.
        seed: of the clustering.
        min_size: take clusters beyond ``n_near`` until they hold so many entities.
        min_cosine: only members with at least this similarity to the anchor after reduction
            (0.5 in the released code); costs a comparison with all members for each batch.
        weights: ``uniform``, or ``distance``: nearer clusters more often, see
            :class:`kge.sampling.neighbourhoods.Neighbourhoods`.
        exclude_anchor: with ``anchor="kept"``, do not draw the kept entity itself, (h, r, h).
        rounds: redraws of known triples before the fallback.
        fallback: what is drawn then, entities ``uniform`` over all.
        corruption_scheme: sides to replace, ``head``, ``tail`` or both.
        compat: ``official`` has the released code's defaults, two components and
            ``exclude_anchor=False``. Its other settings are arguments: a sentence transformer,
            ``n_clusters=15``, ``n_init=10``.

    Raises:
        ValueError: no source of clusters or too many, another count of texts than of entities, a
            bad option, fewer than two entities.

    Example:
        >>> sampler = LEMONNegativeSampler(
        ...     mapped_triples=torch.tensor([[0, 0, 1], [2, 0, 3]]), num_entities=4,
        ...     num_negs_per_pos=2, labels=[0, 1, 0, 1], n_near=1, anchor="replaced",
        ... )
        >>> sampler.sample(torch.tensor([[0, 0, 1]]))[0].tolist()
        [[[0, 0, 3], [2, 0, 1]]]
    """

    hpo_default: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "num_negs_per_pos": {"type": int, "low": 1, "high": 100, "log": True},
        "n_near": {"type": int, "low": 1, "high": 5},
        "anchor": {"type": "categorical", "choices": ["kept", "replaced"]},
    }

    def __init__(
        self,
        *,
        mapped_triples: Tensor,
        num_entities: int | None = None,
        num_relations: int | None = None,
        num_negs_per_pos: int | None = None,
        filtered: bool = True,
        filterer: Any = None,
        filterer_kwargs: Mapping[str, Any] | None = None,
        texts: Sequence[str] | str | Path | None = None,
        entity_ids: Sequence[str] | None = None,
        embeddings: np.ndarray | Tensor | str | Path | None = None,
        labels: Sequence[int] | np.ndarray | Tensor | None = None,
        encoder: str | Path | TextEncoder = "tfidf",
        encoder_kwargs: Mapping[str, Any] | None = None,
        anchor: Literal["kept", "replaced"] = "kept",
        n_near: int = 3,
        n_clusters: int | Literal["elbow"] = "elbow",
        reduce: Reduce = "pca",
        n_components: int | None = None,
        n_init: int = 4,
        seed: int = 0,
        min_size: int = 0,
        min_cosine: float | None = None,
        weights: Literal["uniform", "distance"] = "uniform",
        exclude_anchor: bool | None = None,
        rounds: int = 3,
        fallback: Literal["uniform"] = "uniform",
        corruption_scheme: Collection[str] | None = None,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(
            mapped_triples=mapped_triples,
            num_entities=num_entities,
            num_relations=num_relations,
            num_negs_per_pos=num_negs_per_pos,
            filterer=filterer,
            filterer_kwargs=filterer_kwargs,
        )
        if anchor not in ("kept", "replaced"):
            raise ValueError(f"unknown anchor {anchor!r}; choose 'kept' or 'replaced'")
        if compat not in (None, "official"):
            raise ValueError(f"unknown compat {compat!r}; choose 'official' or None")
        if self.num_entities < 2 or self.num_negs_per_pos < 1 or rounds < 0:
            raise ValueError(
                "need at least two entities, one negative per positive and rounds >= 0, got "
                f"{self.num_entities}, {self.num_negs_per_pos} and {rounds}"
            )
        self.anchor, self.rounds = anchor, rounds
        self.sides = _sides(corruption_scheme)
        if exclude_anchor is None:
            exclude_anchor = compat is None
        self.exclude_kept = exclude_anchor and anchor == "kept"
        self.known = None
        if filtered:
            self.known = known_triples(mapped_triples, self.num_entities, self.num_relations)
        if fallback != "uniform":
            raise ValueError(f"unknown fallback {fallback!r}; there is 'uniform' alone")
        if compat and n_components is None:
            n_components = OFFICIAL_COMPONENTS
        self.clusters = find_entity_clusters(
            self.num_entities,
            texts=texts,
            entity_ids=entity_ids,
            embeddings=embeddings,
            labels=labels,
            encoder=encoder,
            encoder_kwargs=encoder_kwargs,
            n_clusters=n_clusters,
            reduce=reduce,
            n_components=n_components,
            n_init=n_init,
            seed=seed,
        )
        # Where as many as there are may be near, it does not matter which are.
        some = (n_near > 1 or min_size > 0) and n_near < self.clusters.num_clusters
        alone = labels is not None and texts is None and embeddings is None
        if alone and (some or min_cosine is not None):
            raise ValueError(
                "labels alone do not say which clusters are near: use n_near=1 (or as many as "
                "there are), min_size=0 and min_cosine=None, or give texts or embeddings as well"
            )
        self.neighbourhoods = Neighbourhoods(
            self.clusters,
            n_near=n_near,
            min_size=min_size,
            weights=weights,
            min_cosine=min_cosine,
        )
        self.draw_counts = DrawCounts()

    def corrupt_batch(self, positive_batch: Tensor) -> Tensor:
        """Corrupt (..., 3) positives: (..., N, 3) negatives, among them known triples."""
        positives = positive_batch.reshape(-1, 3).cpu()
        generator = batch_generator()
        columns = self._columns(len(positives), generator)
        ids = self._propose(positives, columns, generator)[0]
        return _shaped(corrupt(positives, ids, columns), positive_batch)

    def sample(self, positive_batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Corrupt (..., 3) positives: (..., N, 3) negatives, and which to keep, None for all.

        What is not kept has no allowed corruption at all (or was masked by ``filterer``).
        """
        positives = positive_batch.reshape(-1, 3).cpu()
        generator = batch_generator()
        columns = self._columns(len(positives), generator)
        ids, uniform = self._propose(positives, columns, generator)
        keep, rejected = torch.ones_like(uniform), 0
        if self.known is not None:
            proposed = ids.clone()

            def draw(row: Tensor, slot: Tensor) -> Tensor:
                again = (positives[row], columns[row, slot][:, None], generator)
                fresh, by_chance = self._propose(*again)
                proposed[row, slot], uniform[row, slot] = fresh[:, 0], by_chance[:, 0]
                return fresh[:, 0]

            ids, keep, forbidden = redraw_known(
                ids,
                positives,
                columns,
                self.known,
                draw=draw,
                generator=generator,
                rounds=self.rounds,
                exclude_kept=self.exclude_kept,
            )
            # The last proposal was forbidden wherever another entity was put in its place.
            uniform |= ids != proposed
            rejected = int(forbidden.sum())
        self.draw_counts.add(ids.numel(), rejected, int(uniform.sum()))
        negatives = corrupt(positives, ids, columns)
        if self.filterer is not None:
            keep = keep & self.filterer(negatives)
        mask = None if bool(keep.all()) else keep.view(*positive_batch.shape[:-1], -1)
        if mask is not None:
            mask = mask.to(positive_batch.device)
        return _shaped(negatives, positive_batch), mask

    def _columns(self, batch: int, generator: torch.Generator) -> Tensor:
        if len(self.sides) == 1:
            return torch.full((batch, self.num_negs_per_pos), self.sides[0])
        return balanced_columns(batch, self.num_negs_per_pos, generator)

    def _propose(
        self, positives: Tensor, columns: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Entities for (B, N) slots, and which of them are uniform for want of neighbours."""
        replaced = positives.gather(1, columns).view(-1)
        kept = positives.gather(1, TAIL - columns).view(-1)
        exclude = torch.stack((replaced, kept) if self.exclude_kept else (replaced,), 1)
        anchor = kept if self.anchor == "kept" else replaced
        ids = self.neighbourhoods.draw(anchor, exclude, generator)
        uniform = ids < 0
        # The second time for graphs of two entities, which have no third to put in.
        for excluded in (exclude, exclude[:, :1]):
            slot = (ids < 0).nonzero()[:, 0]
            if len(slot):
                ids[slot] = draw_uniform(self.num_entities, excluded[slot], generator)
        return ids.view_as(columns), uniform.view_as(columns)


def _shaped(negatives: Tensor, positive_batch: Tensor) -> Tensor:
    shape = (*positive_batch.shape[:-1], negatives.shape[1], 3)
    return negatives.view(shape).to(positive_batch.device)


def _sides(scheme: Collection[str] | None) -> tuple[int, ...]:
    columns = {"head": HEAD, "tail": TAIL}
    if isinstance(scheme, str):
        scheme = (scheme,)
    names = tuple(columns) if scheme is None else tuple(dict.fromkeys(scheme))
    if not names or not set(names) <= set(columns):
        raise ValueError(f"corruption_scheme must hold 'head', 'tail' or both, got {scheme!r}")
    return tuple(columns[name] for name in names)
