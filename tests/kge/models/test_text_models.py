"""Text models: their scores, their gradients, and their place in PyKEEN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import model_resolver
from pykeen.pipeline import pipeline

import kge
from kge.datasets import load_dataset
from kge.models.hasa_text import HaSaText
from kge.models.simkgc import SimKGC
from kge.query_vectors import query_key_model
from kge.text.sentences import graph_sentences
from kge.training.in_batch import InBatchTrainingLoop

kge.register()

KINDS = ["tfidf", "vectors", "bert", "simkgc"]
MRR = "both.realistic.inverse_harmonic_mean_rank"


@pytest.fixture(scope="module")
def graph() -> Any:
    return load_dataset("nations", "/nonexistent", create_inverse_triples=True)


@pytest.fixture(scope="module")
def few(graph: Any) -> Any:
    """Training triples that suffice to see a loss fall."""
    return graph.training.clone_and_exchange_triples(graph.training.mapped_triples[::24])


@pytest.fixture
def make(graph: Any, tiny: Any) -> Any:
    """Function that makes a small model of a kind."""

    def model(kind: str, *, dropout: float = 0.0, **options: Any) -> Any:
        options = {"triples_factory": graph.training, "random_seed": 0, "chunk": 5, **options}
        if kind == "simkgc":
            encoder, tokenizer = tiny(_words(graph), dropout=dropout)
            return SimKGC(encoder=encoder, tokenizer=tokenizer, **options)
        options = {"dim": 12, "dropout": dropout, **options}
        if kind == "bert":
            encoder, tokenizer = tiny(_words(graph), dropout=dropout)
            options |= {"encoder": encoder, "tokenizer": tokenizer}
        if kind == "vectors":
            options.setdefault("encoder", np.random.default_rng(0).normal(size=(14, 7)))
        return HaSaText(**options)

    return model


def _words(graph: Any) -> list[str]:
    return [text for texts in graph_sentences(graph.training, None, None) for text in texts]


def _triples(count: int = 6) -> torch.Tensor:
    """Triples of relations and inverse relations, by PyKEEN's ids."""
    generator = torch.Generator().manual_seed(1)
    columns = [torch.randint(high, (count,), generator=generator) for high in (14, 110, 14)]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_all_score_functions_agree(make: Any, kind: str) -> None:
    model, triples = make(kind).eval(), _triples()
    heads, relations, tails = triples.unbind(1)
    pool, own = torch.tensor([3, 0, 13]), torch.randint(14, (6, 4))
    with torch.no_grad():
        whole = model.score_hrt(triples)
        assert whole.shape == (6, 1)
        questions = {
            "t": (model.score_t, triples[:, :2], tails, "tails", 14),
            "h": (model.score_h, triples[:, 1:], heads, "heads", 14),
            "r": (model.score_r, triples[:, [0, 2]], relations, "relations", 110),
        }
        for score, batch, answers, name, count in questions.values():
            every = score(batch)
            assert every.shape == (6, count)
            close = torch.testing.assert_close
            close(every.gather(1, answers[:, None]), whole)
            close(score(batch, slice_size=4), every)
            close(score(batch, **{name: pool}), every[:, pool])
            close(score(batch, **{name: own}), every.gather(1, own))
            close(score(batch, slice_size=3, **{name: own}), every.gather(1, own))
        with pytest.raises(ValueError, match="no inductive mode, got 'training'"):
            model.score_hrt(triples, mode="training")


