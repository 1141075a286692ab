import pickle
import warnings
import weakref

import networkx as nx
import pytest
import torch
from pykeen.datasets.nations import NATIONS_TEST_PATH, NATIONS_TRAIN_PATH, NATIONS_VALIDATE_PATH
from pykeen.losses import loss_resolver
from pykeen.models import CompGCN, ComplEx, ConvE, DistMult, RotatE, TransE
from pykeen.sampling import negative_sampler_resolver
from pykeen.training import SLCWATrainingLoop
from pykeen.training.callbacks import callback_resolver
from pykeen.triples import CoreTriplesFactory, TriplesFactory

from graphcl.ranking import KnownTriples, NonFiniteScores
from kge.losses.hasa import HaSaLoss
from kge.sampling.candidate_scores import candidate_scorer, undisturbed
from kge.sampling.hasa import HaSaNegativeSampler
from kge.sampling.hidden_answers import hidden_share, mask_triples
from kge.sampling.mining import mine
from kge.sampling.structural import pick_structural, structural_columns
from kge.sides import HEAD, TAIL
from kge.structure import StructureIndex
from kge.training.binding import BindModelCallback, BoundSLCWATrainingLoop

SIDES = ("tail", "head")


@pytest.fixture(scope="module")
def nations():
    train = TriplesFactory.from_path(NATIONS_TRAIN_PATH)
    ids = {"entity_to_id": train.entity_to_id, "relation_to_id": train.relation_to_id}
    return {
        "training": train,
        "validation": TriplesFactory.from_path(NATIONS_VALIDATE_PATH, **ids),
        "testing": TriplesFactory.from_path(NATIONS_TEST_PATH, **ids),
    }


@pytest.fixture(scope="module", autouse=True)
def registered():
    for resolver, cls, name in (
        (negative_sampler_resolver, HaSaNegativeSampler, "hasa"),
        (loss_resolver, HaSaLoss, "hasa"),
        (callback_resolver, BindModelCallback, "bindmodel"),
    ):
        if {**resolver.synonyms, **resolver.lookup_dict}.get(name) is not cls:
            resolver.register(cls, synonyms={name})


class _Loop:
    """What a sampler needs of a training loop."""

    def __init__(self, model, loss=None, mode=None):
        self.model, self.loss, self.mode = model, loss or model.loss, mode


def _sparse(seed=0, entities=40, relations=3, count=90):
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor([entities, relations, entities])
    return torch.unique((torch.rand(count, 3, generator=generator) * high).long(), dim=0)


def _factory(triples, entities=40, relations=3):
    return CoreTriplesFactory(triples, num_entities=entities, num_relations=relations)


def _model(cls, triples, **kwargs):
    return cls(triples_factory=_factory(triples), embedding_dim=6, random_seed=0, **kwargs)


def _sampler(triples, model=None, loss=None, **kwargs):
    sampler = HaSaNegativeSampler(
        mapped_triples=triples, num_entities=40, num_relations=3, **kwargs
    )
    if model is not None:
        sampler.loop = _Loop(model, loss)  # keeps the loop alive
        sampler.bind(sampler.loop)
    return sampler


def _scores(model, queries, side):
    with undisturbed(model):
        if side == "tail":
            return model.score_t(queries[:, :2])
        return model.score_h(queries[:, 1:])


def _kept(negatives, mask):
    return torch.ones(negatives.shape[:-1], dtype=torch.bool) if mask is None else mask


def _facts(triples):
    return {tuple(row) for row in triples.tolist()}


def _column(negatives, positives):
    """Which column of each negative was replaced; each must differ in exactly one."""
    changed = negatives != positives[..., None, :]
    assert (changed.sum(-1) == 1).all()
    assert not changed[..., 1].any()
    return torch.where(changed[..., 2], TAIL, HEAD)


# --- mining -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("cls", [DistMult, ComplEx, TransE, RotatE, ConvE])
@pytest.mark.parametrize("pool", ["all", "shared", "row"])
@pytest.mark.spec(24)
def test_mined_negatives_are_the_best_of_the_pool(cls, side, pool, monkeypatch):
    monkeypatch.setattr("kge.sampling.mining._POOL", 7)
    triples = _sparse()
    options = {"embedding_height": 2, "embedding_width": 3} if cls is ConvE else {}
    model = _model(cls, triples, **options)
    if cls is TransE:
        model.interaction.p = 2
    queries = triples[::4]
    known = KnownTriples(triples, num_entities=40, num_relations=3)
    generator = torch.Generator().manual_seed(1)
    candidates = {
        "all": torch.arange(40),
        "shared": torch.randperm(40, generator=generator)[:20],
        "row": torch.randint(40, (len(queries), 25), generator=generator),
    }[pool]
    with undisturbed(model):
        mined = mine(model, queries, side, candidates, 5, known)
    scores, facts = _scores(model, queries, side), _facts(triples)
    assert mined.found.all()
    for i, (head, relation, tail) in enumerate(queries.tolist()):
        own = set((candidates if candidates.dim() == 1 else candidates[i]).tolist())
        allowed = [
            e
            for e in own
            if (((head, relation, e) if side == "tail" else (e, relation, tail)) not in facts)
        ]
        best = sorted((float(scores[i, e]) for e in allowed), reverse=True)[:5]
        found = mined.ids[i].tolist()
        assert set(found) <= set(allowed)
        assert len(set(found)) == 5
        assert [float(scores[i, e]) for e in found] == pytest.approx(best, abs=1e-5)


