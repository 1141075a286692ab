import pytest
import torch

from graphcl.ranking import KnownTriples
from kge.sampling.filtering import (
    balanced_columns,
    batch_generator,
    corrupt,
    forbidden,
    known_triples,
    redraw_known,
)
from kge.sides import HEAD, TAIL


def _graph(seed, entities=12, relations=3, count=60):
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor([entities, relations, entities])
    triples = (torch.rand(count, 3, generator=generator) * high).long()
    return triples, KnownTriples(triples, num_entities=entities, num_relations=relations)


def _uniform(entities, generator):
    return lambda row, slot: torch.randint(entities, row.shape, generator=generator)


@pytest.mark.parametrize("exclude_kept", [False, True])
def test_forbidden_equals_a_set_of_tuples(exclude_kept):
    triples, known = _graph(0)
    positives = triples[:7]
    ids = torch.randint(12, (7, 9))
    columns = balanced_columns(7, 9, torch.Generator().manual_seed(1))
    mask = forbidden(ids, positives, columns, known, exclude_kept=exclude_kept)
    facts = {tuple(row) for row in triples.tolist()}
    for i in range(7):
        for j in range(9):
            head, relation, tail = positives[i].tolist()
            entity, column = int(ids[i, j]), int(columns[i, j])
            triple = (entity, relation, tail) if column == HEAD else (head, relation, entity)
            bad = triple in facts or entity == (head if column == HEAD else tail)
            if exclude_kept:
                bad = bad or entity == (tail if column == HEAD else head)
            assert bool(mask[i, j]) == bad


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("exclude_kept", [False, True])
def test_no_forbidden_triple_is_left_and_allowed_ones_stay(rounds, exclude_kept):
    triples, known = _graph(2)
    positives = triples.repeat(4, 1)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(12, (len(positives), 10), generator=generator)
    before = ids.clone()
    columns = balanced_columns(len(positives), 10, generator)
    drawn = redraw_known(
        ids,
        positives,
        columns,
        known,
        draw=_uniform(12, generator),
        generator=generator,
        rounds=rounds,
        exclude_kept=exclude_kept,
    )
    assert torch.equal(ids, before)
    bad = forbidden(before, positives, columns, known, exclude_kept=exclude_kept)
    assert bad.any()
    assert torch.equal(drawn.rejected, bad)
    assert torch.equal(drawn.ids[~bad], before[~bad])
    assert drawn.valid.all()
    left = forbidden(drawn.ids, positives, columns, known, exclude_kept=exclude_kept)
    assert not left.any()
    negatives = corrupt(positives, drawn.ids, columns)
    assert not known.contains(negatives).any()
    assert torch.equal(negatives[..., 1], positives[:, None, 1].expand(-1, 10))
    assert ((negatives != positives[:, None]).sum(-1) == 1).all()


def test_stubborn_draw_falls_back_to_uniform_over_exactly_what_is_allowed():
    # (0, 0, ?) knows 1, 3 and 5 of 8 entities; the draw insists on 3.
    known = KnownTriples(torch.tensor([[0, 0, 1], [0, 0, 3], [0, 0, 5], [2, 0, 1]]), num_entities=8)
    positives = torch.tensor([[0, 0, 1]]).expand(400, 3)
    drawn = redraw_known(
        torch.full((400, 20), 3),
        positives,
        torch.tensor([TAIL]).expand(20),
        known,
        draw=lambda row, slot: torch.full_like(row, 3),
        generator=torch.Generator().manual_seed(0),
    )
    counts = torch.bincount(drawn.ids.flatten(), minlength=8)
    assert counts[[1, 3, 5]].tolist() == [0, 0, 0]
    expected = 8000 / 5
    chi2 = ((counts[[0, 2, 4, 6, 7]] - expected) ** 2 / expected).sum()
    assert chi2 < 18.5  # p = 0.001 with 4 degrees of freedom


