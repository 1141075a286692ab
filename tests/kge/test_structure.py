import networkx as nx
import numpy as np
import pytest
import torch
from pykeen.datasets import UMLS, Nations

from graphcl.ranking import KnownTriples
from kge.relation_evidence import RelationEvidence
from kge.structure import StructureIndex
from kge.walk_graph import WalkGraph


def _random_triples(seed, entities=40, relations=4, count=70):
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor([entities, relations, entities])
    return (torch.rand(count, 3, generator=generator) * high).long()


def _networkx(triples, entities):
    graph = nx.Graph()
    graph.add_nodes_from(range(entities))
    graph.add_edges_from((h, t) for h, _, t in triples.tolist() if h != t)
    return graph


def _row(balls, i):
    part = slice(int(balls.ptr[i]), int(balls.ptr[i + 1]))
    return dict(zip(balls.ids[part].tolist(), balls.distance[part].tolist(), strict=True))


@pytest.mark.parametrize("hops", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.spec(25)
def test_balls_equal_breadth_first_search(hops, seed):
    triples = _random_triples(seed)
    graph = _networkx(triples, 40)
    index = StructureIndex(triples, num_entities=40, hops=hops)
    asked = torch.tensor([3, 3, 0, 39, 17])
    balls = index.balls(asked)
    for i, entity in enumerate(asked.tolist()):
        expected = nx.single_source_shortest_path_length(graph, entity, cutoff=hops)
        expected.pop(entity)
        assert _row(balls, i) == expected
        assert list(_row(balls, i)) == sorted(expected)
    again = index.balls(torch.arange(40))  # some kept, some new
    for entity in range(40):
        expected = nx.single_source_shortest_path_length(graph, entity, cutoff=hops)
        expected.pop(entity)
        assert _row(again, entity) == expected


@pytest.mark.parametrize("hops", [1, 2, 3, 4, 7])
def test_distances_equal_shortest_paths(hops):
    triples = _random_triples(3, count=50)
    lengths = dict(nx.all_pairs_shortest_path_length(_networkx(triples, 40)))
    pairs = torch.cartesian_prod(torch.arange(40), torch.arange(40))
    found = StructureIndex(triples, num_entities=40).distances(pairs[:, 0], pairs[:, 1], hops)
    for (a, b), distance in zip(pairs.tolist(), found.tolist(), strict=True):
        length = lengths[a].get(b, 99)
        assert distance == (length if length <= hops else -1)


def test_more_than_255_paths_are_not_zero():
    middle = torch.arange(1, 257)
    ends = torch.zeros(256, dtype=torch.int64)
    triples = torch.cat(
        (torch.stack((ends, ends, middle), 1), torch.stack((middle, ends, ends + 257), 1))
    )
    index = StructureIndex(triples)
    assert _row(index.balls(torch.tensor([0])), 0)[257] == 2
    assert index.distances(torch.tensor([0]), torch.tensor([257])).tolist() == [2]


def test_walks_do_not_pass_through_hubs_but_may_begin_and_end_there():
    # 0 is a hub of 1..5; 6 hangs on 1.
    triples = torch.tensor([[0, 0, i] for i in range(1, 6)] + [[1, 0, 6]])
    index = StructureIndex(triples, hops=3, max_degree=4)
    assert _row(index.balls(torch.tensor([2])), 0) == {0: 1}
    assert _row(index.balls(torch.tensor([6])), 0) == {1: 1, 0: 2}
    assert _row(index.balls(torch.tensor([0])), 0) == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2}
    sources, targets = torch.tensor([2, 6, 0, 2, 6]), torch.tensor([3, 0, 6, 0, 2])
    assert index.distances(sources, targets).tolist() == [-1, 2, 2, 1, -1]
    free = StructureIndex(triples, hops=3)
    assert free.distances(sources, targets).tolist() == [2, 2, 2, 1, 3]


