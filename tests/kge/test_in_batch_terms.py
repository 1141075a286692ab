"""In-batch training: N3, DURA, relation prediction, and updates of looked-up rows alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from pykeen.datasets import Nations
from pykeen.models import model_resolver
from pykeen.triples import CoreTriplesFactory
from torch import Tensor

from kge.training.duality_norm import PLAIN, PRODUCT, duality_norm
from kge.training.in_batch import InBatchTrainingLoop
from kge.training.nuclear_norm import nuclear_3_norm


def factory(inverse: bool = False) -> CoreTriplesFactory:
    triples = Nations().training.mapped_triples
    return CoreTriplesFactory(
        triples, num_entities=14, num_relations=55, create_inverse_triples=inverse
    )


def model_of(name: str, triples: CoreTriplesFactory, **extra: Any) -> Any:
    options = {} if name in ("transe", "tucker") else {"regularizer": None}
    model = model_resolver.make(
        name, triples_factory=triples, embedding_dim=6, random_seed=0, **{**options, **extra}
    )
    return model.train()


def loss_of(model: Any, triples: CoreTriplesFactory, rows: Tensor, **options: Any) -> Tensor:
    loop = InBatchTrainingLoop(model=model, triples_factory=triples, optimizer="sgd", **options)
    loader = loop._create_training_data_loader(triples, batch_size=32, drop_last=False)
    assert loader.collate_fn is not None
    return loop._process_batch(loader.collate_fn(rows), 0, len(rows))


def gradients_of(loss: Tensor, model: Any) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def asked(triples: Tensor, side: str, inverse: bool) -> list[tuple[int, int, int]]:
    """Triples as the model is asked, by PyKEEN's numbering of inverse relations."""
    if not inverse:
        return [(h, r, t) for h, r, t in triples.tolist()]
    if side == "tail":
        return [(h, 2 * r, t) for h, r, t in triples.tolist()]
    return [(t, 2 * r + 1, h) for h, r, t in triples.tolist()]