def test_the_query_of_hasa_is_the_last_state_of_a_recurrent_unit(make: Any, graph: Any) -> None:
    """Against the equations of the unit, from single texts that are projected by hand."""
    model, triples = make("bert").double().eval(), _triples()
    entities, relations = graph_sentences(graph.training, None, None)
    encoder = model.entity_vectors.source.model
    linear, norm, _ = model.projection
    wx, wh, bx, bh = (getattr(model.gru, f"{name}_l0") for name in _GRU)

    def vector(text: str) -> torch.Tensor:
        inputs = encoder.tokenizer([text], return_tensors="pt", truncation=True, max_length=30)
        row = linear(encoder.encoder(**inputs).pooler_output[0])
        row = (row - row.mean()) / (row.var(correction=0) + norm.eps).sqrt()
        return row * norm.weight + norm.bias

    with torch.no_grad():
        for (h, r, t), score in zip(triples.tolist(), model.score_hrt(triples), strict=True):
            state = torch.zeros(12, dtype=torch.float64)
            for x in (vector(entities[h]), vector(relations[r])):
                a, b = (wx @ x + bx).chunk(3), (wh @ state + bh).chunk(3)
                reset, update = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
                new = torch.tanh(a[2] + reset * b[2])
                state = (1 - update) * new + update * state
            torch.testing.assert_close(score[0], state @ vector(entities[t]))


_GRU = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def test_simkgc_is_the_cosine_of_two_towers_over_a_temperature(make: Any, graph: Any) -> None:
    model, triples = make("simkgc", tau=0.1).double().eval(), _triples()
    entities, relations = graph_sentences(graph.training, None, None)
    tail_tower = model.entity_vectors.source.model
    with torch.no_grad():
        for one in model.query_tower.parameters():
            one.mul_(1.1)  # the towers part in training
        model.log_scale.add_(0.5)
        for (h, r, t), score in zip(triples.tolist(), model.score_hrt(triples), strict=True):
            tokens = tail_tower.tokenizer
            asked = tokens([entities[h]], [relations[r]], return_tensors="pt")
            query = model.query_tower.encoder(**asked).last_hidden_state[0].mean(0)
            answer = tail_tower.encoder(**tokens([entities[t]], return_tensors="pt"))
            cosine = F.cosine_similarity(query, answer.last_hidden_state[0].mean(0), dim=0)
            torch.testing.assert_close(score[0], cosine / 0.1 * math.exp(0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_queries_and_keys_are_the_models_and_so_are_ranks(make: Any, kind: str, graph: Any) -> None:
    model, test = make(kind).double().eval(), graph.testing.mapped_triples[:20]
    vectors, reason = query_key_model(model)
    assert vectors is not None, reason
    with torch.no_grad():
        for side in ("head", "tail"):
            scores = vectors.queries(test, side) @ vectors.keys(side).T
            torch.testing.assert_close(scores, model.predict(test, side))
    options = {"additional_filter_triples": [graph.training.mapped_triples], "use_tqdm": False}
    ours = kge.FusedRankBasedEvaluator()
    found = ours.evaluate(model, test, **options).to_flat_dict()
    theirs = RankBasedEvaluator().evaluate(model, test, **options).to_flat_dict()
    assert "compares queries and keys by itself" in ours.path
    assert found[MRR] == pytest.approx(theirs[MRR], abs=1e-9)


@pytest.mark.parametrize("kind", ["bert", "simkgc"])
def test_entities_are_read_once_for_an_evaluation(make: Any, kind: str, graph: Any) -> None:
    model = make(kind)
    read = []
    source = model.entity_vectors.source
    source.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))

    def evaluate() -> int:
        read.clear()
        kge.FusedRankBasedEvaluator().evaluate(model, graph.testing.mapped_triples, use_tqdm=False)
        assert max(read, default=0) <= 5  # a chunk
        return sum(read)

    first = evaluate()
    assert 14 <= first <= 3 * 14  # all answers, and perhaps the heads of queries before them
    assert evaluate() == 0
    with torch.no_grad():
        next(source.parameters()).mul_(1.5)  # as an optimiser would
    with torch.no_grad():
        kept = model.entity_vectors(None)
        assert torch.equal(kept, model.entity_vectors(torch.arange(14)))
    model.post_parameter_update()
    assert evaluate() >= 14
    model.train()
    read.clear()
    model.score_t(torch.tensor([[0, 0]]))
    assert sum(read) >= 14  # with gradients, nothing is kept
    assert model.entity_vectors(None).requires_grad