def test_too_few_candidates_are_marked():
    triples = torch.tensor([[0, 0, 1], [0, 0, 2]])
    known = KnownTriples(triples, num_entities=40, num_relations=3)
    model = _model(DistMult, triples)
    with undisturbed(model):
        mined = mine(model, triples, "tail", torch.tensor([1, 2, 5]), 3, known)
    assert mined.found.tolist() == [[True, False, False]] * 2
    assert mined.ids[:, 0].tolist() == [5, 5]


def test_quick_scores_order_candidates_as_the_model_does():
    triples = _sparse()
    for cls in (DistMult, ComplEx, TransE, RotatE):
        model = _model(cls, triples)
        scorer = candidate_scorer(model, shared=True)
        assert scorer.block > candidate_scorer(model, shared=False).block
        for side in SIDES:
            with torch.no_grad():
                ours = scorer.scores(triples, side, torch.arange(40))
            theirs = _scores(model, triples, side)
            inverted = (ours.argsort(1) != theirs.argsort(1)).float().mean()
            assert inverted < 0.02, cls  # near ties


def test_nan_scores_are_an_error():
    triples = _sparse()
    model = _model(DistMult, triples)
    with torch.no_grad():
        model.entity_representations[0]._embeddings.weight[3] = torch.nan
    with pytest.raises(NonFiniteScores, match="DistMult gave NaN"):
        _sampler(triples, model, pool_size=None).sample(positive_batch=triples)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.spec(22)
def test_scoring_leaves_the_model_as_it_was(training):
    triples = _sparse()
    model = _model(ConvE, triples, embedding_height=2, embedding_width=3)
    model.train(training)
    frozen = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    frozen.eval()
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    _sampler(triples, model).sample(positive_batch=triples)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


# --- structural candidates ----------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("max_members", [None, 4])
@pytest.mark.spec(25)
def test_structural_picks_lie_in_the_ball_and_mined_ones_come_first(side, max_members):
    triples = _sparse(2)
    graph = nx.Graph((h, t) for h, _, t in triples.tolist() if h != t)
    facts = _facts(triples)
    index = StructureIndex(triples, num_entities=40, max_members=max_members)
    generator = torch.Generator().manual_seed(0)
    mined = torch.stack([torch.randperm(40, generator=generator)[:8] for _ in triples])
    mined[:, 6:] = -1
    picked = pick_structural(index, triples, side, 5, mined, generator)
    for i, (head, relation, tail) in enumerate(triples.tolist()):
        kept = head if side == "tail" else tail
        ball = (
            set(nx.single_source_shortest_path_length(graph, kept, cutoff=2))
            if kept in graph
            else set()
        )
        ball = {
            e
            for e in ball - {kept}
            if (((head, relation, e) if side == "tail" else (e, relation, tail)) not in facts)
        }
        found = picked.ids[i][picked.found[i]].tolist()
        hard = [e for e in mined[i].tolist() if e in ball]
        assert found[: len(hard)] == hard[:5]
        assert set(found) <= ball
        assert len(set(found)) == len(found)
        if max_members is None:
            assert len(found) == min(5, len(ball))
        assert picked.found[i].tolist() == sorted(picked.found[i].tolist(), reverse=True)


@pytest.mark.spec(25)
def test_the_samplers_structural_columns_begin_with_what_it_mined_for_the_row():
    triples = _sparse(2)
    model = _model(DistMult, triples)
    sampler = _sampler(
        triples, model, num_negs_per_pos=20, hard_share=1.0, pool_size=None, max_members=None
    )
    sampler._columns_structural = 4
    negatives, mask = sampler.sample(positive_batch=triples)
    kept, column = _kept(negatives, mask), _column(negatives, triples)
    compared = 0
    for side, replaced in (("tail", TAIL), ("head", HEAD)):
        mined = mine(model, triples, side, torch.arange(40), 8, sampler.known)
        inside = sampler.index.accepts(triples, side, mined.ids) & mined.found
        for row in range(len(triples)):
            places = [p for p in range(16, 20) if column[row, p] == replaced and kept[row, p]]
            wanted = mined.ids[row][inside[row]].tolist()[: len(places)]
            found = negatives[row, places, replaced].tolist()
            assert found[: len(wanted)] == wanted
            compared += len(wanted)
    assert compared > len(triples) / 4


