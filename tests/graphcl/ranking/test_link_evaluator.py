"""The evaluator against nested loops and PyKEEN's evaluator."""

import os

import pytest
import torch

from graphcl.ranking import (
    InconsistentScores,
    KnownTriples,
    LinkPredictionEvaluator,
    NonFiniteScores,
    RankMetrics,
)

SIDES = {"head": 0, "relation": 1, "tail": 2}
ENTITIES, RELATIONS = 23, 4


def some_triples(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 3, generator=g) * torch.tensor([ENTITIES, RELATIONS, ENTITIES])).long()


class Table:
    """A scorer that looks up a table of integers (many ties), and counts its calls."""

    def __init__(self, levels=6, seed=0):
        g = torch.Generator().manual_seed(seed)
        shape = (ENTITIES, RELATIONS, ENTITIES)
        self.values = torch.randint(levels, shape, generator=g).float()
        self.asked = []

    def __call__(self, triples, side, candidates):
        self.asked.append((side, triples.clone(), candidates.clone()))
        full = triples[:, None].repeat(1, len(candidates), 1)
        full[:, :, SIDES[side]] = candidates
        return self.values[tuple(full.unbind(-1))]


def loops(values, triples, side, facts=(), candidates=None):
    """(greater, equal, candidates) of each triple, by nested loops."""
    column, result = SIDES[side], []
    ids = range(values.shape[column]) if candidates is None else candidates
    for triple in triples.tolist():
        true = float(values[tuple(triple)])
        counts = [0, 0, 0]
        for other in ids:
            corrupted = tuple(other if c == column else triple[c] for c in range(3))
            if other == triple[column] or corrupted in facts:
                continue
            score = float(values[corrupted])
            counts[0] += score > true
            counts[1] += score == true
            counts[2] += 1
        result.append(counts)
    return torch.tensor(result)


def counts_of(ranks):
    return torch.stack((ranks.greater, ranks.equal, ranks.candidates), 1)


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(("batch", "chunk"), [(256, 4096), (1, 1), (3, 5), (8, 7), (7, 100)])
def test_equals_nested_loops_for_all_chunks(batch, chunk, filtered):
    table, test, train = Table(), some_triples(40), some_triples(300, seed=1)
    known = KnownTriples(torch.cat((train, test))) if filtered else None
    facts = {tuple(t) for t in torch.cat((train, test)).tolist()} if filtered else ()
    evaluator = LinkPredictionEvaluator(
        table, num_entities=ENTITIES, known=known, batch_size=batch, candidate_chunk=chunk
    )
    before = table.values.clone()
    ranks = evaluator.ranks(test)
    assert torch.equal(table.values, before)
    expected = [loops(table.values, test, side, facts) for side in ("head", "tail")]
    assert torch.equal(counts_of(ranks), torch.cat(expected))
    assert ranks.side.tolist() == [0] * 40 + [2] * 40
    assert ranks.relation.tolist() == test[:, 1].tolist() * 2
    # Memory: no call asks for more than a chunk of scores.
    assert all(len(t) <= batch and len(c) <= max(chunk, 1) for _, t, c in table.asked)


@pytest.mark.parametrize("sides", ["head", "tail", "relation"])
def test_one_side_and_restricted_candidates(sides):
    table, test = Table(), some_triples(30)
    train = some_triples(200, seed=1)
    known, facts = KnownTriples(train), {tuple(t) for t in train.tolist()}
    column = SIDES[sides]
    candidates = torch.unique(test[:, column]).flip(0)
    report = LinkPredictionEvaluator(
        table,
        num_entities=ENTITIES,
        num_relations=RELATIONS,
        known=known,
        sides=sides,
        candidates=candidates,
        candidate_chunk=6,
    ).evaluate(test)
    expected = loops(table.values, test, sides, facts, candidates.tolist())
    assert torch.equal(counts_of(report.ranks), expected)
    assert report.sides == (sides,)
    assert f"{len(candidates)} given of" in str(report)