def test_a_change_of_weights_is_noticed_without_a_call(make: Any) -> None:
    model = make("tfidf").eval()
    with torch.no_grad():
        before = model.entity_vectors(None)
        assert model.entity_vectors(None) is before
        model.load_state_dict({k: 2 * v for k, v in model.state_dict().items()})
        after = model.entity_vectors(None)
        fresh = model.projection(model.entity_vectors.source.vectors)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, fresh)


def test_texts_are_tokenised_once(make: Any, graph: Any, few: Any) -> None:
    model = make("simkgc")
    for tower in (model.query_tower, model.entity_vectors.source.model):
        tower.tokenizer = None  # any further use fails
    loop = InBatchTrainingLoop(model=model, triples_factory=few, pool=0)
    loop.train(few, num_epochs=1, batch_size=1024, use_tqdm=False, pin_memory=False)
    assert (
        kge.FusedRankBasedEvaluator()
        .evaluate(model, graph.testing.mapped_triples[:20], use_tqdm=False)
        .get_metric(MRR)
    )


@pytest.mark.parametrize("kind", ["bert", "simkgc"])
def test_in_batch_training_trains_the_encoder(make: Any, kind: str, few: Any) -> None:
    model = make(kind)
    before = {name: one.clone() for name, one in model.named_parameters()}
    loop = InBatchTrainingLoop(model=model, triples_factory=few, pool="all", margin=0.02)
    loader = loop._create_training_data_loader(few, batch_size=67, drop_last=False)
    batch = loader.collate_fn(few.mapped_triples)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = loop._process_batch(batch, 0, 67)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    still = {name for name, one in model.named_parameters() if torch.equal(one, before[name])}
    # SimKGC takes the mean of tokens, so that the encoders' own poolers have nothing to learn.
    assert {name for name in still if "pooler" not in name} == set()
    assert bool(still) == (kind == "simkgc")


def test_the_margin_of_simkgc_is_subtracted_from_the_cosine(make: Any, graph: Any) -> None:
    """The loss of the paper by dense masks, one direction at a time, for tails and heads."""
    model = make("simkgc", tau=0.1).double()
    triples = graph.training.mapped_triples[:12]
    loop = InBatchTrainingLoop(model=model, triples_factory=graph.training, pool=0, margin=0.3)
    loader = loop._create_training_data_loader(graph.training, batch_size=12, drop_last=False)
    batch = loader.collate_fn(triples)
    found = loop._process_batch(batch, 0, 12)
    known = {tuple(one) for one in graph.training.mapped_triples.tolist()}
    expected = []
    for h, r, t in triples.tolist():
        for asked, answer, column in (((h, 2 * r), t, 2), ((t, 2 * r + 1), h, 0)):
            cosines = model.score_t(torch.tensor([asked]))[0] * 0.1
            others = [
                e
                for e in triples[:, column].unique().tolist()
                if ((h, r, e) if column == 2 else (e, r, t)) not in known
            ]
            logits = torch.cat([cosines[answer : answer + 1] - 0.3, cosines[others]]) / 0.1
            expected.append(-logits.log_softmax(0)[0])
    torch.testing.assert_close(found, torch.stack(expected).mean())
    found.backward()
    assert model.log_scale.grad.abs() > 0


@pytest.mark.parametrize("kind", ["bert", "simkgc"])
def test_hard_negatives_of_hasa_train_the_encoder(make: Any, kind: str, few: Any) -> None:
    from pykeen.training import SLCWATrainingLoop

    model = make(kind, dropout=0.1, loss="hasa")
    start = {name: one.clone() for name, one in model.named_parameters()}
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=few,
        automatic_memory_optimization=False,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.003),
        negative_sampler="hasa",
        negative_sampler_kwargs={"num_negs_per_pos": 4, "sides": "tail"},
    )
    losses = loop.train(
        few,
        num_epochs=2,
        batch_size=67,
        callbacks="bindmodel",
        use_tqdm=False,
        pin_memory=False,
    )
    assert losses is not None
    assert all(map(math.isfinite, losses))
    assert all(module.training for module in model.modules())  # mining leaves dropout on
    moved = {name for name, one in model.named_parameters() if not torch.equal(one, start[name])}
    assert any("encoder" in name for name in moved)


