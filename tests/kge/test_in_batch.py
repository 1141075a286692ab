"""In-batch training: the loss, its gradients, its candidates, and its place in PyKEEN."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pykeen.datasets import Nations
from pykeen.hpo import hpo_pipeline
from pykeen.models import ERModel, model_resolver
from pykeen.pipeline import pipeline
from pykeen.triples import CoreTriplesFactory
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import kge
from graphcl.ranking.known import KnownTriples
from kge.sides import COLUMN, Side
from kge.training.candidate_mass import batch_fold, batch_vectors, candidate_mass
from kge.training.candidates import CandidateDraw, known_answers
from kge.training.in_batch import InBatchTrainingLoop
from kge.training.query_groups import SideRows, distinct_queries

kge.register()

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("distmult", {}),
    ("complex", {}),
    ("transe", {"scoring_fct_norm": 1}),
    ("transe", {"scoring_fct_norm": 2}),
    ("transe", {"scoring_fct_norm": 2, "power_norm": True}),
    ("rotate", {}),
    (
        "tucker",
        {"dropout_0": 0.0, "dropout_1": 0.0, "dropout_2": 0.0, "apply_batch_normalization": False},
    ),
    ("simple", {}),
]


def factory(inverse: bool = False) -> CoreTriplesFactory:
    triples = Nations().training.mapped_triples
    return CoreTriplesFactory(
        triples, num_entities=14, num_relations=55, create_inverse_triples=inverse
    )


def model_of(
    name: str, extra: dict[str, Any], triples: CoreTriplesFactory, *, penalty: bool = False
) -> Any:
    torch.manual_seed(0)
    model = model_resolver.make(
        name, triples_factory=triples, embedding_dim=6, random_seed=0, **extra
    )
    for part in model.modules():
        if not penalty and getattr(part, "regularizer", None) is not None:
            part.regularizer = None  # DistMult and others come with one
    return model.train()


def loop_of(model: Any, triples: CoreTriplesFactory, **options: Any) -> InBatchTrainingLoop:
    loop = InBatchTrainingLoop(model=model, triples_factory=triples, optimizer="sgd", **options)
    loop.loader = loop._create_training_data_loader(triples, batch_size=32, drop_last=False)
    return loop


def dense_scores(model: Any, triples: Tensor, side: str) -> Tensor:
    """All scores (B, E) by PyKEEN's own one-against-all functions, with gradients."""
    asked = model._prepare_batch(triples[:, 1:], 0) if side == "head" else triples[:, :2]
    if side == "tail":
        scores = model.score_t(model._prepare_batch(asked, 1))
    elif model.use_inverse_triples:
        scores = model.score_h_inverse(asked)
    else:
        scores = model.score_h(asked)
    return cast(Tensor, scores)


def dense_loss(
    model: Any,
    triples: Tensor,
    known: KnownTriples | None,
    *,
    tau: float = 1.0,
    beta: float = 0.0,
    margin: float = 0.0,
    sides: tuple[Side, ...] = ("head", "tail"),
) -> Tensor:
    """The definition of the loss over all entities, with dense masks."""
    total = []
    for side in sides:
        scores = dense_scores(model, triples, side)
        own = triples[:, COLUMN[side]]
        positive = scores.gather(1, own[:, None])[:, 0]
        entities = torch.arange(model.num_entities)
        corrupted = triples[:, None].repeat(1, len(entities), 1)
        corrupted[..., COLUMN[side]] = entities
        false = entities != own[:, None]
        if known is not None:
            false &= ~known.contains(corrupted)
        weight = torch.where(false, (beta * scores).detach().exp(), 0.0)
        weight = weight / weight.sum(1, keepdim=True) * false.sum(1, keepdim=True)
        mass = (weight * (scores / tau).exp()).sum(1)
        total.append((1 + (-(positive - margin) / tau).exp() * mass).log())
    return torch.stack(total).mean()