@pytest.mark.parametrize("side", ["tail", "head"])
@pytest.mark.parametrize("exclude_known", [False, True])
@pytest.mark.parametrize("exclude_distance_1", [False, True])
def test_candidates_equal_their_definition(side, exclude_known, exclude_distance_1):
    triples = _random_triples(5)
    graph = _networkx(triples, 40)
    facts = {tuple(row) for row in triples.tolist()}
    index = StructureIndex(
        triples,
        num_entities=40,
        exclude_known=exclude_known,
        exclude_distance_1=exclude_distance_1,
    )
    found = index.candidates(triples, side)
    every = torch.arange(40).expand(len(triples), 40)
    accepted = index.accepts(triples, side, every)
    for i, (head, relation, tail) in enumerate(triples.tolist()):
        kept, own = (head, tail) if side == "tail" else (tail, head)
        ball = nx.single_source_shortest_path_length(graph, kept, cutoff=2)
        expected = {}
        for entity, distance in ball.items():
            triple = (head, relation, entity) if side == "tail" else (entity, relation, tail)
            if entity in (kept, own) or (exclude_known and triple in facts):
                continue
            if distance > 1 or not exclude_distance_1:
                expected[entity] = distance
        assert _row(found, i) == expected
        assert set(accepted[i].nonzero()[:, 0].tolist()) == set(expected)


def test_large_balls_are_sampled_uniformly_and_alike_in_every_batch():
    star = torch.tensor([[0, 0, i] for i in range(1, 61)])
    counts = torch.zeros(61)
    for seed in range(200):
        index = StructureIndex(star, max_members=12, seed=seed)
        members = index.balls(torch.tensor([0, 5])).ids[:12]
        assert len(set(members.tolist())) == 12
        counts[members] += 1
        if seed < 3:
            whole = StructureIndex(star, max_members=12, seed=seed).balls(torch.arange(61))
            assert torch.equal(whole.ids[:12], members)
    expected = 200 * 12 / 60
    chi2 = ((counts[1:] - expected) ** 2 / (expected * (1 - 12 / 60))).sum()
    assert chi2 < 98.3  # p = 0.001 with 59 degrees of freedom
    # What is sampled away is accepted all the same.
    queries = torch.tensor([[0, 0, 1]])
    open_ = StructureIndex(star, max_members=12, exclude_known=False)
    assert open_.accepts(queries, "tail", torch.arange(2, 61)[None]).all()


def test_cache_holds_what_fits_and_never_changes_the_answer():
    triples = _random_triples(7, entities=60, count=150)
    free = StructureIndex(triples, num_entities=60)
    tight = StructureIndex(triples, num_entities=60, cache_bytes=400)
    none = StructureIndex(triples, num_entities=60, cache_bytes=0)
    none.balls(torch.arange(1))
    empty = none.memory_bytes()
    for seed in range(6):
        asked = torch.randint(60, (25,), generator=torch.Generator().manual_seed(seed))
        for index in (tight, none):
            for ours, theirs in zip(index.balls(asked), free.balls(asked), strict=True):
                assert torch.equal(ours, theirs)
    assert none.memory_bytes() == empty
    assert empty < tight.memory_bytes() <= empty + 400 + 60 * 4