def test_random_picks_are_uniform_over_a_large_ball():
    star = torch.tensor([[0, 0, 1]] + [[0, 1, i] for i in range(2, 202)])
    index = StructureIndex(star)
    queries = star[:1].expand(1000, 3)
    none = torch.empty(1000, 0, dtype=torch.int64)
    picked = pick_structural(index, queries, "tail", 4, none, torch.Generator().manual_seed(0))
    assert picked.found.all()
    assert (picked.ids.sort(1).values.diff(dim=1) > 0).all()
    counts = torch.bincount(picked.ids.flatten(), minlength=202)[2:]
    chi2 = ((counts - 20.0) ** 2 / 20.0).sum()
    assert chi2 < 267.5  # p = 0.001 with 199 degrees of freedom


def test_known_answers_fill_a_small_ball_where_they_are_kept():
    triples = torch.tensor([[0, 0, 1], [0, 0, 2], [3, 0, 4]])
    index = StructureIndex(triples, exclude_known=False)
    none = torch.empty(3, 0, dtype=torch.int64)
    picked = pick_structural(index, triples, "tail", 3, none, torch.Generator().manual_seed(0))
    assert picked.ids[:2].tolist() == [[2, 2, 2], [1, 1, 1]]
    assert picked.found.tolist() == [[True] * 3, [True] * 3, [False] * 3]
    strict = StructureIndex(triples)
    picked = pick_structural(strict, triples, "tail", 3, none, torch.Generator().manual_seed(0))
    assert not picked.found.any()


def test_a_negative_of_the_same_side_stands_in_for_a_missing_candidate():
    columns = torch.tensor([[TAIL, HEAD] * 3, [HEAD, TAIL] * 3])
    negatives = torch.tensor([[5, 6, 7], [8, 9, 10]])
    generator = torch.Generator()
    rows = torch.zeros(2, 3, dtype=torch.int64)
    picked = structural_columns(None, rows, columns, {}, negatives, generator, num_entities=40)
    assert picked.ids.tolist() == [[6, 5, 6], [9, 8, 9]]
    assert not picked.found.any()


# --- sampler ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mining", ["pool", "row_pool", "lists"])
@pytest.mark.parametrize(("number", "structural"), [(1, 0), (2, 1), (7, 3), (16, 4)])
@pytest.mark.spec(16, 19, 20, 21)
def test_negatives_of_every_kind(mining, number, structural):
    triples = _sparse(3)
    sampler = _sampler(
        triples,
        _model(DistMult, triples),
        num_negs_per_pos=number,
        num_structural=structural,
        mining=mining,
        pool_size=15,
        hard_share=0.6,
    )
    sampler._columns_structural = structural
    before, facts = triples.clone(), _facts(triples)
    for _ in range(3):
        negatives, mask = sampler.sample(positive_batch=triples)
        assert torch.equal(triples, before)
        assert negatives.shape == (len(triples), number, 3)
        assert negatives.dtype == torch.int64
        assert negatives.min() >= 0
        assert (negatives.amax((0, 1)) < torch.tensor([40, 3, 40])).all()
        column = _column(negatives, triples)
        difference = (column == TAIL).sum(1) - (column == HEAD).sum(1)
        assert difference.abs().max() <= 1
        if number % 2 == 0:
            assert (column[:, ::2] == TAIL).all()
        kept = _kept(negatives, mask)
        assert not _facts(negatives[kept]) & facts
        assert kept[:, : number - structural].all()
        assert structural == 0 or kept[:, number - structural :].any()


@pytest.mark.parametrize("shape", [(1,), (2, 5), (0,)])
@pytest.mark.spec(20)
def test_leading_dimensions_and_inverse_triples(shape):
    triples = _sparse(4)
    inverse = triples.flip(1).clone()
    inverse[:, 1] = triples[:, 1] * 2 + 1
    triples = torch.cat((triples * torch.tensor([1, 2, 1]), inverse))
    sampler = HaSaNegativeSampler(
        mapped_triples=triples, num_entities=40, num_relations=6, hard_share=0, sides="tail"
    )
    number = int(torch.tensor(shape).prod())
    batch = triples[-number:].view(*shape, 3) if number else triples[:0]
    negatives = sampler.corrupt_batch(positive_batch=batch)
    assert negatives.shape == (*shape, 32, 3)
    assert (_column(negatives, batch) == TAIL).all()