def test_each_distinct_query_and_candidate_is_scored_once():
    table = Table()
    test = torch.tensor([[h, r, t] for h in (3, 5) for r in (1, 2) for t in range(6)])
    test = test[torch.randperm(24)]
    LinkPredictionEvaluator(
        table, num_entities=ENTITIES, sides="tail", candidate_chunk=15, batch_size=12
    ).ranks(test)
    check = table.asked.pop(1)
    asked = [
        (*query, candidate)
        for _, triples, candidates in table.asked
        for query in triples[:, :2].tolist()
        for candidate in candidates.tolist()
    ]
    assert len(asked) == len(set(asked)) == 4 * ENTITIES
    assert len(check[2]) == 6  # the targets, once more, to check that scores do not change


def test_scores_that_the_scorer_keeps_are_left_alone():
    kept = torch.randn(3, ENTITIES)
    test = torch.tensor([[0, 0, 4], [1, 0, 5], [2, 0, 6]])

    def scorer(triples, side, candidates):
        assert candidates[:3].tolist() == [4, 5, 6]
        return kept[:, : len(candidates)]

    before = kept.clone()
    LinkPredictionEvaluator(scorer, num_entities=ENTITIES, sides="tail").ranks(test)
    assert torch.equal(kept, before)


def test_constant_scorer_is_at_chance():
    test = some_triples(50)
    evaluator = LinkPredictionEvaluator(
        lambda triples, side, candidates: torch.full((len(triples), len(candidates)), 0.3),
        num_entities=ENTITIES,
    )
    report = evaluator.evaluate(test)
    assert (report.ranks.realistic == (ENTITIES + 1) / 2).all()
    assert report["mrr"] == pytest.approx(2 / (ENTITIES + 1))
    assert report["amri"] == 0
    assert report["hits@10"] == 0
    assert report["optimistic.mrr"] == 1


def test_planted_validation_fact_must_be_filtered():
    # 0 --r--> 1 is asked for; the validation fact 0 --r--> 2 scores higher.
    scores = torch.tensor([[0.0, 1.0, 2.0, 0.5]])
    train, valid, test = (
        torch.tensor([[0, 0, 3]]),
        torch.tensor([[0, 0, 2]]),
        torch.tensor([[0, 0, 1]]),
    )

    def score(triples, side, candidates):
        return scores[:, candidates].expand(len(triples), -1)

    def rank(*parts):
        known = KnownTriples(torch.cat(parts))
        options = {"num_entities": 4, "sides": "tail", "known": known}
        return LinkPredictionEvaluator(score, **options).evaluate(test)["mean_rank"]

    assert rank(train, test) == 2
    assert rank(train, valid, test) == 1
    assert rank(train, valid) == 1  # that the target itself is missing does not matter