def test_save_and_load(tmp_path):
    triples = _random_triples(9)
    options = {"hops": 3, "exclude_known": False, "max_members": 9, "seed": 4}
    index = StructureIndex(triples, num_entities=45, num_relations=6, **options)
    asked = torch.arange(0, 40, 3)
    before = index.balls(asked)
    path = tmp_path / "index.npz"
    path.write_text("older file")
    index.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["index.npz"]
    loaded = StructureIndex.load(path, triples.flip(0))
    assert repr(loaded) == repr(index)
    assert (loaded.known.num_entities, loaded.known.num_relations) == (45, 6)
    assert len(loaded._store.missing(asked.numpy())) == 0  # nothing is computed again
    for some in (asked, torch.arange(45)):
        for ours, theirs in zip(loaded.balls(some), index.balls(some), strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(before.ids, loaded.balls(torch.arange(0, 40, 3)).ids)
    with pytest.raises(ValueError, match="other triples"):
        StructureIndex.load(path, triples[:-1])


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    index = StructureIndex(_random_triples(9))
    path = tmp_path / "index.npz"
    path.write_text("older file")
    monkeypatch.setattr(np, "savez", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        index.save(path)
    assert path.read_text() == "older file"
    assert len(list(tmp_path.iterdir())) == 1


def test_inverse_triples_change_no_ball():
    triples = _random_triples(11)
    inverse = torch.cat((triples * torch.tensor([1, 2, 1]), triples.flip(1)))
    inverse[len(triples) :, 1] = triples[:, 1] * 2 + 1
    one = StructureIndex(triples, num_entities=40).balls(torch.arange(40))
    two = StructureIndex(inverse, num_entities=40).balls(torch.arange(40))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_loops_and_isolated_entities():
    index = StructureIndex(torch.tensor([[0, 0, 0], [1, 0, 2]]), num_entities=4)
    balls = index.balls(torch.tensor([0, 3, 1]))
    assert balls.ptr.tolist() == [0, 0, 0, 1]
    assert balls.ids.tolist() == [2]
    assert index.balls(torch.empty(0, dtype=torch.int64)).ptr.tolist() == [0]
    assert index.candidates(torch.tensor([[3, 0, 1]]), "tail").ids.tolist() == []


def test_bad_input_is_named():
    triples = torch.tensor([[0, 0, 1]])
    for name in ("hops", "max_degree", "max_members"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            StructureIndex(triples, **{name: 0})
    index = StructureIndex(triples)
    with pytest.raises(ValueError, match="entities 0 to 2"):
        index.balls(torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="shape"):
        index.balls(torch.tensor([[0]]))
    with pytest.raises(ValueError, match="'relation'"):
        index.candidates(triples, "relation")
    with pytest.raises(ValueError, match=r"\(B, 3\)"):
        index.candidates(triples[0], "tail")
    with pytest.raises(ValueError, match="sources"):
        index.distances(torch.tensor([0]), torch.tensor([0, 1]))


def test_work_is_cut_into_parts(monkeypatch):
    triples = _random_triples(13, entities=80, count=200)
    whole = StructureIndex(triples, num_entities=80, hops=3)
    pairs = torch.randint(80, (2, 300))
    expected, distances = whole.balls(torch.arange(80)), whole.distances(*pairs)
    monkeypatch.setattr("kge.walk_graph._WORK", 100)
    parts = StructureIndex(triples, num_entities=80, hops=3)
    assert len(parts.graph.parts(np.arange(80), 3)) > 5
    for ours, theirs in zip(parts.balls(torch.arange(80)), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(parts.distances(*pairs), distances)


def test_evidence_tells_symmetric_from_hierarchical_neighbours():
    # Relation 0 is symmetric (4 pairs, both ways), 1 a tree edge, 2 implies 0.
    pairs = [(0, 1), (2, 3), (4, 5), (6, 7)]
    symmetric = [(a, 0, b) for a, b in pairs] + [(b, 0, a) for a, b in pairs]
    tree = [(8, 1, 9), (9, 1, 10), (8, 1, 11)]
    implied = [(0, 2, 1), (12, 2, 13)]
    only_one_way = [(14, 0, 15)]
    known = KnownTriples(torch.tensor(symmetric + tree + implied + only_one_way))
    evidence = RelationEvidence(known, min_confidence=0.5)
    # Of the 9 pairs that 0 joins, 8 are joined by 0 in reverse.
    assert evidence.confidence[0, 0 + 3] == pytest.approx(8 / 9)
    assert evidence.confidence[0, 2] == pytest.approx(1 / 2)
    assert evidence.confidence[1].tolist() == [0, 1, 0, 0, 0, 0]
    near = torch.tensor([[15, 0, 14], [9, 1, 8], [12, 0, 13], [13, 0, 12]])
    one = torch.ones(4, dtype=torch.int64)
    assert evidence.speaks_for(near, "tail", one).tolist() == [True, False, True, True]
    assert evidence.speaks_for(near, "head", one).tolist() == [True, False, True, True]
    strict = RelationEvidence(known, min_confidence=0.6)
    assert strict.speaks_for(near, "tail", one).tolist() == [True, False, False, False]
    far = torch.tensor([[11, 1, 10], [10, 1, 8], [0, 0, 14]])
    # 10 is a tail of relation 1, 8 only a head; 14 only a head of relation 0.
    assert evidence.speaks_for(far, "tail", one[:3] * 2).tolist() == [True, False, False]
    assert evidence.speaks_for(far, "head", one[:3] * 2).tolist() == [False, False, True]
    index = StructureIndex(known.triples, relation_aware=True)
    assert index.candidates(torch.tensor([[9, 1, 10]]), "tail").ids.tolist() == [11]
    with pytest.raises(ValueError, match="min_confidence"):
        RelationEvidence(known, 0.0)


def test_estimate_is_an_upper_bound_and_fits_a_large_graph():
    triples = _random_triples(15, entities=300, count=900)
    index = StructureIndex(triples, num_entities=300)
    index.balls(torch.arange(0))
    index.distances(torch.arange(300), torch.arange(300).flip(0))
    index.candidates(triples[:0], "tail")
    small = WalkGraph(triples[:, ::2].numpy(), 300)
    assert small.memory_bytes() <= WalkGraph.estimate_bytes(300, 900)
    assert index.memory_bytes() <= StructureIndex.estimate_bytes(300, 900)
    assert StructureIndex.estimate_bytes(2_500_604, 16_109_182) < 232e6  # ogbl-wikikg2


@pytest.mark.real_data
def test_wn18rr_balls_and_the_share_of_hidden_answers_in_them(data_root):
    entities, relations, splits = {}, {}, []
    for split in ("train", "valid", "test"):
        lines = (data_root / "KG" / "WN18RR" / f"{split}.txt").read_text("utf-8").splitlines()
        rows = [line.split("\t") for line in lines]
        splits.append(
            [
                (
                    entities.setdefault(h, len(entities)),
                    relations.setdefault(r, len(relations)),
                    entities.setdefault(t, len(entities)),
                )
                for h, r, t in rows
            ]
        )
    train, held_out = torch.tensor(splits[0]), torch.tensor(splits[1] + splits[2])
    assert (len(train), len(held_out), len(entities)) == (86835, 6168, 40943)
    index = StructureIndex(train, num_entities=len(entities), num_relations=11)
    size = index.balls(held_out[:, 0]).ptr.diff().double()
    assert size.mean() == pytest.approx(57.0, abs=1.0)
    assert size.median() == pytest.approx(20, abs=2)
    distance = index.distances(held_out[:, 0], held_out[:, 2], 5)
    # The specification's shares are of a sample of 3000 of these pairs.
    for hops, share in ((1, 0.353), (2, 0.439), (3, 0.653), (4, 0.738), (5, 0.825)):
        within = ((distance > 0) & (distance <= hops)).double().mean()
        assert within == pytest.approx(share, abs=0.02)
    assert int((distance == 1).sum()) == 2172
    # Relation-awareness keeps most of the answers and drops more than half of the rest.
    aware = StructureIndex(train, known=index.known, relation_aware=True)
    asked = held_out.clone()
    asked[:, 2] = asked[:, 0]
    kept = aware.accepts(asked, "tail", held_out[:, 2:])[:, 0]
    plain = index.accepts(asked, "tail", held_out[:, 2:])[:, 0]
    assert kept.sum() > 0.9 * plain.sum()
    sizes = [i.candidates(held_out, "tail").ptr[-1].item() for i in (aware, index)]
    assert sizes[0] < 0.5 * sizes[1]


@pytest.mark.parametrize("graph", [Nations, UMLS])
@pytest.mark.spec(25)
def test_balls_of_real_graphs_equal_breadth_first_search(graph):
    """Spec 25: on Nations and UMLS too."""
    training = graph().training
    triples, entities = training.mapped_triples, training.num_entities
    walks = _networkx(triples, entities)
    balls = StructureIndex(triples, num_entities=entities, hops=2).balls(torch.arange(entities))
    for entity in range(entities):
        expected = nx.single_source_shortest_path_length(walks, entity, cutoff=2)
        expected.pop(entity)
        assert _row(balls, entity) == expected