@pytest.mark.parametrize("inverse", [False, True], ids=["plain", "inverse"])
@pytest.mark.parametrize(
    ("name", "extra"), MODELS, ids=[f"{n}{i}" for i, (n, _) in enumerate(MODELS)]
)
def test_one_against_all_equals_the_dense_softmax(
    name: str, extra: dict[str, Any], inverse: bool
) -> None:
    triples = factory(inverse)
    model = model_of(name, extra, triples).double()
    known = KnownTriples(triples.mapped_triples, num_entities=14, num_relations=55)
    loop = loop_of(model, triples, pool="all", tau=0.7, margin=0.3)
    batch = loop.loader.collate_fn(triples.mapped_triples[:32])
    loss = loop._process_batch(batch, 0, 32)
    model.zero_grad()
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    expected = dense_loss(model, triples.mapped_triples[:32], known, tau=0.7, margin=0.3)
    expected.backward()
    # Interactions that PyKEEN evaluates in complex arithmetic round differently.
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-10)
    assert found
    for n, p in model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(found[n], p.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["distmult", "transe", "tucker"])
def test_hardness_shares_out_the_weight_of_all_candidates(name: str) -> None:
    triples = factory()
    model = model_of(name, {}, triples).double().eval()
    rows = triples.mapped_triples[:20]
    known = KnownTriples(triples.mapped_triples, num_entities=14, num_relations=55)
    loop = loop_of(model, triples, pool="all", beta=1.5, tau=0.5)
    loss = loop._process_batch(loop.loader.collate_fn(rows), 0, 20)
    expected = dense_loss(model, rows, known, beta=1.5, tau=0.5)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-10)
    loss.backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    expected.backward()
    for one, two in zip(
        found, (p.grad for p in model.parameters() if p.grad is not None), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-9)


def test_many_tiles_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    triples = factory()
    model = model_of("transe", {}, triples).double()
    rows = triples.mapped_triples[:16]
    losses = []
    for pairs in (2**22, 48):
        monkeypatch.setattr("kge.training.candidate_mass._PAIRS", pairs)
        model.zero_grad()
        loop = loop_of(model, triples, pool="all", beta=0.5)
        loss = loop._process_batch(loop.loader.collate_fn(rows), 0, 16)
        loss.backward()
        losses.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("exclude_known", [True, False], ids=["filtered", "softmax"])
@pytest.mark.parametrize("inverse", [False, True], ids=["plain", "inverse"])
@pytest.mark.parametrize("name", ["complex", "transe", "tucker"])
def test_a_grouped_batch_has_the_loss_of_its_rows_with_fewer_queries(
    name: str, inverse: bool, exclude_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    triples = factory(inverse)
    model = model_of(name, {}, triples).double().eval()
    known = None
    if exclude_known:
        known = KnownTriples(triples.mapped_triples, num_entities=14, num_relations=55)
    options = {"pool": "all", "grouped": True, "exclude_known": exclude_known}
    loop = loop_of(model, triples, tau=0.7, n3=0, **options)
    summed = []

    def watched(fold: Any, **options: Any) -> Tensor:
        summed.append(fold.queries)
        return candidate_mass(fold, **options)

    monkeypatch.setattr("kge.training.in_batch.candidate_mass", watched)
    torch.manual_seed(0)
    batch = next(iter(loop.loader))
    assert not torch.equal(batch.triples["head"], batch.triples["tail"])
    loss = loop._process_batch(batch, 0, 32)
    assert len(summed) == 2
    assert max(summed) < 24  # of 32 rows
    loss.backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    sides = [
        dense_loss(model, rows, known, tau=0.7, sides=(side,))
        for side, rows in batch.triples.items()
    ]
    expected = torch.stack(sides).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-10)
    expected_gradients = [p.grad for p in model.parameters() if p.grad is not None]
    for one, two in zip(found, expected_gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-9)


def test_grouped_rows_are_all_rows_once_and_their_queries_stay_together() -> None:
    triples = factory().mapped_triples
    rows = SideRows(triples, 100, grouped=lambda: True)
    torch.manual_seed(0)
    batches = list(rows)
    assert len(batches) == len(rows) == 16
    assert [batch.shape[1] for batch in batches] == [100] * 15 + [len(triples) - 1500]
    every = torch.cat(batches, 1)
    for side, order in zip(COLUMN, every, strict=True):
        assert torch.equal(order.sort().values, torch.arange(len(triples)))
        runs = distinct_queries(triples, side).of[order].unique_consecutive()
        assert len(runs) == len(runs.unique())
    assert not torch.equal(every, torch.cat(list(rows), 1))
    assert len(list(SideRows(triples, 100, drop_last=True))) == 15
    assert not list(SideRows(triples[:0], 100))