@pytest.mark.spec(24)
def test_mined_columns_hold_the_best_and_the_rest_is_uniform():
    triples = _sparse(5)
    model = _model(DistMult, triples)
    sampler = _sampler(triples, model, num_negs_per_pos=64, pool_size=None, hard_share=0.25)
    negatives, _ = sampler.sample(positive_batch=triples)
    best = {
        side: mine(model, triples, side, torch.arange(40), 8, sampler.known).ids for side in SIDES
    }
    assert torch.equal(negatives[:, 0:16:2, 2], best["tail"])
    assert torch.equal(negatives[:, 1:16:2, 0], best["head"])
    rest = torch.bincount(negatives[:, 16::2, 2].flatten(), minlength=40)
    assert (rest > 0).all()  # a uniform draw reaches everything
    assert rest.max() < 3 * rest.float().mean()


@pytest.mark.parametrize("exclude_known", [True, False])
@pytest.mark.spec(26)
def test_structural_columns_of_the_sampler(exclude_known):
    triples = _sparse(6, count=35)
    facts = _facts(triples)
    sampler = _sampler(
        triples,
        num_negs_per_pos=12,
        num_structural=6,
        hard_share=0,
        exclude_known=exclude_known,
        max_members=None,
    )
    negatives, mask = sampler.sample(positive_batch=triples)
    graph = nx.Graph((h, t) for h, _, t in triples.tolist() if h != t)
    column = _column(negatives, triples)
    assert not mask.all()  # some balls are too small
    assert mask[:, 6:].any()
    assert not _facts(negatives[~mask]) & facts
    known = 0
    for i, (head, _, tail) in enumerate(triples.tolist()):
        for j in range(6, 12):
            if not mask[i, j]:
                continue
            entity = int(negatives[i, j, column[i, j]])
            kept = head if column[i, j] == TAIL else tail
            assert 0 < nx.shortest_path_length(graph, kept, entity) <= 2
            known += tuple(negatives[i, j].tolist()) in facts
    assert (known == 0) == exclude_known
    assert not _facts(negatives[:, :6].reshape(-1, 3)) & facts


@pytest.mark.spec(18, 26)
def test_an_empty_ball_switches_the_correction_off():
    triples = torch.tensor([[0, 0, 1], [2, 0, 3], [3, 0, 4], [2, 0, 5]])
    sampler = _sampler(triples, num_negs_per_pos=8, num_structural=4, hard_share=0)
    negatives, mask = sampler.sample(positive_batch=triples)
    assert mask[0].tolist() == [True] * 4 + [False] * 4
    assert mask[1, 4:].any()
    assert not _facts(negatives.reshape(-1, 3)) & _facts(triples)  # masked columns as well
    scores = torch.randn(4, 8)
    losses = [
        HaSaLoss(tau_plus=tau, num_structural=4).process_slcwa_scores(
            torch.zeros(1, 1), scores[0][mask[0]], batch_filter=mask[:1]
        )
        for tau in (0.0, 0.15)
    ]
    assert losses[0] == losses[1]


@pytest.mark.spec(27)
def test_without_ball_or_without_columns_it_is_hard_infonce():
    triples = _sparse(7)
    model = _model(DistMult, triples)
    scores = {}
    for name, options in {
        "no columns": {"num_structural": 0, "num_negs_per_pos": 8},
        "no ball": {"num_structural": 4, "num_negs_per_pos": 12, "hops": 0},
    }.items():
        torch.manual_seed(5)
        sampler = _sampler(triples, model, loss=HaSaLoss(tau_plus=0.1), **options)
        negatives, mask = sampler.sample(positive_batch=triples)
        kept = _kept(negatives, mask)
        assert kept[:, :8].all()
        assert not kept[:, 8:].any()
        scores[name] = sampler.loop.loss.process_slcwa_scores(
            model.score_hrt(triples),
            model.score_hrt(negatives[kept])[:, 0],
            batch_filter=kept,
        )
    assert scores["no columns"] == scores["no ball"]


def test_unfiltered_returns_known_triples_but_never_the_positive():
    triples = torch.cartesian_prod(torch.arange(5), torch.arange(1), torch.arange(5))
    options = {"num_negs_per_pos": 8, "num_structural": 0, "num_entities": 5, "num_relations": 1}
    sampler = HaSaNegativeSampler(mapped_triples=triples, hard_share=0, filtered=False, **options)
    negatives, mask = sampler.sample(positive_batch=triples)
    assert mask is None
    _column(negatives, triples)
    # Filtered, nothing is left: all masked, and still never the positive.
    sampler = HaSaNegativeSampler(mapped_triples=triples, hard_share=0, **options)
    negatives, mask = sampler.sample(positive_batch=triples)
    assert not mask.any()
    _column(negatives, triples)