class Embeddings:
    """TransE- or DistMult-like vectors, offered as queries and keys and as a function."""

    def __init__(self, kind, entities=ENTITIES, relations=RELATIONS, dim=8, bias=False):
        self.score = kind
        self.entity = torch.randn(entities, dim)
        self.entity[entities // 2 :] = self.entity[: entities - entities // 2].clone()
        self.relation = torch.randn(relations, dim)
        self.bias = torch.randn(entities).round() if bias else None

    def queries(self, triples, side):
        h, r, t = triples.unbind(1)
        if self.score == "dot":
            return self.relation[r] * self.entity[h if side == "tail" else t]
        return (
            self.entity[h] + self.relation[r]
            if side == "tail"
            else self.entity[t] - self.relation[r]
        )

    def keys(self, side):
        return self.entity

    def key_bias(self, side):
        return self.bias

    def function(self, triples, side, candidates):
        q, k = self.queries(triples, side).double(), self.entity[candidates].double()
        product, distance = (q[:, None] * k).sum(-1), (q[:, None] - k).abs().sum(-1)
        value = product if self.score == "dot" else -distance
        return value if self.bias is None else value + self.bias[candidates].double()


@pytest.mark.parametrize("kind", ["dot", "l1"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("restricted", [False, True])
def test_queries_and_keys_equal_the_function(kind, bias, restricted):
    model = Embeddings(kind, bias=bias)
    test, train = some_triples(60), some_triples(200, seed=1)
    candidates = torch.unique(test[:, 0::2]) if restricted else None
    options = {
        "num_entities": ENTITIES,
        "known": KnownTriples(torch.cat((train, test))),
        "candidates": candidates,
    }
    fast = LinkPredictionEvaluator(model, **options).ranks(test)
    slow = LinkPredictionEvaluator(model.function, **options, candidate_chunk=9).ranks(test)
    assert torch.equal(counts_of(fast), counts_of(slow))
    assert fast.equal.any()


def test_shards_equal_the_whole():
    table, test = Table(), some_triples(31)
    evaluator = LinkPredictionEvaluator(table, num_entities=ENTITIES, hits=(1, 5))
    whole = evaluator.evaluate(test)
    merged = RankMetrics(hits=(1, 5), protocol=evaluator.protocol)
    for part in test.split(12):
        shard = RankMetrics(hits=(1, 5), protocol=evaluator.protocol)
        shard.update(evaluator.ranks(part))
        merged.merge(shard)
    assert merged.compute().to_dict() == pytest.approx(whole.to_dict())
    for relation, values in merged.compute().by_relation().items():
        assert values == pytest.approx(whole.by_relation()[relation])


@pytest.fixture(scope="module")
def nations(tmp_path_factory):
    os.environ.setdefault("PYSTOW_HOME", str(tmp_path_factory.mktemp("pystow")))
    datasets = pytest.importorskip("pykeen.datasets")
    return datasets.Nations()


@pytest.mark.parametrize("name", ["TransE", "DistMult"])
def test_equals_pykeen(nations, name):
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import model_resolver

    model = model_resolver.make(
        name, triples_factory=nations.training, embedding_dim=6, random_seed=0
    )
    with torch.no_grad():  # coarse embeddings: exact arithmetic and many ties
        for parameter in model.parameters():
            parameter.copy_((parameter * 4).round() / 4)
    test = nations.testing.mapped_triples[:60]
    others = [nations.training.mapped_triples, nations.validation.mapped_triples]
    theirs = RankBasedEvaluator(filtered=True).evaluate(
        model, test, additional_filter_triples=others, use_tqdm=False, batch_size=32
    )

    def score(triples, side, candidates):
        columns = {"head": (1, 2), "tail": (0, 1)}[side]
        scores = {"head": model.score_h, "tail": model.score_t}[side](triples[:, columns])
        return scores[:, candidates]

    # As PyKEEN does: the triples under evaluation and the additional ones.
    known = KnownTriples(torch.cat([test, *others]))
    report = LinkPredictionEvaluator(
        score,
        num_entities=nations.num_entities,
        known=known,
        hits=(1, 3, 5, 10),
        candidate_chunk=6,
        batch_size=6,
    ).evaluate(test)
    assert report.ranks.equal.any()
    compared = 0
    for key, value in report.to_dict().items():
        if "adjusted" not in key or "realistic" in key:
            assert value == pytest.approx(theirs.get_metric(key), rel=1e-6), key
            compared += 1
    assert compared == 3 * 3 * 8 - 3 * 2


def test_nan_and_infinity_name_the_triple():
    table, test = Table(), some_triples(20)
    h, r, _ = test[7].tolist()
    rows = ((test[:, 0] == h) & (test[:, 1] == r)).nonzero()[0]
    for bad in (float("nan"), float("inf"), -float("inf")):
        table.values[h, r, 11] = bad
        evaluator = LinkPredictionEvaluator(
            table, num_entities=ENTITIES, sides="tail", batch_size=4
        )
        with pytest.raises(NonFiniteScores, match=f"triple {rows[0]}, ") as error:
            evaluator.evaluate(test)
        assert error.value.row == int(rows[0])
    model = Embeddings("dot")
    model.relation[2] = float("nan")
    with pytest.raises(NonFiniteScores, match=r"ranking the head of triple") as error:
        LinkPredictionEvaluator(model, num_entities=ENTITIES).evaluate(test)
    assert test[error.value.row, 1] == 2


def test_scorers_that_change_their_mind_are_an_error():
    test = some_triples(10)

    def noisy(triples, side, candidates):
        return torch.rand(len(triples), len(candidates))

    def normalised(triples, side, candidates):
        scores = Table()(triples, side, candidates)
        return scores - scores.mean(1, keepdim=True)

    for scorer in (noisy, normalised):
        with pytest.raises(InconsistentScores, match="gave"):
            LinkPredictionEvaluator(scorer, num_entities=ENTITIES, candidate_chunk=12).evaluate(
                test
            )


def test_integer_and_half_scores_inference_mode_and_progress(capsys):
    table, test = Table(), some_triples(12)
    expected = LinkPredictionEvaluator(table, num_entities=ENTITIES).ranks(test)
    for convert in (torch.Tensor.long, torch.Tensor.bfloat16, torch.Tensor.double):

        def scorer(*query, convert=convert):
            return convert(table(*query))

        with torch.inference_mode():
            evaluator = LinkPredictionEvaluator(scorer, num_entities=ENTITIES, progress=True)
            assert torch.equal(counts_of(evaluator.ranks(test)), counts_of(expected))
    assert "ranked 24 of 24" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "triples", "message"),
    [
        ({"sides": "left"}, [[0, 0, 1]], "left"),
        ({"sides": "relation"}, [[0, 0, 1]], "num_relations"),
        ({"batch_size": 0}, [[0, 0, 1]], "at least 1"),
        ({"known": torch.tensor([[0, 0, 1]])}, [[0, 0, 1]], "known must be KnownTriples, got"),
        ({"known": KnownTriples(torch.tensor([[0, 0, 99]]))}, [[0, 0, 1]], "100 entities"),
        (
            {"known": KnownTriples(torch.tensor([[0, 9, 1]])), "num_relations": 4},
            [[0, 0, 1]],
            "10 relations",
        ),
        ({"candidates": torch.tensor([0, 99])}, [[0, 0, 1]], "99"),
        ({"candidates": torch.tensor([0, 0])}, [[0, 0, 1]], "0 more than once"),
        ({"candidates": torch.tensor([0.0])}, [[0, 0, 1]], "float32"),
        ({"candidates": torch.tensor([0, 1])}, [[0, 0, 1], [0, 0, 5]], "tail 5 of triple 1"),
        ({}, [[0, 0, 1], [0, 0, ENTITIES]], "triple 1"),
        ({"num_relations": 2}, [[0, 2, 1]], "triple 0"),
        ({}, [[0, 0]], r"\(1, 2\)"),
    ],
)
def test_bad_input_is_named(options, triples, message):
    with pytest.raises(ValueError, match=message):
        LinkPredictionEvaluator(Table(), num_entities=ENTITIES, **options).evaluate(
            torch.tensor(triples)
        )


def test_scorers_of_the_wrong_shape_and_no_triples():
    with pytest.raises(ValueError, match=r"must return \(1, 23\)"):
        LinkPredictionEvaluator(
            lambda triples, side, candidates: torch.zeros(len(candidates)), num_entities=ENTITIES
        ).evaluate(torch.tensor([[0, 0, 1]]))
    with pytest.raises(ValueError, match="24 ids"):
        LinkPredictionEvaluator(Embeddings("dot"), num_entities=24).evaluate(
            torch.tensor([[0, 0, 1]])
        )
    evaluator = LinkPredictionEvaluator(Table(), num_entities=ENTITIES)
    none = torch.empty(0, 3, dtype=torch.int64)
    assert len(evaluator.ranks(none)) == 0
    with pytest.raises(ValueError, match="at least one triple"):
        evaluator.evaluate(none)