def test_sides_ask_from_rows_of_their_own_unless_paired() -> None:
    triples = factory().mapped_triples
    torch.manual_seed(0)
    for paired in (False, True):
        every = torch.cat(list(SideRows(triples, 100, paired=paired)), -1).expand(2, -1)
        for order in every:
            assert torch.equal(order.sort().values, torch.arange(len(triples)))
        assert torch.equal(*every) == paired


@pytest.mark.parametrize("paired", [False, True], ids=["apart", "paired"])
def test_rows_of_a_side_meet_the_answers_of_their_own_side(paired: bool) -> None:
    triples = factory()
    model = model_of("complex", {}, triples).double().eval()
    known = KnownTriples(triples.mapped_triples, num_entities=14, num_relations=55)
    loop = loop_of(model, triples, pool=200, paired=paired)  # draws all 14 entities
    torch.manual_seed(0)
    batch = next(iter(loop.loader))
    assert torch.equal(batch.triples["head"], batch.triples["tail"]) == paired
    sides = [dense_loss(model, rows, known, sides=(side,)) for side, rows in batch.triples.items()]
    found = loop._process_batch(batch, 0, 32)
    torch.testing.assert_close(found, torch.stack(sides).mean(), rtol=1e-9, atol=1e-10)


def test_a_pool_without_answers_of_the_batch_is_grouped_from_the_start() -> None:
    triples = factory()
    model = model_of("complex", {}, triples).double().eval()
    known = KnownTriples(triples.mapped_triples, num_entities=14, num_relations=55)
    options = {"pool": 200, "in_batch": False, "grouped": True}  # draws all 14 entities
    loop = loop_of(model, triples, **options)
    batch = next(iter(loop.loader))
    assert not torch.equal(batch.triples["head"], batch.triples["tail"])
    assert len(batch.tail.ids) == 14
    sides = [dense_loss(model, rows, known, sides=(side,)) for side, rows in batch.triples.items()]
    found = loop._process_batch(batch, 0, 32)
    torch.testing.assert_close(found, torch.stack(sides).mean(), rtol=1e-9, atol=1e-10)


def test_batches_are_grouped_from_the_epoch_on_that_takes_all_entities() -> None:
    triples = factory()
    options = {"pool": 2, "all_after": 3, "grouped": True, "paired": True}
    loop = loop_of(model_of("complex", {}, triples), triples, **options)
    for epoch, grouped in ((0, False), (2, False), (3, True)):
        loop._epoch = epoch
        batch = next(iter(loop.loader))
        assert torch.equal(batch.triples["head"], batch.triples["tail"]) != grouped
        assert (len(batch.head.ids) == len(batch.tail.ids) == 14) == grouped


def test_distinct_queries_of_a_side() -> None:
    triples = torch.tensor([[5, 1, 2], [5, 1, 3], [5, 0, 3], [1, 5, 3], [5, 1, 9]])
    tails, heads = distinct_queries(triples, "tail"), distinct_queries(triples, "head")
    assert tails.of.unique().tolist() == [0, 1, 2]
    assert tails.of[0] == tails.of[1] == tails.of[4]
    assert torch.equal(tails.of[tails.rows], torch.arange(3))
    assert len(heads.rows) == 5
    assert len(distinct_queries(triples[:0], "tail").rows) == 0


def test_without_exclusion_only_the_own_answer_is_left_out() -> None:
    triples = factory()
    model = model_of("distmult", {}, triples).double()
    rows = triples.mapped_triples[:20]
    loop = loop_of(model, triples, pool="all", exclude_known=False)
    loss = loop._process_batch(loop.loader.collate_fn(rows), 0, 20)
    torch.testing.assert_close(loss, dense_loss(model, rows, None), rtol=1e-9, atol=1e-10)