@pytest.mark.parametrize("mining", [None, "pool", "row_pool", "lists"])
@pytest.mark.spec(19)
def test_construction_neither_draws_nor_computes_anything_twice(mining):
    triples = _sparse(8, count=35)
    model = None if mining is None else _model(DistMult, triples, loss=HaSaLoss(num_structural=4))
    given = {"hard_share": 0} if mining is None else {"mining": mining, "pool_size": 15}
    results = []
    for seed, builds in ((11, 1), (11, 3), (12, 1)):
        torch.manual_seed(seed)
        for _ in range(builds):
            sampler = _sampler(triples.clone(), model, num_structural=4, **given)
        results.append(sampler.sample(positive_batch=triples))
        index, known = sampler.index, sampler.known
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])
    other = _sampler(triples.clone(), num_structural=4, hard_share=0)
    assert other.index is index
    assert other.known is known
    assert _sampler(triples, hops=1).index is not index


def test_lists_are_renewed_after_so_many_batches(monkeypatch):
    triples = _sparse(9)
    model = _model(DistMult, triples)
    sampler = _sampler(triples, model, mining="lists", refresh=3, pool_size=None, num_structural=0)
    asked = []

    def spy(model, queries, *args, **kwargs):
        asked.append(len(queries))
        return mine(model, queries, *args, **kwargs)

    monkeypatch.setattr("kge.sampling.hasa.mine", spy)
    work = []
    for _ in range(7):
        asked.clear()
        sampler.sample(positive_batch=triples[:50])
        work.append(sum(asked))
    queries = sum(len(torch.unique(triples[:50, c], dim=0)) for c in ([0, 1], [1, 2]))
    assert work == [queries, 0, 0, queries, 0, 0, queries]
    # Each list holds the best 32 at its last renewal (four times 16 of one side).
    best = mine(model, triples[:50], "tail", torch.arange(40), 32, sampler.known)
    mined = sampler.sample(positive_batch=triples[:50])[0][:, :16:2, 2]
    for row, allowed in zip(mined.tolist(), best.ids.tolist(), strict=True):
        assert set(row) <= set(allowed)
        assert len(set(row)) == 8
    with pytest.raises(ValueError, match="training set only"):
        sampler.sample(positive_batch=torch.tensor([[39, 2, 39]]))


def test_proposals_before_the_filter_leave_the_lists_of_training_alone():
    triples = _sparse(9)
    model = _model(DistMult, triples)
    drawn = []
    for looks in (0, 2):
        sampler = _sampler(triples, model, mining="lists", refresh=3, pool_size=None)
        for _ in range(looks):
            proposed = sampler.corrupt_batch(positive_batch=triples)
        torch.manual_seed(3)
        drawn.append([sampler.sample(positive_batch=triples)[0] for _ in range(4)])
    assert all(map(torch.equal, *drawn))
    assert _facts(proposed.view(-1, 3)) & _facts(triples)  # mined without the filter


def test_tau_plus_is_estimated_from_masked_triples():
    triples = torch.cartesian_prod(torch.arange(20), torch.arange(2), torch.arange(20, 40))
    triples = triples[torch.randperm(800)[:400]]  # half of all that could be true
    sampler = _sampler(triples, hard_share=0, num_structural=0)
    estimate = sampler.estimate_tau_plus(share=0.5, rows=200)
    # A query has 5 known and 5 hidden answers: 5 of the 35 entities that may be proposed.
    assert estimate.overall == pytest.approx(5 / 35, abs=0.02)
    assert estimate.proposals == 200 * 32
    again = sampler.estimate_tau_plus(share=0.5, rows=200)
    assert torch.equal(again.per_relation[:2], estimate.per_relation[:2])
    assert _sampler(_sparse(1), hard_share=0).estimate_tau_plus().overall >= 1 / 40
    with pytest.raises(ValueError, match="hiding the share"):
        sampler.estimate_tau_plus(share=1.0)


def test_hidden_share_by_hand():
    hidden = KnownTriples(torch.tensor([[0, 0, 1], [0, 1, 2]]), num_relations=3)
    negatives = torch.tensor([[[0, 0, 1], [0, 0, 2]], [[0, 1, 2], [0, 1, 2]]])
    share = hidden_share(negatives, hidden)
    assert share.overall == 0.75
    assert share.per_relation[:2].tolist() == [0.5, 1.0]
    assert share.per_relation[2].isnan()
    kept, masked = mask_triples(torch.arange(30).view(10, 3), 0.2, torch.Generator())
    assert (len(kept), len(masked)) == (8, 2)
    assert torch.equal(torch.cat((kept, masked)).sort(0).values, torch.arange(30).view(10, 3))


