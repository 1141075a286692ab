"""Known triples against Python sets."""

import itertools

import pytest
import torch

from graphcl.ranking.known import KnownTriples


def random_triples(n, entities, relations, seed=0):
    g = torch.Generator().manual_seed(seed)
    high = torch.tensor([entities, relations, entities])
    return (torch.rand(n, 3, generator=g) * high).long()


@pytest.mark.parametrize(("n", "entities", "relations"), [(1, 1, 1), (7, 3, 2), (400, 12, 5)])
def test_equals_python_sets(n, entities, relations):
    triples = random_triples(n, entities, relations)
    known = KnownTriples(triples, num_entities=entities, num_relations=relations)
    facts = {tuple(t) for t in triples.tolist()}
    assert len(known) == len(facts)
    assert known.triples.tolist() == sorted(map(list, facts))

    grid = torch.cartesian_prod(
        torch.arange(-1, entities + 1),
        torch.arange(-1, relations + 1),
        torch.arange(-1, entities + 1),
    )
    expected = [tuple(t) in facts for t in grid.tolist()]
    assert known.contains(grid).tolist() == expected
    assert known.contains(grid.view(entities + 2, -1, 3)).flatten().tolist() == expected
    assert known.contains(grid.int()).tolist() == expected

    def lists(answers):
        ptr = answers.ptr.tolist()
        return [answers.ids[a:b].tolist() for a, b in itertools.pairwise(ptr)]

    h, r, t = grid.unbind(1)
    for got, fixed, wanted in (
        (known.tails(h, r), (0, 1), 2),
        (known.heads(r, t), (1, 2), 0),
        (known.relations(h, t), (0, 2), 1),
    ):
        answers = {}
        for fact in sorted(facts):
            answers.setdefault(tuple(fact[c] for c in fixed), []).append(fact[wanted])
        asked = [tuple(row[c] for c in fixed) for row in grid.tolist()]
        assert lists(got) == [answers.get(pair, []) for pair in asked]


def test_empty_and_absent():
    known = KnownTriples(torch.empty(0, 3, dtype=torch.int64))
    assert len(known) == 0
    assert known.contains(torch.tensor([[0, 0, 0]])).tolist() == [False]
    ptr, ids = known.tails(torch.tensor([0, 3]), torch.tensor([0, 0]))
    assert ptr.tolist() == [0, 0, 0]
    assert ids.numel() == 0
    some = KnownTriples(torch.tensor([[1, 2, 3]]))
    assert some.heads(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)).ptr.eq(
        0
    )


def test_ids_near_two_to_the_31():
    big = 2**31 - 1
    triples = torch.tensor([[big, 0, big], [big, 534, 0], [0, 534, big], [big, 534, big]])
    known = KnownTriples(triples)
    assert known.contains(triples).all()
    assert not known.contains(torch.tensor([[big, 0, 0], [0, 0, big], [big + 1, 0, big]])).any()
    assert not known.contains(torch.tensor([[2**62, 0, 1], [1, 2**62, 1], [1, 1, 2**62]])).any()
    assert known.tails(torch.tensor([big]), torch.tensor([534])).ids.tolist() == [0, big]
    assert known.heads(torch.tensor([534]), torch.tensor([big])).ids.tolist() == [0, big]
    assert known.relations(torch.tensor([big]), torch.tensor([big])).ids.tolist() == [0, 534]
    with pytest.raises(ValueError, match="too many for int64"):
        KnownTriples(torch.tensor([[2**40, 0, 1]]))


def test_union():
    parts = [random_triples(50, 9, 3, seed) for seed in range(3)]
    together = KnownTriples(parts[0], num_entities=20).union(*map(KnownTriples, parts[1:]))
    assert torch.equal(together.triples, KnownTriples(torch.cat(parts)).triples)
    assert together.num_entities == 20
    assert "relations" in repr(together)
    assert together.to("cpu") is together


def test_exclusions_keep_the_target():
    triples = random_triples(200, 10, 4)
    known = KnownTriples(triples)
    facts = {tuple(t) for t in triples.tolist()}
    h, r, t = triples[:30].unbind(1)
    for exclude, keep, size in (
        (known.exclude_tails(h, r, keep=t), t, 10),
        (known.exclude_heads(r, t, keep=h), h, 10),
        (known.exclude_relations(h, t, keep=r), r, 4),
    ):
        dense = exclude.dense(30, size)
        assert not dense[torch.arange(30), keep].any()
    dense = known.exclude_tails(h, r, keep=t).dense(30, 10)
    for i, (a, b, c) in enumerate(triples[:30].tolist()):
        assert dense[i].tolist() == [(a, b, x) in facts and x != c for x in range(10)]
    dense = known.exclude_tails(h, r).dense(30, 10)
    assert dense[torch.arange(30), t].all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KnownTriples(torch.zeros(4, 2, dtype=torch.int64)), r"\(4, 2\)"),
        (lambda: KnownTriples(torch.zeros(4, 3)), "float32"),
        (lambda: KnownTriples(torch.tensor([[0, -1, 0]])), "relation -1"),
        (lambda: KnownTriples(torch.tensor([[0, 0, 7]]), num_entities=7), "entity 7"),
        (lambda: KnownTriples(torch.tensor([[0, 3, 1]]), num_relations=3), "relation 3"),
        (
            lambda: KnownTriples(torch.tensor([[0, 3, 1]])).tails(torch.zeros(2), torch.zeros(2)),
            "float32",
        ),
        (lambda: KnownTriples(torch.tensor([[0, 3, 1]])).contains(torch.zeros(3, 2).long()), "3"),
        (
            lambda: KnownTriples(torch.tensor([[0, 3, 1]])).exclude_tails(
                torch.tensor([0]), torch.tensor([3]), keep=torch.tensor([1, 1])
            ),
            "keep",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
