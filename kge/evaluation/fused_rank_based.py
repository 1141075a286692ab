"""Exact filtered ranking in PyKEEN without score matrices: seconds where it takes minutes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from pykeen.evaluation import RankBasedEvaluator, RankBasedMetricResults
from pykeen.models import Model
from pykeen.triples.triples_factory import restrict_triples
from pykeen.typing import LABEL_HEAD, LABEL_RELATION, LABEL_TAIL, MappedTriples, Target
from torch import Tensor
from torch_max_mem.api import is_oom_error

from graphcl.kernels.ranks import NonFiniteScores
from graphcl.ranking.evaluator import LinkPredictionEvaluator
from graphcl.ranking.known import KnownTriples
from graphcl.ranking.ranks import SIDES, Ranks, RankType
from graphcl.ranking.report import RankReport
from graphcl.ranking.side_ranking import QueryKeyScorer, ScoreFunction
from kge.diverged import DivergedModel
from kge.evaluation.model_scores import ModelScores, ScoreCost, Sides
from kge.query_vectors import query_key_model

logger = logging.getLogger(__name__)

_NO_FILTER = (
    "filtered evaluation without additional_filter_triples leaves out the evaluated triples alone; "
    "give the training triples as well (and, for a test, those of validation)"
)


class FusedRankBasedEvaluator(RankBasedEvaluator):
    """PyKEEN's rank-based evaluator with the same results in less time and bounded memory.

    The same metrics under the same names, all three rank types, both sides, filtered or not. Each
    distinct query is scored once, in tiles over queries and candidates that are counted and thrown
    away; known answers are looked up by binary search. DistMult, ComplEx, TransE and RotatE are
    compared as query and key vectors, with ties decided in double precision, so that ranks do not
    depend on rounding; every other model is asked for its own scores, chunk by chunk.

    Use it as ``evaluator="fusedrankbased"`` in ``pipeline`` and ``hpo_pipeline``, also for early
    stopping, or on its own.

    It differs from PyKEEN's where that fails: unfiltered evaluation works, and a score of NaN or
    infinity raises :class:`DivergedModel` where it would have ranked first. That goes for models
    which score entities with minus infinity to leave them out: let them use a finite value.

    Args:
        filtered: leave out known answers other than the one that is ranked.
        chunk_bytes: memory for the scores of a model without query and key vectors; both the number
            of queries and of candidates at a time follow from it. ``batch_size`` and
            ``slice_size``, here or in ``evaluate``, set them by hand.
        most: rank so many triples at most, the same random ones every time; known answers are
            those of all. None for all of them.
        kwargs: as for :class:`pykeen.evaluation.RankBasedEvaluator`: ``metrics``,
            ``metrics_kwargs``, ``add_defaults``, ``clear_on_finalize``, ``batch_size``,
            ``slice_size``, ``mode``.

    Attributes:
        report: ranks and metrics of the last evaluation, also by relation, with their protocol.
        path: how the last model was scored, and why so.

    Example:
        >>> from pykeen.datasets import Nations
        >>> from pykeen.models import DistMult
        >>> graph = Nations()
        >>> model = DistMult(triples_factory=graph.training, random_seed=0)
        >>> results = FusedRankBasedEvaluator().evaluate(
        ...     model,
        ...     graph.testing.mapped_triples,
        ...     additional_filter_triples=[graph.training.mapped_triples],
        ...     use_tqdm=False,
        ... )
        >>> 0 < results.get_metric("both.realistic.mrr") < 1
        True
    """

    def __init__(
        self,
        filtered: bool = True,
        *,
        chunk_bytes: int = 1 << 27,
        most: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filtered=filtered, **kwargs)
        if chunk_bytes < 1:
            raise ValueError(f"chunk_bytes must be positive, got {chunk_bytes}")
        if most is not None and most < 1:
            raise ValueError(f"most must be a count of triples from 1, or None, got {most}")
        self.chunk_bytes, self.most = chunk_bytes, most
        self.report: RankReport | None = None
        self.path = ""

    def evaluate(
        self,
        model: Model,
        mapped_triples: MappedTriples,
        batch_size: int | None = None,
        slice_size: int | None = None,
        device: torch.device | None = None,
        use_tqdm: bool = True,
        tqdm_kwargs: Mapping[str, Any] | None = None,
        restrict_entities_to: Collection[int] | None = None,
        restrict_relations_to: Collection[int] | None = None,
        do_time_consuming_checks: bool = True,
        additional_filter_triples: MappedTriples | list[MappedTriples] | None = None,
        pre_filtered_triples: bool = True,
        targets: Collection[Target] = (LABEL_HEAD, LABEL_TAIL),
    ) -> RankBasedMetricResults:
        """Rank the true head and tail of each triple; see PyKEEN's ``Evaluator.evaluate``.

        Progress is written to standard error; of ``tqdm_kwargs`` only ``disable`` is heeded.

        Raises:
            DivergedModel: a score is NaN or infinite.
            ValueError: there are no triples, ids are out of range, or the triples leave the
                entities or relations that evaluation is restricted to.
        """
        sides = _sides(targets)
        if not pre_filtered_triples:
            mapped_triples = restrict_triples(
                mapped_triples, entities=restrict_entities_to, relations=restrict_relations_to
            )
        elif do_time_consuming_checks:
            _check_within("entities", mapped_triples[:, 0::2], restrict_entities_to)
            _check_within("relations", mapped_triples[:, 1], restrict_relations_to)
        if len(mapped_triples) == 0:
            raise ValueError("there are no triples to evaluate")
        device = device or model.device
        model.eval()
        model.to(device)
        num_entities = model._get_entity_len(mode=self.mode)
        triples = self._some(mapped_triples).to(device)
        candidates = None
        if restrict_entities_to is not None:
            candidates = torch.tensor(sorted({int(one) for one in restrict_entities_to}))
        known = None
        if self.filtered:
            known = _known(mapped_triples, additional_filter_triples).to(device)
        shown = use_tqdm and not (tqdm_kwargs or {}).get("disable", False)

        def ranking(
            scorer: ScoreFunction | QueryKeyScorer, rows: int = 256, columns: int = 4096
        ) -> Ranks:
            evaluator = LinkPredictionEvaluator(
                scorer,
                num_entities=num_entities,
                known=known,
                sides=sides,
                candidates=candidates,
                batch_size=rows,
                candidate_chunk=columns,
                progress=shown,
            )
            ranks = evaluator.ranks(triples)
            self.report = RankReport(ranks, evaluator.protocol, (1, 3, 5, 10))
            return ranks

        fused, self.path = query_key_model(model) if self.mode is None else (None, "inductive")
        logger.info("%s: %s", "by query and key vectors" if fused else "by its scores", self.path)
        try:
            with torch.no_grad():
                if fused is not None:
                    ranks = ranking(fused)
                else:
                    scores = ModelScores(model, self.mode)
                    given = batch_size or self.batch_size, slice_size or self.slice_size
                    cost = scores.cost(triples, sides, num_entities)
                    ranks = self._in_chunks(ranking, scores, cost, given)
        except NonFiniteScores as error:
            raise DivergedModel(str(error), error.row) from error
        self.num_entities = num_entities if candidates is None else len(candidates)
        return self._results(ranks)

    def _some(self, triples: Tensor) -> Tensor:
        if self.most is None or len(triples) <= self.most:
            return triples
        order = torch.randperm(len(triples), generator=torch.Generator().manual_seed(0))
        return triples[order[: self.most].to(triples.device)]

    def _in_chunks(
        self,
        ranking: Callable[..., Ranks],
        scores: ModelScores,
        cost: ScoreCost,
        given: tuple[int | None, int | None],
    ) -> Ranks:
        """Rank by the model's own scores, in chunks that fit into the memory that there is."""
        allowed = self.chunk_bytes
        while True:
            rows, columns = cost.chunk(allowed)
            rows, columns = given[0] or rows, given[1] or columns
            try:
                # As many candidates as rows at least: the targets are scored in one chunk.
                return ranking(scores, rows, max(rows, columns))
            except RuntimeError as error:
                if not is_oom_error(error) or allowed < cost.bytes_per_pair:
                    raise
            # Outside of the handler, whose traceback would keep the tensors.
            allowed //= 4
            given = None, None
            logger.warning("out of memory: trying again with %d bytes of scores", allowed)

    def _results(self, ranks: Ranks) -> RankBasedMetricResults:
        """Metrics by PyKEEN's own code, from ranks of the types that it uses."""
        self.clear()
        for side in (LABEL_HEAD, LABEL_TAIL):
            part = ranks.select(ranks.side == SIDES.index(side)).to("cpu")
            if len(part) == 0:
                continue
            optimistic, pessimistic = 1 + part.greater, 1 + part.greater + part.equal
            by_type: dict[RankType, Tensor] = {
                "optimistic": optimistic,
                "pessimistic": pessimistic,
                "realistic": (optimistic + pessimistic).float() * 0.5,
            }
            for rank_type, values in by_type.items():
                self.ranks[side, rank_type].append(values.numpy())
            self.num_candidates[side].append((1 + part.candidates).numpy())
        return self.finalize()