# --- binding ------------------------------------------------------------------------------------


def test_sampler_and_loss_agree_on_structural_columns():
    triples = _sparse(10)
    model = _model(DistMult, triples)
    for ours, theirs, agreed in (
        (None, None, 4),
        (6, None, 6),
        (None, 2, 2),
        (3, 3, 3),
        (0, None, 0),
    ):
        loss = HaSaLoss(num_structural=theirs)
        sampler = _sampler(triples, model, loss=loss, num_structural=ours)
        assert loss.num_structural == agreed
        assert loss.needs_estimate == (agreed == 0)
        assert sampler._columns_structural == agreed
    # A loss without a count of its own takes that of each sampler it is bound to.
    loss = HaSaLoss()
    for count in (6, 0, 3):
        _sampler(triples, model, loss=loss, num_structural=count)
        assert loss.num_structural == count
    with pytest.raises(ValueError, match="same count"):
        _sampler(triples, model, loss=HaSaLoss(num_structural=2), num_structural=3)
    with pytest.raises(ValueError, match="leaves no negative"):
        _sampler(triples, model, loss=HaSaLoss(num_structural=40))
    for options in ({"sides": "tail"}, {"num_negs_per_pos": 9}):
        with pytest.raises(ValueError, match="reverse='plain'"):
            _sampler(triples, model, loss=HaSaLoss(reverse="plain"), **options)
    # Any other loss takes all columns for negatives.
    assert _sampler(triples, model)._columns_structural == 0


def test_an_unbound_sampler_says_which_line_to_add():
    triples = _sparse(11)
    with pytest.raises(RuntimeError, match=r"callbacks='bindmodel'"):
        _sampler(triples).sample(positive_batch=triples)
    sampler = _sampler(triples)
    sampler._loop = weakref.ref(_Loop(_model(DistMult, triples)))  # gone at once
    with pytest.raises(RuntimeError, match=r"callbacks='bindmodel'"):
        sampler.sample(positive_batch=triples)
    assert _sampler(triples, hard_share=0).sample(positive_batch=triples)[0].shape[1] == 32
    assert not list(sampler.parameters())


def test_bad_options_are_named():
    triples = _sparse(12)
    for options, message in (
        ({"num_negs_per_pos": 0}, "num_negs_per_pos=0"),
        ({"num_negs_per_pos": 4, "num_structural": 4}, "must be at least 5"),
        ({"num_structural": -1}, "num_structural=-1"),
        ({"hard_share": 1.5}, "hard_share"),
        ({"mining": "best"}, "mining"),
        ({"sides": "head"}, "sides"),
        ({"pool_size": 0}, "pool_size"),
        ({"refresh": 0}, "refresh"),
        ({"refresh": None}, "got None"),
        ({"list_length": 0}, "list_length"),
    ):
        with pytest.raises(ValueError, match=message):
            _sampler(triples, **options)


class _Spy(HaSaNegativeSampler):
    states, built = None, 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        type(self).built += 1

    def _draw(self, positives, generator):
        model = self._loop().model
        if type(self).states is not None:
            assert model.training
            type(self).states.append(sum(float(p.detach().sum()) for p in model.parameters()))
        return super()._draw(positives, generator)


@pytest.mark.parametrize("loop_class", [SLCWATrainingLoop, BoundSLCWATrainingLoop])
@pytest.mark.spec(22)
def test_every_batch_is_drawn_by_the_current_model(loop_class, nations):
    training = nations["training"]
    model = DistMult(triples_factory=training, embedding_dim=8, loss="hasa", random_seed=0)
    loop = loop_class(
        model=model,
        triples_factory=training,
        optimizer="adam",
        negative_sampler=_Spy,
        negative_sampler_kwargs={"num_negs_per_pos": 8},
    )
    callbacks = "bindmodel" if loop_class is SLCWATrainingLoop else None
    run = {"batch_size": 400, "use_tqdm": False, "callbacks": callbacks}
    _Spy.states, _Spy.built = [], 0
    loop.train(training, num_epochs=3, **run)
    assert _Spy.built == 2  # the size probe's and the real one
    assert len(set(_Spy.states[-12:])) == 12  # after those of the probe
    if callbacks:
        assert (
            loop_class._create_training_data_loader
            is SLCWATrainingLoop._create_training_data_loader
        )
    _Spy.states = None
    with pytest.raises(ValueError, match="num_workers=0, got 1"):
        loop.train(training, num_epochs=1, num_workers=1, continue_training=False, **run)