def test_sub_batches_give_the_gradient_of_the_batch() -> None:
    triples = factory()
    model = model_of("complex", {}, triples).double()
    loop = loop_of(model, triples, pool=8)
    batch = loop.loader.collate_fn(triples.mapped_triples[:32])
    gradients = []
    for size in (32, 8):
        model.zero_grad()
        for start in range(0, 32, size):
            loop._forward_pass(batch, start, start + size, 32, 0.0, None)
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_a_row_whose_candidates_are_all_true_costs_nothing() -> None:
    every = torch.cartesian_prod(torch.arange(3), torch.arange(1), torch.arange(3))
    triples = CoreTriplesFactory(every, num_entities=3, num_relations=1)
    model = model_of("distmult", {}, triples)
    for beta in (0.0, 1.0):
        loop = loop_of(model, triples, pool="all", beta=beta)
        model.zero_grad()
        loss = loop._process_batch(loop.loader.collate_fn(every), 0, 9)
        loss.backward()
        assert loss.item() == 0
        assert all((p.grad == 0).all() for p in model.parameters())


def test_candidates_are_the_answers_of_the_batch_and_the_pool() -> None:
    rows = torch.tensor([[3, 0, 5], [4, 1, 5], [3, 0, 9]])
    draw = CandidateDraw(rows, 1000, 0)
    batch = draw(rows)
    assert batch.tail.ids.tolist() == [5, 9]
    assert batch.head.ids.tolist() == [3, 4]
    own = CandidateDraw(rows, 1000, 0, self_negatives=True)(rows)
    assert own.tail.ids.tolist() == own.head.ids.tolist() == rows[:, [0, 2]].unique().tolist()
    alone = CandidateDraw(rows, 1000, 64, in_batch=False)(rows)
    assert torch.equal(alone.head.ids, alone.tail.ids)
    assert 50 < len(alone.tail.ids) <= 64
    mixed = CandidateDraw(rows, 1000, 64)(rows)
    assert {5, 9} <= set(mixed.tail.ids.tolist())


def test_known_answers_are_those_known_among_the_candidates() -> None:
    generator = torch.Generator().manual_seed(0)
    triples = torch.stack(
        [torch.randint(n, (200,), generator=generator) for n in (20, 3, 20)], 1
    ).unique(dim=0)
    known = KnownTriples(triples, num_entities=20, num_relations=3)
    rows, ids = triples[::7], torch.tensor([0, 2, 3, 7, 11, 19])
    for side in ("head", "tail"):
        corrupted = rows[:, None].repeat(1, len(ids), 1)
        corrupted[..., COLUMN[side]] = ids
        dense = known_answers(rows, side, ids, known).dense(len(rows), len(ids))
        assert torch.equal(dense, known.contains(corrupted))
        own = known_answers(rows, side, ids, None).dense(len(rows), len(ids))
        assert torch.equal(own, ids == rows[:, COLUMN[side], None])


@pytest.mark.parametrize("in_batch", [False, True])
def test_weights_make_the_sum_over_candidates_unbiased(in_batch: bool) -> None:
    torch.manual_seed(0)
    triples = torch.randint(40, (400, 3))
    value = torch.rand(40).double()
    draw = CandidateDraw(triples, 40, 6, in_batch=in_batch, unbiased=True)
    estimates = []
    for _ in range(4000):
        batch = draw(triples[torch.randint(400, (5,))])  # rows with repetition, as the formula has
        ids, log_weight = batch.tail
        estimates.append((log_weight.double().exp() * value[ids]).sum())
    found = torch.stack(estimates)
    error = found.std() / 4000**0.5
    assert abs(found.mean() - value.sum()) < 4 * error
    assert error < 0.02 * value.sum()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("side", ["head", "tail"])
@pytest.mark.parametrize("name", ["distmult", "transh"])
def test_mined_entities_are_the_best_of_the_pool(name: str, side: Any, inverse: bool) -> None:
    triples = factory(inverse)
    model = model_of(name, {}, triples)
    loop = loop_of(model, triples, pool=1, in_batch=False, mined=2, mine_pool=400)
    rows = triples.mapped_triples[:4]
    batch = loop.loader.collate_fn(rows)
    drawn = getattr(batch, side)
    found = set(loop._with_mined(rows, side, drawn).ids.tolist())
    known = KnownTriples(triples.mapped_triples, num_entities=14, num_relations=55)
    best = set(drawn.ids.tolist())
    scores = dense_scores(model, rows, side).detach()
    for row, one in zip(rows, scores, strict=True):
        asked = row.repeat(14, 1)
        asked[:, 0 if side == "head" else 2] = torch.arange(14)
        one[known.contains(asked)] = -torch.inf
        best |= set(one.topk(2).indices.tolist())
    assert found == best
    assert model.training