def test_uniform_fallback_reaches_the_first_and_last_entity():
    known = KnownTriples(torch.tensor([[1, 0, 1], [1, 0, 2], [1, 0, 3]]), num_entities=5)
    drawn = redraw_known(
        torch.full((1, 50), 2),
        torch.tensor([[1, 0, 2]]),
        torch.full((50,), TAIL),
        known,
        draw=_uniform(1, None),
        generator=torch.Generator().manual_seed(0),
        rounds=0,
    )
    assert set(drawn.ids.flatten().tolist()) == {0, 4}


def test_a_query_that_everything_answers_is_marked():
    known = KnownTriples(torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2]]), num_entities=3)
    generator = torch.Generator().manual_seed(0)
    drawn = redraw_known(
        torch.tensor([[0, 1], [1, 2]]),
        torch.tensor([[0, 0, 1], [0, 0, 2]]),
        torch.tensor([TAIL, HEAD]),
        known,
        draw=_uniform(3, generator),
        generator=generator,
    )
    assert drawn.valid.tolist() == [[False, True], [False, True]]
    assert (drawn.ids[:, 0] != torch.tensor([1, 2])).all()


def test_draw_gets_the_places_of_the_slots():
    known = KnownTriples(torch.tensor([[0, 0, 1], [1, 0, 2]]), num_entities=9)
    asked = []

    def draw(row, slot):
        asked.append(torch.stack((row, slot), 1).tolist())
        return torch.full_like(row, 8)

    drawn = redraw_known(
        torch.tensor([[4, 1], [2, 5]]),
        torch.tensor([[0, 0, 1], [1, 0, 2]]),
        torch.tensor([TAIL, TAIL]),
        known,
        draw=draw,
        generator=torch.Generator(),
    )
    assert asked == [[[0, 1], [1, 0]]]
    assert drawn.ids.tolist() == [[4, 8], [8, 5]]


def test_same_seed_same_result_and_empty_batches():
    triples, known = _graph(5)
    results = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(7)
        ids = torch.randint(12, (60, 5), generator=generator)
        columns = balanced_columns(60, 5, generator)
        draw = _uniform(12, generator)
        results.append(redraw_known(ids, triples, columns, known, draw=draw, generator=generator))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    empty = redraw_known(ids[:0], triples[:0], columns[:0], known, draw=draw, generator=generator)
    assert empty.ids.shape == (0, 5)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_columns_are_balanced_in_every_row(count):
    columns = balanced_columns(50, count, torch.Generator().manual_seed(0))
    heads = (columns == HEAD).sum(1)
    tails = (columns == TAIL).sum(1)
    assert (heads + tails == count).all()
    assert ((heads - tails).abs() <= 1).all()
    if count % 2:
        assert (heads > tails).any()
        assert (heads < tails).any()
    else:
        assert (columns[:, ::2] == TAIL).all()


def test_batch_generator_follows_the_global_seed_only():
    torch.manual_seed(3)
    first = torch.rand(2, generator=batch_generator()), torch.rand(2, generator=batch_generator())
    torch.manual_seed(3)
    second = torch.rand(2, generator=batch_generator()), torch.rand(2, generator=batch_generator())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1])


def test_known_triples_are_built_once_per_content():
    triples = torch.tensor([[0, 0, 1], [1, 0, 2]])
    first = known_triples(triples, 4, 2)
    assert known_triples(triples.clone(), 4, 2) is first
    assert known_triples(triples, 5, 2) is not first
    assert known_triples(triples.flip(0), 4, 2) is not first
    assert (first.num_entities, first.num_relations) == (4, 2)


def test_bad_input_is_named():
    known = KnownTriples(torch.tensor([[0, 0, 1]]))
    positives = torch.tensor([[0, 0, 1]])
    with pytest.raises(ValueError, match=r"\(B, N\)"):
        forbidden(torch.tensor([1]), positives, torch.tensor([TAIL]), known)
    with pytest.raises(ValueError, match="columns must have shape"):
        forbidden(torch.tensor([[1]]), positives, torch.tensor([TAIL, TAIL]), known)
    with pytest.raises(ValueError, match="replace the head"):
        forbidden(torch.tensor([[1]]), positives, torch.tensor([1]), known)