def _sides(targets: Collection[Target]) -> Sides:
    if LABEL_RELATION in targets:
        raise NotImplementedError("PyKEEN has no metrics for the prediction of relations")
    wanted = {*targets}
    if wanted == {LABEL_HEAD, LABEL_TAIL}:
        return "both"
    if wanted == {LABEL_HEAD}:
        return "head"
    if wanted == {LABEL_TAIL}:
        return "tail"
    raise ValueError(f"targets must be head, tail or both, got {list(targets)}")


def _check_within(kind: str, ids: Tensor, allowed: Collection[int] | None) -> None:
    if allowed is None:
        return
    outside = ids[~torch.isin(ids, torch.tensor(sorted({*allowed}), device=ids.device))]
    if outside.numel():
        raise ValueError(
            f"the triples contain {kind} outside of those that evaluation is restricted to: "
            f"{outside.unique().tolist()[:10]}; give pre_filtered_triples=False to leave them out"
        )


def _known(triples: Tensor, additional: Tensor | list[Tensor] | None) -> KnownTriples:
    if additional is None:
        logger.warning(_NO_FILTER)
        additional = []
    elif isinstance(additional, Tensor):
        additional = [additional]
    return KnownTriples(torch.cat([triples, *(one.to(triples.device) for one in additional)]))