def test_the_regulariser_sees_facts_and_no_candidates() -> None:
    triples = factory()
    model = model_of("complex", {}, triples, penalty=True)
    entities, relations = model.entity_representations[0], model.relation_representations[0]
    assert entities.regularizer is not None
    terms = []
    rows = triples.mapped_triples[:8]
    for pool in (1, "all"):
        loop = loop_of(model, triples, pool=pool)
        batch = loop.loader.collate_fn(rows)
        loop._losses(batch.triples, batch)
        terms.append(model.collect_regularization_term())
    torch.testing.assert_close(terms[0], terms[1])
    facts = [entities(rows[:, 0]), entities(rows[:, 2])]
    facts += [relations(rows[:, 1])] * (2 if relations.regularizer is not None else 0)
    model.collect_regularization_term()
    penalty = entities.regularizer
    expected = penalty.weight * sum(penalty(x) for x in facts)
    torch.testing.assert_close(terms[0], expected.expand_as(terms[0]))


class LargestTensor(TorchDispatchMode):
    """Remembers the largest allocation."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, Tensor):
                self.largest = max(self.largest, one.numel())
        return result


@pytest.mark.parametrize("name", ["complex", "transe"])
def test_no_tensor_of_batch_by_entities_is_formed(name: str) -> None:
    entities, batch = 20_000, 2_000
    triples = torch.stack([torch.randint(n, (4 * batch,)) for n in (entities, 3, entities)], 1)
    made = CoreTriplesFactory(triples, num_entities=entities, num_relations=3)
    model = model_resolver.make(name, triples_factory=made, embedding_dim=4, random_seed=0)
    loop = loop_of(model, made, pool="all")
    with LargestTensor() as seen:
        loop._process_batch(loop.loader.collate_fn(triples[:batch]), 0, batch).backward()
    assert seen.largest < batch * entities / 5


def pipeline_by_name(epochs: int, stopper: dict[str, Any], **options: Any) -> Any:
    return pipeline(
        dataset="nations",
        model="distmult",
        training_loop="inbatch",
        training_loop_kwargs={"pool": 14},
        evaluator="fusedrankbased",
        training_kwargs={"num_epochs": epochs, "batch_size": 256, "use_tqdm": False},
        stopper="early",
        stopper_kwargs=stopper,
        random_seed=0,
        device="cpu",
        **options,
    )


def test_pipeline_by_name_learns_beside_early_stopping() -> None:
    result = pipeline_by_name(12, {"frequency": 4, "patience": 2})
    assert isinstance(result.training_loop, InBatchTrainingLoop)
    assert result.losses[-1] < result.losses[0]
    assert result.get_metric("mrr") > 0.35
    assert len(result.losses) == 12


def test_a_model_that_does_not_learn_is_stopped() -> None:
    stopper = {"frequency": 1, "patience": 2, "relative_delta": 0.5}
    result = pipeline_by_name(20, stopper, optimizer_kwargs={"lr": 1e-12})
    assert len(result.losses) == 3


def test_hpo_by_name() -> None:
    result = hpo_pipeline(
        dataset="nations",
        model="distmult",
        training_loop="inbatch",
        n_trials=1,
        training_kwargs={"num_epochs": 1, "use_tqdm": False},
        evaluator="fusedrankbased",
        device="cpu",
    )
    assert result.study.best_trial.value > 0


@pytest.mark.parametrize(
    "options", [{"pool": 8}, {"pool": 8, "all_after": 1, "grouped": True}], ids=["pool", "grouped"]
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    options: dict[str, Any], tmp_path: Path, epochs_trained: list[int]
) -> None:
    def train(epochs: int, name: str | None) -> Any:
        checkpoint = {"checkpoint_name": name, "checkpoint_directory": tmp_path} if name else {}
        torch.manual_seed(3)
        triples = factory()
        model = model_of("complex", {}, triples)
        loop = InBatchTrainingLoop(
            model=model, triples_factory=triples, optimizer="adam", **options
        )
        kwargs: dict[str, Any] = {"checkpoint_frequency": 0, **checkpoint} if name else {}
        torch.manual_seed(3)
        loop.train(triples, num_epochs=epochs, batch_size=256, use_tqdm=False, **kwargs)
        return model.state_dict()

    whole = train(4, None)
    train(2, "half.pt")
    epochs_trained.clear()
    resumed = train(4, "half.pt")
    assert epochs_trained == [3, 4]
    for name in whole:
        assert torch.equal(whole[name], resumed[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.0}, "tau must be positive"),
        ({"beta": -1.0}, "beta must not be negative"),
        ({"mined": 5, "mine_pool": 4}, "mined=5"),
        ({"mined": 5, "unbiased": True}, "no known probability"),
        ({"self_negatives": True, "unbiased": True}, "no known probability"),
        ({"pool": "all", "unbiased": True}, "all are candidates"),
        ({"pool": "all", "mined": 3}, "adds nothing"),
        ({"sides": "left"}, "'left'"),
        ({"pool": -3}, "-3"),
        ({"pool": "alle"}, "'alle'"),
        ({"all_after": -1}, "all_after must be a count of epochs, got -1"),
        ({"all_after": 2, "mined": 3}, "mined=3 adds nothing"),
        ({"pool": 0, "in_batch": False}, "no candidates"),
        ({"pool": 8, "grouped": True}, "set in_batch=False"),
        (
            {"pool": 8, "grouped": True, "in_batch": False, "exclude_known": False},
            "exclude_known=True",
        ),
        (
            {"pool": "all", "grouped": True, "exclude_known": False, "beta": 1.0},
            "exclude_known=True",
        ),
    ],
)
def test_settings_that_make_no_sense_are_told(options: dict[str, Any], message: str) -> None:
    triples = factory()
    with pytest.raises(ValueError, match=message):
        loop_of(model_of("distmult", {}, triples), triples, **options)


def test_what_the_loop_cannot_do_is_told() -> None:
    triples = factory()
    loop = loop_of(model_of("distmult", {}, triples), triples)
    batch = loop.loader.collate_fn(triples.mapped_triples[:4])
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1"):
        loop._process_batch(batch, 0, 4, label_smoothing=0.1)
    with pytest.raises(NotImplementedError, match="schlichtkrull"):
        loop._create_training_data_loader(
            triples, sampler="schlichtkrull", batch_size=4, drop_last=False
        )
    with pytest.raises(MemoryError, match="lower pool"):
        loop._slice_size_search()


def test_scores_of_a_fold_are_the_models_own() -> None:
    triples = factory()
    rows, ids = triples.mapped_triples[:5], torch.tensor([1, 4, 7, 13])
    for name, extra in MODELS:
        model: ERModel[Any, Any, Any] = model_of(name, extra, triples).double()
        for side in ("head", "tail"):
            dense = dense_scores(model, rows, side)
            named = torch.cat([rows[:, [0, 2]].flatten(), ids])
            vectors = batch_vectors(model, named)
            fold = batch_fold(model, vectors, rows, cast(Side, side), ids)
            own = dense.gather(1, rows[:, COLUMN[side], None])[:, 0]
            torch.testing.assert_close(fold.positive, own, rtol=1e-9, atol=1e-10)
            mass = candidate_mass(
                fold,
                tau=1.0,
                beta=0.0,
                log_weight=torch.arange(4.0).double(),
                exclude=known_answers(rows, side, ids, None),
            )
            hidden = ids == rows[:, COLUMN[side], None]
            logits = (dense[:, ids] + torch.arange(4.0)).masked_fill(hidden, -torch.inf)
            torch.testing.assert_close(mass, logits.logsumexp(1), rtol=1e-9, atol=1e-10)


def test_what_workers_get_can_be_pickled_and_is_that_of_the_epoch() -> None:
    """Spawned workers are sent dataset and draw; from an epoch on the latter takes all entities."""
    training = Nations().training
    model = model_resolver.make("distmult", triples_factory=training, embedding_dim=4)
    loop = InBatchTrainingLoop(
        model=model, triples_factory=training, optimizer="sgd", pool=5, in_batch=False, all_after=2
    )
    loader = loop._create_training_data_loader(training, batch_size=8, drop_last=False)
    for epoch, pool in ((0, 5), (2, "all")):
        loop._epoch = epoch
        rows, draw = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
        assert draw.pool == pool
        batch = draw(rows.__getitems__(torch.arange(8).view(1, 8).expand(2, 8)))
        assert len(batch.tail.ids) == training.num_entities or pool == 5