def test_graph_models_train_after_mining(nations):
    training = TriplesFactory(
        nations["training"].mapped_triples,
        nations["training"].entity_to_id,
        nations["training"].relation_to_id,
        create_inverse_triples=True,
    )
    model = CompGCN(triples_factory=training, embedding_dim=8, loss="hasa", random_seed=0)
    loop = BoundSLCWATrainingLoop(
        model=model,
        triples_factory=training,
        optimizer="adam",
        negative_sampler="hasa",
        negative_sampler_kwargs={"num_negs_per_pos": 8, "sides": "tail"},
    )
    losses = loop.train(training, num_epochs=2, batch_size=800, use_tqdm=False)
    assert losses[1] < losses[0]


def _pipeline(nations, **kwargs):
    from pykeen.pipeline import pipeline

    training = {"num_epochs": 4, "batch_size": 400, "use_tqdm": False, "callbacks": "bindmodel"}
    return pipeline(
        **nations,
        model="distmult",
        model_kwargs={"embedding_dim": 16},
        negative_sampler="hasa",
        loss="hasa",
        optimizer_kwargs={"lr": 0.05},
        training_kwargs=training | kwargs.pop("training_kwargs", {}),
        evaluation_kwargs={"use_tqdm": False},
        random_seed=3,
        **kwargs,
    )


@pytest.mark.spec(23)
def test_pipeline_by_name_with_early_stopping_and_saving(nations, tmp_path):
    result = _pipeline(
        nations,
        negative_sampler_kwargs={"num_negs_per_pos": 16, "relation_aware": True},
        loss_kwargs={"reverse": "plain", "beta": 0.5},
        stopper="early",
        stopper_kwargs={"frequency": 2, "patience": 1},
        training_kwargs={"num_epochs": 12},
    )
    assert result.losses[-1] < result.losses[0]
    assert result.get_metric("mrr") > 0.5  # 0.3 by chance
    loss = result.model.loss
    assert (type(loss), loss.num_structural) == (HaSaLoss, 4)
    assert 1 / 14 <= float(loss.tau_plus_estimate) <= 0.2
    result.save_to_directory(tmp_path / "run", save_metadata=False)
    model = torch.load(tmp_path / "run" / "trained_model.pkl", weights_only=False)
    assert torch.equal(model.loss.tau_plus_estimate, loss.tau_plus_estimate)


@pytest.mark.spec(23)
def test_resuming_from_a_checkpoint_changes_nothing(nations, tmp_path, epochs_trained):
    straight = _pipeline(nations, training_kwargs={"num_epochs": 4})
    checkpoints = {
        "checkpoint_name": "run.pt",
        "checkpoint_directory": tmp_path,
        "checkpoint_frequency": 0,
    }
    epochs_trained.clear()
    for epochs in (2, 4):
        resumed = _pipeline(nations, training_kwargs={"num_epochs": epochs, **checkpoints})
    assert epochs_trained == [1, 2, 3, 4]
    assert resumed.losses == straight.losses
    for a, b in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.spec(23)
def test_hpo_keeps_the_sampler(nations):
    from pykeen.hpo import hpo_pipeline

    _Spy.states, _Spy.built = None, 0
    result = hpo_pipeline(
        **nations,
        model="distmult",
        model_kwargs={"embedding_dim": 8},
        negative_sampler=_Spy,
        loss="hasa",
        training_kwargs={"num_epochs": 1, "callbacks": "bindmodel", "use_tqdm": False},
        training_kwargs_ranges={"batch_size": {"type": int, "low": 300, "high": 301}},
        evaluation_kwargs={"use_tqdm": False},
        n_trials=1,
    )
    names = set(result.study.trials[0].params)
    assert {"negative_sampler.num_negs_per_pos", "negative_sampler.hard_share"} <= names
    assert {"loss.beta", "loss.tau_plus", "loss.temperature"} <= names
    assert result.study.trials[0].value is not None
    assert _Spy.built >= 1


@pytest.mark.parametrize("count", [2, 8])
def test_tau_plus_of_few_triples_hides_one(count: int) -> None:
    chain = torch.tensor([[i, 0, i + 1] for i in range(count)])
    sampler = HaSaNegativeSampler(mapped_triples=chain, num_negs_per_pos=4, hard_share=0)
    assert min(1 / (count + 1), 0.2) <= sampler.estimate_tau_plus().overall <= 0.2


def test_the_positive_does_not_stand_in_where_no_slot_has_the_side():
    columns = torch.tensor([[TAIL, HEAD]])
    positive, own_head = torch.tensor([[7, 0, 39]]), torch.tensor([[7]])
    generator = torch.Generator()
    picked = structural_columns(None, positive, columns, {}, own_head, generator, num_entities=40)
    assert picked.ids.tolist() == [[8]]
    assert not picked.found.any()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("cls", [DistMult, ComplEx, ConvE])
