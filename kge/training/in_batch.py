"""Training by contrast with the answers of the batch and a pool of entities that all rows share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
import torch.nn.functional as F
from pykeen.training.training_loop import TrainingLoop
from pykeen.triples import CoreTriplesFactory
from torch import Tensor
from torch.utils.data import DataLoader

from graphcl.kernels import Exclude
from kge.sampling.candidate_scores import undisturbed
from kge.sampling.filtering import known_triples
from kge.sampling.mining import mine
from kge.sides import Side
from kge.training.candidate_mass import batch_fold, batch_vectors, candidate_mass
from kge.training.candidates import (
    Batch,
    CandidateDraw,
    Candidates,
    EpochDraw,
    Pool,
    TripleRows,
    check_pool,
    known_answers,
)
from kge.training.duality_norm import duality_norm
from kge.training.nuclear_norm import nuclear_3_norm
from kge.training.query_groups import SideRows, distinct_queries
from kge.training.relation_contrast import relation_contrast
from kge.training.row_gradients import use_row_gradients

if TYPE_CHECKING:
    from kge.training.batch_vectors import BatchVectors


class InBatchTrainingLoop(TrainingLoop[Batch]):
    r"""InfoNCE against shared negatives (``training_loop="inbatch"``).

    Each row asks both (h, r, ?) and (?, r, t). Its negatives are the answers of the other rows, a
    pool of entities drawn for the batch, and what is mined for it or for another row, without the
    answers that are known from training. With positive score :math:`s^+`, candidate scores
    :math:`s_j` and weights :math:`w_j`, the loss of a row is

    .. math:: \log\Big(1 + e^{-(s^+ - \gamma) / \tau} \sum_j w_j e^{s_j / \tau}\Big),

    averaged over rows and sides. ``pool="all"`` is the softmax over all entities (1-vs-all); with
    ``unbiased`` a pool estimates it (sampled softmax). DistMult and ComplEx become a matrix product
    of real vectors, TransE and RotatE tiles of distances; other models score tiles of candidates
    themselves. No (batch, entities, dimension) tensor is formed, and where known answers are left
    out, rows of a batch that ask the same share one sum over the candidates. The model's own
    ``loss`` is not used, but for its ``reduction``. A regulariser sees the entities and relations
    that queries are made of: heads and tails of the batch once each, relations once per side.

    In-batch negatives with the exclusion of all known answers follow SimKGC (Wang et al., 2022,
    arXiv 2203.02167), the tilt by hardness Robinson et al. (2021, arXiv 2010.04592).

    Args:
        pool: entities drawn uniformly for each batch, or ``"all"``.
        in_batch: contrast with the answers of the other rows.
        self_negatives: contrast with the entities that the rows ask from as well, so that no answer
            is like its question: texts make a head look like the best tail (SimKGC).
        mined: that many entities per row which the current model scores best among ``mine_pool``
            drawn ones become candidates of all rows.
        mine_pool: entities looked at for mining.
        tau: temperature.
        beta: tilt towards hard candidates, in units of one over a score; 0 for none.
        margin: subtracted from the positive's score, before division by tau.
        unbiased: weigh candidates by one over the probability to be one, so that few stand for all.
        exclude_known: leave out all answers known from training; otherwise only the row's own, so
            that ``pool="all"`` is the plain softmax of 1-vs-all.
        sides: ``both``, ``head`` or ``tail``.
        n3: weight of the nuclear 3-norm of each row's head, relation and tail
            (:func:`kge.training.nuclear_norm.nuclear_3_norm`), averaged like the loss. Give the
            model ``regularizer=None`` beside it: ComplEx and DistMult bring one of their own.
        dura: weight of the duality-induced penalty in place of N3 or beside it
            (:func:`kge.training.duality_norm.duality_norm`), averaged like the loss.
        relations: weight of predicting the relation, with the same temperature
            (:func:`kge.training.relation_contrast.relation_contrast`).
        dropout: chance of each component of a query vector to be left out in training, the others
            scaled up; for ComplEx and DistMult the same as dropping components of the relation.
            Needs a model whose scores are products of query and key.
        all_after: after that many epochs all entities are candidates, as with ``pool="all"``. A
            pool finds the rough places of all entities for little; the exact softmax then tells
            apart those that a pool rarely holds together. Needs an optimizer that takes dense
            gradients beside sparse ones (``adagrad``, ``lazyadam``, ``sgd``), if ``row_gradients``.
        paired: a batch asks for heads and for tails of the same triples. Otherwise each side draws
            rows of its own: the gradients of a step are less alike, and Adagrad's steps shrink more
            slowly, for which a batch touches more entities.
        grouped: where no answers of other rows are candidates by themselves, rows that ask the same
            come in the same batch, so that an epoch costs one sum for each distinct query, not for
            each triple: 1.7 times less on WN18RR, 3.6 times on FB15k-237. Sides draw rows of their
            own then. An epoch teaches less, since fewer queries share a step. Needs
            ``in_batch=False``, ``pool="all"`` or ``all_after``; and ``exclude_known`` but for the
            plain softmax.
        row_gradients: update only rows of the batch
            (:func:`kge.training.row_gradients.use_row_gradients`); needs the optimizer ``adagrad``,
            ``lazyadam``, ``sparseadam`` or ``sgd``, and a pool that is drawn.
        kwargs: of PyKEEN's training loop (model, triples_factory, optimizer, ...).

    Raises:
        ValueError: settings out of range or that do not go together.

    Example:
        >>> from pykeen.pipeline import pipeline
        >>> pipeline(  # doctest: +SKIP
        ...     dataset="umls", model="complex", training_loop="inbatch",
        ...     training_loop_kwargs=dict(pool=1024), evaluator="fusedrankbased",
        ... )
    """

    def __init__(
        self,
        *,
        pool: Pool = 1024,
        in_batch: bool = True,
        self_negatives: bool = False,
        mined: int = 0,
        mine_pool: int = 4096,
        tau: float = 1.0,
        beta: float = 0.0,
        margin: float = 0.0,
        unbiased: bool = False,
        exclude_known: bool = True,
        sides: Literal["both", "head", "tail"] = "both",
        n3: float = 0.0,
        dura: float = 0.0,
        relations: float = 0.0,
        dropout: float = 0.0,
        all_after: int | None = None,
        paired: bool = False,
        grouped: bool = False,
        row_gradients: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check(tau=tau, beta=beta, mined=mined, mine_pool=mine_pool, sides=sides)
        check_pool(pool, in_batch)
        for name, weight in (("n3", n3), ("dura", dura), ("relations", relations)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name} must be a weight from 0, got {weight}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a chance from 0 and below 1, got {dropout}")
        if all_after is not None and all_after < 0:
            raise ValueError(f"all_after must be a count of epochs, got {all_after}")
        if all_after is not None and mined:
            raise ValueError(
                f"mined={mined} adds nothing once all entities are candidates (all_after="
                f"{all_after}); leave one out"
            )
        if row_gradients:
            if pool == "all":
                raise ValueError(
                    "row_gradients=True saves nothing with pool='all': all rows change"
                )
            use_row_gradients(self.model, self.optimizer)
        if unbiased and (mined or self_negatives or pool == "all"):
            reason = "all are candidates" if pool == "all" else "others have no known probability"
            raise ValueError(f"unbiased=True needs a drawn pool alone: {reason}")
        if grouped and in_batch and pool != "all" and all_after is None:
            raise ValueError(
                "grouped=True would contrast rows that ask the same with each other's answers: set "
                "in_batch=False, or take all entities (pool='all' or all_after)"
            )
        if grouped and not exclude_known and (pool != "all" or beta or margin):
            raise ValueError(
                "grouped=True needs exclude_known=True, since each row would leave out another "
                "answer; only the plain softmax (pool='all', beta=0, margin=0) does without"
            )
        if mined and pool == "all":
            raise ValueError(f"mined={mined} adds nothing to pool='all'")
        if self.loss_weighter is not None:
            raise ValueError(
                f"loss_weighter={self.loss_weighter!r} is not supported by in-batch training"
            )
        self.pool: Pool = pool
        self.self_negatives = self_negatives
        self.in_batch, self.mined, self.mine_pool = in_batch, mined, mine_pool
        self.tau, self.beta, self.margin = tau, beta, margin
        self.unbiased, self.exclude_known = unbiased, exclude_known
        both: tuple[Side, ...] = ("head", "tail")
        self.n3, self.dura, self.relations, self.dropout = n3, dura, relations, dropout
        self.all_after = 0 if pool == "all" else all_after
        self.paired, self.grouped = paired, grouped
        self.asked = both if sides == "both" else (sides,)

    def _create_training_data_loader(
        self,
        triples_factory: CoreTriplesFactory,
        *,
        sampler: str | None = None,
        batch_size: int,
        drop_last: bool,
        **kwargs: Any,
    ) -> DataLoader[Batch]:
        if sampler is not None:
            raise NotImplementedError(
                f"in-batch training draws batches uniformly, got sampler={sampler!r}"
            )
        triples = triples_factory.mapped_triples
        self._entities = triples_factory.num_entities
        # Known answers are those of training, also for the relations' inverses.
        self._known = known_triples(triples, self._entities, triples_factory.real_num_relations)
        draw = CandidateDraw(
            triples,
            self._entities,
            self.pool,
            in_batch=self.in_batch,
            self_negatives=self.self_negatives,
            unbiased=self.unbiased,
        )
        everything = CandidateDraw(triples, self._entities, "all")
        collate: Any = EpochDraw(lambda: everything if self._takes_all() else draw)
        rows: Any = TripleRows(triples)
        if self.paired and not self.grouped:
            return DataLoader(
                rows, batch_size=batch_size, drop_last=drop_last, collate_fn=collate, **kwargs
            )
        order: Any = SideRows(
            triples,
            batch_size,
            drop_last=drop_last,
            paired=self.paired,
            grouped=lambda: self.grouped and (not self.in_batch or self._takes_all()),
        )
        kwargs.pop("shuffle", None)  # the order is random
        return DataLoader(rows, batch_sampler=order, collate_fn=collate, **kwargs)

    def _takes_all(self) -> bool:
        """Whether all entities are candidates in this epoch."""
        return self.all_after is not None and self._epoch >= self.all_after

    @staticmethod
    def _get_batch_size(batch: Batch) -> int:
        return len(batch.triples["head"])

    def _process_batch(
        self,
        batch: Batch,
        start: int,
        stop: int,
        label_smoothing: float = 0.0,
        slice_size: int | None = None,
    ) -> Tensor:
        if label_smoothing:
            raise ValueError(f"label_smoothing={label_smoothing} has no meaning for a contrast")
        rows = {side: batch.triples[side][start:stop] for side in self.asked}
        each = self._losses(rows, batch).mean(0)
        loss = each.sum() if self.model.loss.reduction == "sum" else each.mean()
        penalty = self.model.collect_regularization_term()  # 0, or of shape (1,)
        return (loss + penalty).sum()

    def _losses(self, rows: dict[Side, Tensor], batch: Batch) -> Tensor:
        """Losses (sides, B) of B rows of a batch."""
        device = self.model.device
        candidates: dict[Side, Candidates] = {side: getattr(batch, side) for side in rows}
        if self.mined:
            candidates = {
                side: self._with_mined(rows[side], side, one) for side, one in candidates.items()
            }
        named = [triples[:, [0, 2]].flatten() for triples in rows.values()]
        drawn = [one.ids for one in candidates.values() if len(one.ids) < self._entities]
        vectors = batch_vectors(
            self.model,
            torch.cat([*named, *drawn]).to(device),
            every=len(drawn) < len(candidates),
            mode=self.mode,
        )
        if (self.n3 or self.dura or self.relations) and (
            vectors is None or not hasattr(self.model, "interaction")
        ):
            raise ValueError(
                f"n3={self.n3}, dura={self.dura} and relations={self.relations} need a model of "
                "embeddings with query and key vectors, such as ComplEx, got "
                f"{type(self.model).__name__}"
            )
        if self.dura and vectors is not None and vectors.score != "dot":
            raise ValueError(
                f"dura={self.dura} needs scores that are products, as those of ComplEx, got "
                f"{type(self.model).__name__}"
            )
        losses = []
        for side, triples in rows.items():
            there = triples.to(device)
            loss = self._contrast(vectors, triples, there, side, candidates[side])
            for weight, norm in ((self.n3, nuclear_3_norm), (self.dura, duality_norm)):
                if vectors is not None and weight:
                    loss = loss + weight * norm(*vectors.factors(there, side))
            if vectors is not None and self.relations:
                contrast = relation_contrast(vectors, there, side, tau=self.tau)
                loss = loss + self.relations * contrast
            losses.append(loss)
        return torch.stack(losses)

    def _contrast(
        self,
        vectors: BatchVectors | None,
        triples: Tensor,
        there: Tensor,
        side: Side,
        candidates: Candidates,
    ) -> Tensor:
        """Loss (B,) of a side's rows against its candidates; ``there``: the rows on the device."""
        # A model that scales its scores by itself has the margin in units before that.
        margin = self.margin * getattr(self.model, "score_scale", 1.0)
        # The softmax over all entities, known answers included, needs nothing left out.
        every = len(candidates.ids) == self._entities and not candidates.log_weight.numel()
        plain = every and not (self.exclude_known or self.beta or margin)
        # What is left out depends on the query alone, unless it is each row's own answer.
        queries = distinct_queries(triples, side) if self.exclude_known or plain else None
        asked = triples if queries is None else triples[queries.rows]
        if plain:
            nothing = torch.zeros(len(asked) + 1, dtype=torch.int64)
            exclude = Exclude.csr(nothing, nothing[:0])
        else:
            known = self._known if self.exclude_known else None
            exclude = known_answers(asked, side, candidates.ids, known)
        fold = batch_fold(
            self.model,
            vectors,
            there,
            side,
            candidates.ids.to(there.device),
            queries=None if queries is None else queries.to(there.device),
            dropout=self.dropout,
            mode=self.mode,
        )
        mass = candidate_mass(
            fold,
            tau=self.tau,
            beta=self.beta,
            log_weight=candidates.log_weight.to(fold.positive),
            exclude=exclude.to(there.device),
        )
        if queries is not None:
            mass = mass[queries.of.to(there.device)]
        if plain:
            return mass - fold.positive / self.tau
        return F.softplus(mass - (fold.positive - margin) / self.tau)

    def _with_mined(self, triples: Tensor, side: Side, candidates: Candidates) -> Candidates:
        pool = torch.randint(self._entities, (self.mine_pool,)).unique()
        with undisturbed(self.model):
            best = mine(
                self.model,
                triples,
                side,
                pool,
                self.mined,
                self._known,
                mode=self.mode,
                own_ids=False,
            )
        found = best.ids[best.found]
        return Candidates(torch.cat([candidates.ids, found]).unique(), candidates.log_weight)

    def _slice_size_search(self, **kwargs: Any) -> NoReturn:
        raise MemoryError(
            "one row of the batch does not fit into memory; lower pool, or mined and mine_pool"
        )


def _check(*, tau: float, beta: float, mined: int, mine_pool: int, sides: str) -> None:
    if not 0 < tau < float("inf"):
        raise ValueError(f"tau must be positive and finite, got {tau}")
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta must not be negative, got {beta}")
    if mined < 0 or (mined and mine_pool < mined):
        raise ValueError(f"mined={mined} must lie between 0 and mine_pool={mine_pool}")
    if sides not in ("both", "head", "tail"):
        raise ValueError(f"sides must be 'both', 'head' or 'tail', got {sides!r}")
