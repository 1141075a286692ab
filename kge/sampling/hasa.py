"""HaSa's negative sampler: hard negatives by the live model, structural candidates beside them."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pykeen.sampling import NegativeSampler
from torch import Tensor
from torch.utils.data import get_worker_info

from graphcl.ranking.known import KnownTriples
from kge.losses.hasa import HaSaLoss
from kge.sampling.candidate_scores import undisturbed
from kge.sampling.draw_counts import DrawCounts
from kge.sampling.filtering import (
    balanced_columns,
    batch_generator,
    corrupt,
    known_triples,
    redraw_known,
)
from kge.sampling.hard_lists import HardLists
from kge.sampling.hidden_answers import HiddenShare, hidden_share, mask_triples
from kge.sampling.mining import Mined, mine
from kge.sampling.slots import fill_slots, most_slots
from kge.sampling.structural import structural_columns
from kge.sides import TAIL, TAIL_FIRST, Side
from kge.structure import StructureIndex

if TYPE_CHECKING:  # PyKEEN may be half loaded when this module is registered with it
    from pykeen.models import Model
    from pykeen.training import TrainingLoop

Mining = Literal["pool", "row_pool", "lists"]

_CAP = 0.2
"""More than this share of the proposals is never taken for true."""

_HUB = 20_000
"""With more neighbours an entity brings most of a graph into the balls around it."""

_UNBOUND = (
    "HaSaNegativeSampler mines negatives with the model in training, which PyKEEN does not hand "
    "to samplers. Add training_kwargs=dict(callbacks='bindmodel') to pipeline() or "
    "hpo_pipeline(), callbacks='bindmodel' to TrainingLoop.train(), or train with "
    "kge.training.binding.BoundSLCWATrainingLoop. hard_share=0 needs no model."
)

_UNBOUND_COLUMNS = (
    "HaSaNegativeSampler offers {count} structural columns of likely true answers, and is bound to "
    "{bound}: any loss but HaSaLoss(num_structural={count}) takes them for negatives. {cure}"
)


class HaSaNegativeSampler(NegativeSampler):
    """Hard negatives that are not known to be true, and likely true ones (``"hasa"``).

    HaSa (Zhang et al., 2024, arXiv:2305.10563) in PyKEEN. Each positive gets ``num_negs_per_pos``
    columns. Of the ordinary ones, the share ``hard_share`` are the best-scored entities by the
    current model, the rest is uniform; the last ``num_structural`` columns hold candidates from
    the k-hop ball around the query, which :class:`~kge.losses.hasa.HaSaLoss` subtracts as likely
    true answers. Mined negatives within the ball come first there. Even columns replace the tail
    and odd ones the head (with an odd count of columns, a coin per row says which goes first).

    Filtering is exact: no ordinary column holds a known triple or the positive, and no structural
    one either unless ``exclude_known=False``. Columns for which there is no entity (an empty
    ball, a query that every entity answers) are masked, and then PyKEEN filters them out;
    ``draw_counts`` counts the ordinary ones that were proposed in vain.

    The model comes by :meth:`bind`, which the callback ``"bindmodel"`` calls. Randomness comes
    from torch's global generator, so that PyKEEN's checkpoints resume it; ``mining="lists"`` is
    the exception, for its lists are made anew after a resume.

    Args:
        mapped_triples: (n, 3) training triples.
        num_entities: count of entities.
        num_relations: count of relations.
        num_negs_per_pos: columns of each positive, structural ones included.
        num_structural: structural columns. By default as many as the bound ``HaSaLoss`` wants, or
            else 4 (a quarter of few columns); none with any other loss, for which they would be
            negatives like all others.
        hard_share: share of the ordinary columns that is mined; 0 needs no model.
        mining: ``"pool"``: one random pool for the batch; ``"row_pool"``: one for each row;
            ``"lists"``: lists per query, found in a pool and renewed after ``refresh`` batches.
        pool_size: entities in a pool; None for all of them.
        refresh: batches after which a list is renewed.
        list_length: places of a list, by default twice the mined columns of a positive, half of
            which are of one side where both are replaced.
        hops: radius of the ball; 0 for no ball.
        relation_aware: see :class:`~kge.structure.StructureIndex`, as the next four.
        exclude_known: drop known answers from the ball.
        exclude_distance_1: drop direct neighbours from the ball.
        max_degree: balls are not searched through entities with more neighbours. Needed in
            graphs with hubs, such as ogbl-wikikg2.
        max_members: larger balls are sampled down to this.
        sides: ``"both"`` or ``"tail"`` (for factories with inverse triples).
        filtered: False lets known triples pass; for comparison only.
        filterer: of PyKEEN, besides: what it takes for true is masked.
        filterer_kwargs: of the filterer.

    Raises:
        ValueError: counts or shares out of range.

    Example:
        >>> import torch
        >>> triples = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 0, 3]])
        >>> sampler = HaSaNegativeSampler(
        ...     mapped_triples=triples, num_negs_per_pos=4, num_structural=2, hard_share=0
        ... )
        >>> negatives, mask = sampler.sample(positive_batch=triples)
        >>> negatives.shape
        torch.Size([3, 4, 3])
    """

    hpo_default: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Powers of two are even, as some losses need.
        "num_negs_per_pos": {"type": int, "scale": "power_two", "low": 3, "high": 7},
        "hard_share": {"type": float, "low": 0.0, "high": 1.0},
    }

    def __init__(
        self,
        *,
        mapped_triples: Tensor,
        num_entities: int | None = None,
        num_relations: int | None = None,
        num_negs_per_pos: int | None = 32,
        num_structural: int | None = None,
        hard_share: float = 0.5,
        mining: Mining = "pool",
        pool_size: int | None = 256,
        refresh: int = 100,
        list_length: int | None = None,
        hops: int = 2,
        relation_aware: bool = False,
        exclude_known: bool = True,
        exclude_distance_1: bool = False,
        max_degree: int | None = None,
        max_members: int | None = 256,
        sides: Literal["both", "tail"] = "both",
        filtered: bool = True,
        filterer: Any = None,
        filterer_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            mapped_triples=mapped_triples,
            num_entities=num_entities,
            num_relations=num_relations,
            num_negs_per_pos=32 if num_negs_per_pos is None else num_negs_per_pos,
            filterer=filterer,
            filterer_kwargs=filterer_kwargs,
        )
        least = 1 + (num_structural or 0)
        if self.num_negs_per_pos < least or (num_structural or 0) < 0:
            raise ValueError(
                f"num_negs_per_pos={num_negs_per_pos} leaves no negative beside "
                f"num_structural={num_structural}: it must be at least {least}"
            )
        if not 0 <= hard_share <= 1:
            raise ValueError(f"hard_share must lie in [0, 1], got {hard_share}")
        for name, choice, choices in (
            ("mining", mining, ("pool", "row_pool", "lists")),
            ("sides", sides, ("both", "tail")),
        ):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {choice!r}")
        for name, number in (("pool_size", pool_size), ("list_length", list_length)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {number}")
        if not isinstance(refresh, int) or refresh < 1:
            raise ValueError(f"refresh must be a count of batches from 1, got {refresh!r}")
        self.num_structural = num_structural
        self.hard_share = hard_share
        self.mining = mining
        self.pool_size = pool_size
        self.refresh = refresh
        self.list_length = list_length
        self.hops = hops
        self.sides = sides
        self.filtered = filtered
        self._structure = {
            "relation_aware": relation_aware,
            "exclude_known": exclude_known,
            "exclude_distance_1": exclude_distance_1,
            "max_degree": max_degree,
            "max_members": max_members,
        }
        self.known = known_triples(mapped_triples, self.num_entities, self.num_relations)
        self.avoided = self.known if filtered else _nothing(self.known)
        self._columns_structural = num_structural or 0
        self._warned = False
        # Lists mined with the filter, and those that proposals before it are drawn from.
        self._lists: dict[bool, HardLists] = {}
        self._loop: weakref.ref[TrainingLoop[Any]] | None = None
        self.draw_counts = DrawCounts()

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: a reference to the training loop cannot go there."""
        warned = self._warned or self._loop is not None
        return {**self.__dict__, "_loop": None, "_warned": warned}

    @property
    def needs_model(self) -> bool:
        """Whether the sampler cannot work without :meth:`bind` and in worker processes."""
        return self.hard_share > 0

    @property
    def index(self) -> StructureIndex:
        """Balls of the training graph, shared by all samplers of the same triples."""
        return _index(self.known, self.hops, tuple(self._structure.items()))

    def bind(self, loop: TrainingLoop[Any]) -> None:
        """Take the model from a training loop, and agree with its loss on structural columns.

        Raises:
            ValueError: sampler and loss contradict each other.
        """
        self._loop = weakref.ref(loop)
        loss = loop.loss
        if not isinstance(loss, HaSaLoss):
            self._warn_of_columns(
                f"a training loop with {type(loss).__name__}",
                "Leave num_structural out, or train with loss='hasa'",
            )
            return
        wanted = {self.num_structural, loss.wanted_structural} - {None}
        if len(wanted) > 1:
            raise ValueError(
                f"HaSaNegativeSampler(num_structural={self.num_structural}) and HaSaLoss("
                f"num_structural={loss.wanted_structural}) must name the same count; leave one out"
            )
        if loss.reverse != "joint" and (self.sides != "both" or self.num_negs_per_pos % 2):
            raise ValueError(
                f"HaSaLoss(reverse={loss.reverse!r}) needs sides='both' and an even "
                f"num_negs_per_pos, got {self.sides!r} and {self.num_negs_per_pos}"
            )
        count = wanted.pop() if wanted else default_structural(self.num_negs_per_pos)
        assert count is not None
        if count >= self.num_negs_per_pos:
            raise ValueError(
                f"HaSaLoss(num_structural={count}) leaves no negative of "
                f"num_negs_per_pos={self.num_negs_per_pos}"
            )
        loss.num_structural = self._columns_structural = count
        if count and loss.needs_estimate:
            loss.tau_plus_estimate.fill_(self.estimate_tau_plus().overall)

    def leave_out_structural(self) -> None:
        """Draw negatives in all columns; for looks at what is drawn, not for training."""
        self._columns_structural = 0

    def sample(self, positive_batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """(*batch, n, 3) negatives, and which are valid, (*batch, n), or None for all."""
        if self._loop is None:
            cure = "With callbacks='bindmodel' sampler and loss agree by themselves"
            self._warn_of_columns("no training loop", cure)
        positives = positive_batch.reshape(-1, 3)
        negatives, valid = self._draw(positives.cpu(), batch_generator())
        if self.filterer is not None:
            valid &= self.filterer(negatives)
        shape = (*positive_batch.shape[:-1], self.num_negs_per_pos)
        negatives = negatives.view(*shape, 3).to(positive_batch.device)
        if valid.all():
            return negatives, None
        return negatives, valid.view(shape).to(positive_batch.device)

    def _warn_of_columns(self, bound: str, cure: str) -> None:
        """Say once that structural columns would be trained on as negatives."""
        if self._columns_structural and not self._warned:
            self._warned = True
            text = _UNBOUND_COLUMNS.format(count=self._columns_structural, bound=bound, cure=cure)
            warnings.warn(text, stacklevel=3)

    def corrupt_batch(self, positive_batch: Tensor) -> Tensor:
        """(*batch, n, 3) proposals before any filter, known triples among them."""
        positives = positive_batch.reshape(-1, 3)
        negatives, _ = self._draw(positives.cpu(), batch_generator(), _nothing(self.known))
        shape = (*positive_batch.shape[:-1], self.num_negs_per_pos, 3)
        return negatives.view(shape).to(positive_batch.device)

    def estimate_tau_plus(
        self, share: float = 0.05, rows: int = 1024, seed: int = 0
    ) -> HiddenShare:
        """Share of true answers among the ordinary columns, by hiding some training triples.

        A sampler like this one, with the same model, is shown all but the ``share`` hidden triples
        and draws for ``rows`` of the others. The result lies between one in ``num_entities``, the
        prior of a uniform draw, and 0.2. Mined proposals of an untrained model are uniform, so
        that an estimate before training is a lower bound; a model that was trained on the hidden
        triples makes it too high. Uses a generator of its own.
        """
        generator = torch.Generator().manual_seed(seed)
        share = max(share, 1 / len(self.known))  # of few triples one at least
        kept, hidden = mask_triples(self.known.triples, share, generator)
        twin = HaSaNegativeSampler(
            mapped_triples=kept,
            num_entities=self.num_entities,
            num_relations=self.num_relations,
            num_negs_per_pos=max(1, self.num_negs_per_pos - self._columns_structural),
            num_structural=0,
            hard_share=self.hard_share,
            mining=self.mining,
            pool_size=self.pool_size,
            list_length=self.list_length,
            sides=self.sides,
        )
        twin._loop = self._loop
        order = torch.randperm(len(kept), generator=generator)[:rows]
        negatives, valid = twin._draw(kept[order], generator)
        found = hidden_share(
            negatives[valid],
            KnownTriples(hidden, num_entities=self.num_entities, num_relations=self.num_relations),
        )
        return found._replace(overall=min(max(found.overall, 1 / self.num_entities), _CAP))

    def _draw(
        self, positives: Tensor, generator: torch.Generator, avoided: KnownTriples | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, n, 3) negatives and their (B, n) mask; by default without :attr:`avoided`."""
        avoided = self.avoided if avoided is None else avoided
        batch, number = len(positives), self.num_negs_per_pos
        ordinary = number - self._columns_structural
        if self.sides == "both":
            columns = balanced_columns(batch, number, generator)
        else:
            columns = torch.full((batch, number), TAIL)
        ids = torch.randint(self.num_entities, (batch, ordinary), generator=generator)
        hard = round(self.hard_share * ordinary)
        mined = self._mine(positives, columns[:, :hard], generator, avoided)
        by_chance = batch * hard
        for side, found in mined.items():
            by_chance -= fill_slots(ids[:, :hard], columns[:, :hard], side, found.ids, found.found)
        drawn = redraw_known(
            ids,
            positives,
            columns[:, :ordinary],
            avoided,
            draw=lambda row, slot: torch.randint(self.num_entities, row.shape, generator=generator),
            generator=generator,
        )
        if avoided is self.avoided:
            self.draw_counts.add(drawn.ids.numel(), int(drawn.rejected.sum()), by_chance)
        extra = structural_columns(
            self.index if self._columns_structural and self.hops else None,
            positives,
            columns,
            {side: torch.where(m.found, m.ids, -1) for side, m in mined.items()},
            drawn.ids,
            generator,
            num_entities=self.num_entities,
        )
        ids = torch.cat((drawn.ids, extra.ids), 1)
        return corrupt(positives, ids, columns), torch.cat((drawn.valid, extra.found), 1)

    def _mine(
        self,
        positives: Tensor,
        columns: Tensor,
        generator: torch.Generator,
        avoided: KnownTriples,
    ) -> dict[Side, Mined]:
        """Hard negatives for the mined columns (B, H) of each side that occurs in them."""
        if not columns.shape[1] or not len(positives):
            return {}
        model, mode = self._model()
        lists = None
        if self.mining == "lists":
            filtered = avoided is self.avoided
            if filtered not in self._lists:
                length = self.list_length or 2 * columns.shape[1]
                self._lists[filtered] = HardLists(self.known, length, self.refresh)
            lists = self._lists[filtered]
            lists.next_batch()

        def search(queries: Tensor, side: Side, count: int) -> Mined:
            pool = self._pool(len(queries), generator)
            return mine(model, queries, side, pool, count, avoided, mode=mode)

        result: dict[Side, Mined] = {}
        with undisturbed(model):
            for side in TAIL_FIRST:
                count = most_slots(columns, side)
                if count and lists is not None:
                    result[side] = lists.draw(positives, side, count, search, generator)
                elif count:
                    result[side] = search(positives, side, count)
        return result

    def _pool(self, batch: int, generator: torch.Generator) -> Tensor:
        if self.pool_size is None or self.pool_size >= self.num_entities:
            return torch.arange(self.num_entities)
        if self.mining == "row_pool":
            return torch.randint(self.num_entities, (batch, self.pool_size), generator=generator)
        return torch.randperm(self.num_entities, generator=generator)[: self.pool_size]

    def _model(self) -> tuple[Model, Any]:
        if get_worker_info() is not None:
            raise RuntimeError(
                "HaSaNegativeSampler cannot mine in worker processes, whose copy of the model "
                "does not learn: use num_workers=0"
            )
        loop = None if self._loop is None else self._loop()
        if loop is None:
            raise RuntimeError(_UNBOUND)
        return loop.model, loop.mode


def default_structural(number: int) -> int:
    """How many of so many columns are structural where nobody says."""
    return min(4, number // 4)


@lru_cache(maxsize=2)
def _index(known: KnownTriples, hops: int, options: tuple[tuple[str, Any], ...]) -> StructureIndex:
    index = StructureIndex(known.triples, known=known, hops=hops, **dict(options))
    most = int(index.graph.degree.max(initial=0))
    if hops > 1 and dict(options).get("max_degree") is None and most > _HUB:
        warnings.warn(
            f"an entity has {most} neighbours, so that balls of {hops} hops hold much of the graph "
            f"and take long: set max_degree, say {_HUB // 20}",
            stacklevel=2,
        )
    return index


def _nothing(known: KnownTriples) -> KnownTriples:
    return KnownTriples(
        known.triples[:0],
        num_entities=known.num_entities,
        num_relations=known.num_relations,
    )