@pytest.mark.spec(20)
def test_mining_of_a_model_with_inverse_relations(cls, side):
    """Spec 20: relations are counted as the model does, and scored as the loss will score them."""
    facts = _sparse()
    factory = CoreTriplesFactory(
        facts, num_entities=40, num_relations=3, create_inverse_triples=True
    )
    options = {"embedding_height": 2, "embedding_width": 3} if cls is ConvE else {}
    model = cls(triples_factory=factory, embedding_dim=6, random_seed=0, **options)
    triples = factory._add_inverse_triples_if_necessary(facts)
    assert int(triples[:, 1].max()) == 5
    known = KnownTriples(triples, num_entities=40, num_relations=6)
    queries, column = triples[::7], 2 if side == "tail" else 0
    with undisturbed(model):
        mined = mine(model, queries, side, torch.arange(40), 5, known)
        every = queries[:, None].repeat(1, 40, 1)
        every[..., column] = torch.arange(40)
        scores = model.score_hrt(every.view(-1, 3)).view(-1, 40)
    scores[
        torch.tensor([[tuple(t) in _facts(triples) for t in row] for row in every.tolist()])
    ] = -torch.inf
    best = scores.topk(5).values
    torch.testing.assert_close(scores.gather(1, mined.ids), best, atol=1e-5, rtol=1e-5)
    assert mined.found.all()


def test_structural_columns_without_a_loop_are_told_once():
    triples = _sparse(13)
    sampler = _sampler(triples, hard_share=0, num_structural=4)
    with pytest.warns(UserWarning, match=r"HaSaLoss\(num_structural=4\).*bindmodel"):
        sampler.sample(positive_batch=triples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.sample(positive_batch=triples)
        model = _model(DistMult, triples, loss=HaSaLoss(num_structural=4))
        _sampler(triples, model, hard_share=0, num_structural=4).sample(triples)
        _sampler(triples, hard_share=0).sample(triples)
        _sampler(triples, _model(DistMult, triples), hard_share=0).sample(triples)


def test_structural_columns_beside_another_loss_are_told():
    triples = _sparse(13)
    model = _model(DistMult, triples)
    with pytest.warns(UserWarning, match=r"MarginRankingLoss.*Leave num_structural out"):
        _sampler(triples, model, hard_share=0, num_structural=4)


@pytest.mark.spec(23)
def test_hpo_by_name_goes_on_after_a_diverged_trial(nations, monkeypatch):
    """Even counts of negatives alone are tried, as this loss needs."""
    from pykeen.hpo import hpo_pipeline

    draw, trials, counts = HaSaNegativeSampler._draw, [], set()

    def diverging(self, positives, generator):
        counts.add(self.num_negs_per_pos)
        loop = self._loop()
        if loop not in trials:
            trials.append(loop)
        if loop is trials[0]:
            with torch.no_grad():
                loop.model.entity_representations[0]._embeddings.weight.fill_(torch.nan)
        return draw(self, positives, generator)

    monkeypatch.setattr(HaSaNegativeSampler, "_draw", diverging)
    result = hpo_pipeline(
        **nations,
        model="distmult",
        model_kwargs={"embedding_dim": 8},
        negative_sampler="hasa",
        negative_sampler_kwargs={"hard_share": 0.5},
        loss="hasa",
        loss_kwargs={"reverse": "plain"},
        training_kwargs={"num_epochs": 1, "callbacks": "bindmodel", "use_tqdm": False},
        training_kwargs_ranges={"batch_size": {"type": int, "low": 300, "high": 301}},
        evaluation_kwargs={"use_tqdm": False},
        n_trials=4,
    )
    first, *others = result.study.trials
    assert first.state.name == "FAIL"
    assert all(trial.state.name == "COMPLETE" for trial in others)
    assert counts <= {8, 16, 32, 64, 128}


def test_a_bound_sampler_goes_to_worker_processes(nations) -> None:
    triples = nations["training"].mapped_triples
    sampler = HaSaNegativeSampler(mapped_triples=triples, num_negs_per_pos=4, hard_share=0)
    loop = _Loop(None, HaSaLoss())
    sampler.bind(loop)
    copy = pickle.loads(pickle.dumps(sampler))
    negatives, _ = copy.sample(triples[:5])
    assert negatives.shape == (5, 4, 3)


def test_hubs_without_a_bound_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kge.sampling.hasa._HUB", 20)
    star = torch.tensor([[0, 0, i] for i in range(1, 30)])
    with pytest.warns(UserWarning, match=r"an entity has 29 neighbours.*set max_degree, say 1"):
        _ = HaSaNegativeSampler(mapped_triples=star, hard_share=0).index
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = HaSaNegativeSampler(mapped_triples=star, hard_share=0, max_degree=5).index