def test_n3_is_the_sum_of_cubed_moduli() -> None:
    factors = [torch.randn(4, 3, dtype=torch.complex128) for _ in range(2)]
    factors.append(torch.randn(4, 3, dtype=torch.float64))
    expected = [sum(abs(z) ** 3 for f in factors for z in f[i].tolist()) for i in range(4)]
    found = nuclear_3_norm(*factors)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_n3_gradcheck_and_gradient_at_zero(dtype: torch.dtype) -> None:
    factors = [torch.randn(3, 2, dtype=dtype, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(nuclear_3_norm, factors)
    zero = torch.zeros(2, 2, dtype=dtype, requires_grad=True)
    nuclear_3_norm(zero).sum().backward()
    assert zero.grad is not None
    assert torch.equal(zero.grad, torch.zeros_like(zero))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_dura_gradcheck(dtype: torch.dtype) -> None:
    factors = [torch.randn(3, 2, dtype=dtype, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(duality_norm, factors)


def test_dura_bounds_scores_and_the_distance_of_query_and_answer() -> None:
    h, r, t = torch.randn(3, 50, 8, dtype=torch.complex128)
    bound = duality_norm(h, r, t, plain=1.0, product=1.0)
    score = (h * r * t.conj()).real.sum(1)
    apart = [(h * r - t).abs().square().sum(1), (t * r.conj() - h).abs().square().sum(1)]
    # Zhang et al.: the distances and the scores add up to the penalty.
    torch.testing.assert_close(bound, apart[0] + apart[1] + 4 * score)


@pytest.mark.parametrize("inverse", [False, True], ids=["plain", "inverse"])
@pytest.mark.parametrize("name", ["complex", "distmult"])
def test_dura_weighs_queries_and_answers_of_both_sides(name: str, inverse: bool) -> None:
    triples = factory(inverse)
    model = model_of(name, triples).double()
    rows = triples.mapped_triples[:32]
    bare = loss_of(model, triples, rows, pool="all")
    loss = loss_of(model, triples, rows, pool="all", dura=0.3)
    entities = model.entity_representations[0](None)
    relations = model.relation_representations[0](None)
    terms = []
    for h, r, t in asked(rows, "tail", inverse) + asked(rows, "head", inverse):
        queries = [entities[h] * relations[r], entities[t] * relations[r].conj()]
        plain = sum(row.abs().square().sum() for row in (entities[h], entities[t]))
        terms.append(PLAIN * plain + PRODUCT * sum(q.abs().square().sum() for q in queries))
    expected = bare + 0.3 * torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(gradients_of(loss, model), gradients_of(expected, model), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("inverse", [False, True], ids=["plain", "inverse"])
@pytest.mark.parametrize("sides", ["both", "tail", "head"])
@pytest.mark.parametrize("name", ["complex", "distmult"])
def test_n3_weighs_each_triple_once_per_side(name: str, sides: str, inverse: bool) -> None:
    triples = factory(inverse)
    model = model_of(name, triples).double()
    rows = triples.mapped_triples[:32]
    options: dict[str, Any] = {"pool": "all", "sides": sides}
    bare = loss_of(model, triples, rows, **options)
    loss = loss_of(model, triples, rows, n3=0.3, **options)
    entities = model.entity_representations[0](None)
    relations = model.relation_representations[0](None)
    terms = [
        entities[h].abs().pow(3).sum()
        + relations[r].abs().pow(3).sum()
        + entities[t].abs().pow(3).sum()
        for side in (("head", "tail") if sides == "both" else (sides,))
        for h, r, t in asked(rows, side, inverse)
    ]
    expected = bare + 0.3 * torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(gradients_of(loss, model), gradients_of(expected, model), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("inverse", [False, True], ids=["plain", "inverse"])
@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("complex", {}),
        ("distmult", {}),
        ("transe", {"scoring_fct_norm": 1}),
        ("transe", {"scoring_fct_norm": 2}),
    ],
    ids=["complex", "distmult", "transe-l1", "transe-l2"],
)
def test_relation_prediction_is_the_softmax_of_the_models_own_scores(
    name: str, extra: dict[str, Any], inverse: bool
) -> None:
    triples = factory(inverse)
    model = model_of(name, triples, **extra).double()
    rows = triples.mapped_triples[:20]
    bare = loss_of(model, triples, rows, pool="all", tau=0.5)
    loss = loss_of(model, triples, rows, pool="all", tau=0.5, relations=2.0)
    losses = []
    for side in ("head", "tail"):
        for h, r, t in asked(rows, side, inverse):
            # score_r gives those of all relations that the model has.
            scores = model.score_r(torch.tensor([[h, t]]))[0] / 0.5
            losses.append(scores.logsumexp(0) - scores[r])
    expected = bare + 2.0 * torch.stack(losses).mean()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(gradients_of(loss, model), gradients_of(expected, model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_a_regulariser_of_the_model_sees_neither_term() -> None:
    triples = factory()
    model = model_of("complex", triples, regularizer="lp", regularizer_kwargs={"weight": 0.7})
    rows = triples.mapped_triples[:16]
    bare = loss_of(model, triples, rows, pool="all")
    loss = loss_of(model, triples, rows, pool="all", n3=1e-9, relations=1e-9)
    torch.testing.assert_close(loss, bare)


def test_terms_need_vectors() -> None:
    triples = factory()
    model = model_of("rotate", triples)
    with pytest.raises(ValueError, match="DistMult, ComplEx or TransE"):
        loss_of(model, triples, triples.mapped_triples[:4], relations=0.1)
    simple = model_of("simple", triples)
    with pytest.raises(ValueError, match="got SimplE"):
        loss_of(simple, triples, triples.mapped_triples[:4], n3=0.1)
    with pytest.raises(ValueError, match=r"dura=0\.1 needs scores that are products"):
        loss_of(model, triples, triples.mapped_triples[:4], dura=0.1)
    with pytest.raises(ValueError, match="n3 must be a weight from 0, got -1"):
        loss_of(model, triples, triples.mapped_triples[:4], n3=-1.0)


def trained(
    name: str,
    optimizer: str,
    *,
    rows: bool,
    inverse: bool = False,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights before and after five steps on a graph of which batches name few entities."""
    torch.manual_seed(0)
    count = 300
    facts = torch.stack(
        [torch.randint(count, (60,)), torch.randint(4, (60,)), torch.randint(count, (60,))], 1
    )
    triples = CoreTriplesFactory(
        facts, num_entities=count, num_relations=4, create_inverse_triples=inverse
    )
    model = model_of(name, triples).to(dtype)
    loop = InBatchTrainingLoop(
        model=model,
        triples_factory=triples,
        optimizer=optimizer,
        optimizer_kwargs={"lr": 0.1},
        pool=20,
        row_gradients=rows,
        **options,
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loader = loop._create_training_data_loader(triples, batch_size=12, drop_last=False)
    torch.manual_seed(1)
    for batch in loader:
        loop.optimizer.zero_grad()
        size = len(batch.triples["head"])
        loop._forward_pass(batch, 0, size, size, 0.0, None)
        loop.optimizer.step()
        model.post_parameter_update()
    return before, model.state_dict()


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
@pytest.mark.parametrize("name", ["complex", "distmult", "transe"])
def test_row_gradients_make_the_same_steps(name: str, optimizer: str) -> None:
    extra: dict[str, Any] = {} if name == "transe" else {"n3": 0.1, "unbiased": True}
    # Adagrad's first step makes a full step of a gradient that is rounding alone.
    extra |= {"inverse": True, "dtype": torch.float64}
    _, dense = trained(name, optimizer, rows=False, **extra)
    _, sparse = trained(name, optimizer, rows=True, **extra)
    for key, value in dense.items():
        torch.testing.assert_close(sparse[key], value)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("optimizer", ["lazyadam", "sparseadam"])
def test_adam_of_rows_leaves_other_rows_alone(optimizer: str) -> None:
    before, after = trained("distmult", optimizer, rows=True, relations=0.5)
    name = next(key for key in before if "entity" in key)
    changed = (before[name] != after[name]).any(1)
    assert 0 < int(changed.sum()) < len(changed)
    assert torch.equal(before[name][~changed], after[name][~changed])


def test_row_gradients_refuse_what_would_not_work() -> None:
    triples = factory()
    for optimizer, options in (("adam", {}), ("adagrad", {"weight_decay": 0.1})):
        with pytest.raises(ValueError, match="row_gradients needs an optimizer"):
            InBatchTrainingLoop(
                model=model_of("complex", triples),
                triples_factory=triples,
                optimizer=optimizer,
                optimizer_kwargs=options,
                row_gradients=True,
            )
    with pytest.raises(ValueError, match="pool='all'"):
        InBatchTrainingLoop(
            model=model_of("complex", triples),
            triples_factory=triples,
            optimizer="adagrad",
            pool="all",
            row_gradients=True,
        )


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("optimizer", ["adagrad", "lazyadam"])
def test_all_entities_become_candidates_after_some_epochs(
    optimizer: str, rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    triples = factory()
    loop = InBatchTrainingLoop(
        model=model_of("complex", triples),
        triples_factory=triples,
        optimizer=optimizer,
        pool=2,
        in_batch=False,
        all_after=2,
        row_gradients=rows,
    )
    seen: list[tuple[int, int]] = []
    losses = loop._losses

    def watched(triples: Tensor, batch: Any) -> Tensor:
        seen.append((loop._epoch, len(batch.tail.ids)))
        return losses(triples, batch)

    monkeypatch.setattr(loop, "_losses", watched)
    loop.train(triples, num_epochs=4, batch_size=800, use_tqdm=False)
    assert {done for done, _ in seen} == {0, 1, 2, 3}  # epochs that are over
    assert all(count <= 2 if done < 2 else count == 14 for done, count in seen)


@pytest.mark.parametrize("exclude_known", [True, False], ids=["filtered", "softmax"])
def test_dropout_leaves_the_same_components_out_of_a_querys_positive_and_negatives(
    exclude_known: bool,
) -> None:
    triples = factory()
    model = model_of("distmult", triples).double()
    row = triples.mapped_triples[:1]
    torch.manual_seed(3)
    options = {"pool": "all", "exclude_known": exclude_known, "sides": "tail", "dropout": 0.5}
    found = [loss_of(model, triples, row.repeat(3, 1), **options) for _ in range(8)]
    entities = model.entity_representations[0](None)
    query = entities[row[0, 0]] * model.relation_representations[0](row[:, 1])[0]
    hidden = torch.zeros(14, dtype=torch.bool)
    if exclude_known:
        same = (triples.mapped_triples[:, :2] == row[:, :2]).all(1)
        hidden[triples.mapped_triples[same, 2]] = True
        hidden[row[0, 2]] = False
    losses = []
    for mask in itertools.product([0.0, 2.0], repeat=6):
        scores = ((query * torch.tensor(mask)) @ entities.T).masked_fill(hidden, -torch.inf)
        losses.append((scores.logsumexp(0) - scores[row[0, 2]]).item())
    # The rows ask the same; one mask for a query makes their mean the loss under one of 2^6 masks.
    nearest = [min(abs(one.item() - other) for other in losses) for one in found]
    assert max(nearest) < 1e-9
    assert len({round(one.item(), 9) for one in found}) > 1
    without = loss_of(model.eval(), triples, row, **options)
    torch.testing.assert_close(without, loss_of(model, triples, row, **{**options, "dropout": 0.0}))


def test_dropout_needs_a_chance_and_products() -> None:
    triples = factory()
    with pytest.raises(ValueError, match="below 1, got 1"):
        loss_of(model_of("distmult", triples), triples, triples.mapped_triples, dropout=1.0)
    for name in ("tucker", "transe"):
        with pytest.raises(ValueError, match="as those of ComplEx or DistMult"):
            loss_of(model_of(name, triples), triples, triples.mapped_triples, dropout=0.1)