def test_pipeline_by_name_learns(graph: Any) -> None:
    def mrr(epochs: int) -> float:
        result = pipeline(
            dataset=graph,
            model="hasatext",
            model_kwargs={"dim": 16},
            training_loop="inbatch",
            training_loop_kwargs={"pool": "all", "automatic_memory_optimization": False},
            optimizer_kwargs={"lr": 0.01},
            training_kwargs={"num_epochs": epochs, "use_tqdm": False, "pin_memory": False},
            evaluator="fusedrankbased",
            random_seed=0,
            device="cpu",
        )
        return float(result.get_metric(MRR))

    assert mrr(5) > mrr(1) + 0.05
    assert model_resolver.lookup("simkgc") is SimKGC


def test_ready_vectors_do_not_learn_and_an_encoder_can_be_frozen(make: Any, graph: Any) -> None:
    model = make("vectors")
    assert model.relation_vectors.source.weight.requires_grad
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert names == {"projection", "gru", "relation_vectors"}
    trained = make("bert", pooling="mean")
    frozen = make("bert", pooling="mean", frozen=True)
    assert not any("encoder" in name for name, _ in frozen.named_parameters())
    with torch.no_grad():
        vectors = trained.entity_vectors.source(torch.arange(14))
    torch.testing.assert_close(frozen.entity_vectors.source.vectors, F.normalize(vectors, dim=1))
    same = make("vectors", encoder=kge.TextEncoder(np.ones((14, 3))))
    assert same.entity_vectors.source.width == 3
    other = make("tfidf", encoder=kge.TextEncoder("tfidf", dim=4))
    assert other.relation_vectors.source.vectors.shape == (110, 4)


def test_resetting_leaves_the_language_model(make: Any) -> None:
    model = make("bert")
    before = {name: one.clone() for name, one in model.named_parameters()}
    torch.manual_seed(5)
    model.reset_parameters_()
    changed = {name for name, one in model.named_parameters() if not torch.equal(one, before[name])}
    assert changed == {
        "projection.0.weight",
        "projection.0.bias",
        *(f"gru.{name}_l0" for name in _GRU),
    }
    towers = make("simkgc", tau=0.2)
    with torch.no_grad():
        towers.log_scale.zero_()
    assert towers.reset_parameters_().score_scale.item() == pytest.approx(5)


def test_weights_come_back(make: Any) -> None:
    for kind in KINDS:
        model, other = make(kind).eval(), make(kind, random_seed=7).eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            assert torch.equal(model.score_hrt(_triples()), other.score_hrt(_triples()))


def test_mistakes_are_named(make: Any, graph: Any) -> None:
    plain = load_dataset("nations", "/nonexistent").training
    with pytest.raises(ValueError, match="create_inverse_triples=True"):
        make("tfidf", triples_factory=plain)
    with pytest.raises(ValueError, match="vectors of 3 entities, but there are 14"):
        HaSaText(triples_factory=graph.training, encoder=np.ones((3, 2)))
    for encoder in ("tfidf", np.ones((14, 2))):
        with pytest.raises(ValueError, match="for ready vectors use the model 'hasatext'"):
            SimKGC(triples_factory=graph.training, encoder=encoder)
    with pytest.raises(ValueError, match="tau must be positive and finite, got 0"):
        make("simkgc", tau=0)
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        make("tfidf", dim=0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        make("tfidf", chunk=0)
    with pytest.raises(ValueError, match="without a tokenizer"):
        SimKGC(triples_factory=graph.training, encoder=torch.nn.Linear(1, 1))
