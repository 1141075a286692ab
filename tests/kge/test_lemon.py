"""LEMON: what it draws, what it never returns, and that PyKEEN can run it."""

import collections
import inspect

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from kge import LEMONNegativeSampler, TextEncoder
from kge.text import clusters as clusters_module

HEAD, TAIL = 0, 2


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYSTOW_HOME", str(tmp_path / "pystow"))
    monkeypatch.setattr(clusters_module, "_RECENT", type(clusters_module._RECENT)())


def lemon(triples, **kwargs):
    from kge.sampling.lemon import LEMONNegativeSampler

    return LEMONNegativeSampler(mapped_triples=torch.as_tensor(triples), **kwargs)


def random_triples(count=200, entities=40, relations=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 3, generator=generator)
    triples = (drawn * torch.tensor([entities, relations, entities])).long()
    return torch.unique(triples, dim=0)


def random_vectors(entities=40, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(entities, width)).astype(np.float32)


def replaced(positives, negatives):
    """Column and entity of each slot, after checking that one side and nothing else changed."""
    changed = negatives != positives[:, None]
    assert not changed[..., 1].any()
    assert (changed.sum(-1) == 1).all()
    column = torch.where(changed[..., TAIL], TAIL, HEAD)
    return column, negatives.gather(-1, column[..., None])[..., 0]


# -- all samplers


@pytest.mark.parametrize("anchor", ["kept", "replaced"])
@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize("count", [1, 6, 7])
@pytest.mark.spec(16, 19, 20, 21)
def test_one_side_of_each_row_changes_in_equal_shares(anchor, filtered, count):  # spec 16, 21
    triples = random_triples()
    sampler = lemon(
        triples,
        num_entities=40,
        num_negs_per_pos=count,
        embeddings=random_vectors(),
        n_clusters=5,
        anchor=anchor,
        filtered=filtered,
    )
    for batch in (triples[:33], triples[:1]):
        before = batch.clone()
        negatives, mask = sampler.sample(positive_batch=batch)
        assert negatives.shape == (len(batch), count, 3)
        assert negatives.dtype == torch.int64
        assert mask is None
        assert (batch == before).all()
        column, entity = replaced(batch, negatives)
        assert ((entity >= 0) & (entity < 40)).all()
        heads = (column == HEAD).sum(1)
        assert ((2 * heads - count).abs() <= 1).all()
        assert sampler.corrupt_batch(positive_batch=batch).shape == (len(batch), count, 3)


def test_a_single_negative_takes_both_sides_by_chance():
    triples = random_triples()
    sampler = lemon(triples, num_entities=40, embeddings=random_vectors(), n_clusters=4)
    column, _ = replaced(triples, sampler.sample(positive_batch=triples)[0])
    assert 0.3 < (column == HEAD).float().mean() < 0.7


@pytest.mark.parametrize(
    ("scheme", "wanted"), [(("tail",), TAIL), (["head"], HEAD), ("tail", TAIL)]
)
def test_sides_can_be_chosen(scheme, wanted):
    triples = random_triples()
    sampler = lemon(
        triples, num_entities=40, num_negs_per_pos=5, embeddings=random_vectors(), n_clusters=4,
        corruption_scheme=scheme,
    )  # fmt: skip
    column, _ = replaced(triples, sampler.sample(positive_batch=triples)[0])
    assert (column == wanted).all()


def test_no_known_triple_is_ever_kept():  # spec 17
    triples = random_triples(count=900, entities=20, relations=2)
    sampler = lemon(
        triples, num_entities=20, num_negs_per_pos=64, embeddings=random_vectors(20), n_clusters=4,
        n_near=1, anchor="replaced",
    )  # fmt: skip
    known = set(map(tuple, triples.tolist()))
    negatives, mask = sampler.sample(positive_batch=triples)
    kept = negatives.flatten(0, 1) if mask is None else negatives[mask]
    assert len(kept) > 20_000
    assert not known & set(map(tuple, kept.tolist()))
    proposed = sampler.corrupt_batch(positive_batch=triples).flatten(0, 1)
    assert known & set(map(tuple, proposed.tolist()))  # there was something to filter


@pytest.mark.spec(17)
def test_filtering_redistributes_within_the_neighbourhood_and_drops_nothing_else():  # spec 17
    # Cluster of the tail: 0..9, of which 1..4 are known tails; 10..19 are elsewhere.
    triples = torch.tensor([[15, 0, tail] for tail in range(5)])
    sampler = lemon(
        triples, num_entities=20, num_negs_per_pos=500, labels=[0] * 10 + [1] * 10, n_near=1,
        anchor="replaced", corruption_scheme=("tail",), rounds=40,
    )  # fmt: skip
    tails = sampler.sample(positive_batch=triples[:1].repeat(20, 1))[0][..., 2].flatten()
    counts = torch.bincount(tails, minlength=20)
    assert counts.nonzero()[:, 0].tolist() == [5, 6, 7, 8, 9]
    assert chisquare(counts[5:10]).pvalue > 1e-3
    assert sampler.draw_counts.uniform == 0
    rejected = sampler.draw_counts.rejected / sampler.draw_counts.slots
    assert rejected == pytest.approx(4 / 9, abs=0.02)


@pytest.mark.spec(19)
def test_seeds_decide_and_construction_does_not():  # spec 19
    triples = random_triples()
    kwargs = {"num_entities": 40, "num_negs_per_pos": 8, "embeddings": random_vectors()}
    torch.manual_seed(7)
    sampler = lemon(triples, **kwargs)
    first = [sampler.sample(positive_batch=triples)[0] for _ in range(2)]
    torch.manual_seed(7)
    lemon(triples, **kwargs)  # as PyKEEN's size probe does
    sampler = lemon(triples, **kwargs)
    again = [sampler.sample(positive_batch=triples)[0] for _ in range(2)]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != first[1]).any()
    torch.manual_seed(8)
    assert (lemon(triples, **kwargs).sample(positive_batch=triples)[0] != first[0]).any()


@pytest.mark.spec(20)
def test_inverse_triples_and_leading_dimensions():  # spec 20
    triples = random_triples(relations=6)
    sampler = lemon(
        triples, num_entities=40, num_relations=6, num_negs_per_pos=4, embeddings=random_vectors()
    )
    batch = triples[:12].view(3, 4, 3)
    negatives, _ = sampler.sample(positive_batch=batch)
    assert negatives.shape == (3, 4, 4, 3)
    replaced(batch.reshape(12, 3), negatives.reshape(12, 4, 3))
    assert sampler.corrupt_batch(positive_batch=batch).shape == (3, 4, 4, 3)


# -- LEMON


@pytest.mark.parametrize("n_near", [1, 3])
@pytest.mark.parametrize("anchor", ["kept", "replaced"])
@pytest.mark.spec(28)
def test_negatives_lie_in_the_clusters_nearest_to_the_anchor(anchor, n_near):  # spec 28
    triples, vectors = random_triples(count=300), random_vectors()
    sampler = lemon(
        triples, num_entities=40, num_negs_per_pos=30, embeddings=vectors, n_clusters=8,
        n_near=n_near, anchor=anchor, filtered=False, exclude_anchor=False, reduce="none",
    )  # fmt: skip
    clusters = sampler.clusters
    column, entity = replaced(triples, sampler.sample(positive_batch=triples)[0])
    where = column if anchor == "replaced" else TAIL - column
    anchors = triples.gather(1, where)
    distance = np.linalg.norm(vectors[:, None] - clusters.centroids[None], axis=-1)
    nearest = np.argsort(distance, axis=1)[:, :n_near]
    label = clusters.label[entity.numpy()]
    inside = (nearest[anchors.numpy()] == label[..., None]).any(-1)
    # All but the entity that goes; where that was the only one, the draw is uniform.
    members = clusters.sizes[nearest[anchors.numpy()]].sum(-1)
    old = clusters.label[triples.gather(1, column).numpy()]
    members -= (nearest[anchors.numpy()] == old[..., None]).any(-1)
    assert (inside | (members == 0)).all()
    assert sampler.draw_counts.uniform == (members == 0).sum() < inside.size / 10
    if anchor == "kept" and n_near == 1:  # the two anchors do differ
        assert (label != old).mean() > 0.5


@pytest.mark.spec(28)
def test_kept_and_replaced_differ_as_specified():
    # Entities 0..4 and 5..9 are two clusters; the triple joins them.
    labels = [0] * 5 + [1] * 5
    triples = torch.tensor([[0, 0, 9]])
    found = {}
    for anchor in ("kept", "replaced"):
        sampler = lemon(
            triples, num_entities=10, num_negs_per_pos=200, labels=labels, n_near=1, anchor=anchor
        )
        column, entity = replaced(triples, sampler.sample(positive_batch=triples)[0])
        found[anchor] = {
            side: set(entity[column == place].tolist())
            for side, place in (("head", HEAD), ("tail", TAIL))
        }
    # A new tail like the head that stays, but not the head itself; and like the tail that goes.
    assert found["kept"] == {"tail": {1, 2, 3, 4}, "head": {5, 6, 7, 8}}
    assert found["replaced"] == {"tail": {5, 6, 7, 8}, "head": {1, 2, 3, 4}}
    official = lemon(
        triples, num_entities=10, num_negs_per_pos=200, labels=labels, n_near=1, compat="official"
    )
    column, entity = replaced(triples, official.sample(positive_batch=triples)[0])
    assert set(entity[column == TAIL].tolist()) == {0, 1, 2, 3, 4}  # (h, r, h) as released


@pytest.mark.parametrize(("n_clusters", "n_near"), [(1, 1), (12, 12)])
@pytest.mark.spec(29)
def test_one_cluster_or_all_of_them_are_uniform(n_clusters, n_near):  # spec 29
    triples = torch.tensor([[3, 0, 7]])
    sampler = lemon(
        triples, num_entities=12, num_negs_per_pos=24_000, embeddings=random_vectors(12),
        n_clusters=n_clusters, n_near=n_near, filtered=False,
    )  # fmt: skip
    column, entity = replaced(triples, sampler.sample(positive_batch=triples)[0])
    for place in (HEAD, TAIL):
        counts = torch.bincount(entity[column == place], minlength=12)
        assert counts[[3, 7]].sum() == 0  # the entity that goes, and the one that stays
        allowed = np.delete(counts.numpy(), [3, 7])
        assert chisquare(allowed).pvalue > 1e-3


@pytest.mark.spec(30)
def test_draws_are_uniform_within_the_union_of_clusters():  # spec 30
    vectors = random_vectors(60, 3)
    triples = torch.tensor([[5, 0, 20]])
    sampler = lemon(
        triples, num_entities=60, num_negs_per_pos=40_000, embeddings=vectors, n_clusters=12,
        n_near=3, filtered=False, exclude_anchor=False, corruption_scheme=("tail",),
    )  # fmt: skip
    near, _ = sampler.clusters.nearest(3)
    union = np.flatnonzero(np.isin(sampler.clusters.label, near[5]))
    assert len(set(sampler.clusters.sizes[near[5]])) > 1  # unequal clusters, or it proves little
    counts = np.bincount(sampler.sample(positive_batch=triples)[0][0, :, 2], minlength=60)
    allowed = np.setdiff1d(union, [20])
    assert counts.sum() == counts[allowed].sum()
    assert chisquare(counts[allowed]).pvalue > 1e-3


def test_distance_weights_prefer_nearer_clusters():
    labels, vectors = [0] * 4 + [1] * 8, np.array([[0.0]] * 4 + [[3.0]] * 8)
    triples = torch.tensor([[0, 0, 11]])
    sampler = lemon(
        triples, num_entities=12, num_negs_per_pos=50_000, labels=labels, embeddings=vectors,
        n_near=2, weights="distance", corruption_scheme=("tail",), filtered=False,
    )  # fmt: skip
    counts = np.bincount(sampler.sample(positive_batch=triples)[0][0, :, 2], minlength=12)
    # Distances 0 and 3 with mean 1.5; three members (not the head) against seven (not the tail).
    weight = np.array([0, 1, 1, 1] + [np.exp(-2)] * 7 + [0])
    assert counts[weight == 0].sum() == 0
    there = weight > 0
    expected = weight[there] / weight.sum() * counts.sum()
    assert chisquare(counts[there], expected).pvalue > 1e-3
    with pytest.raises(ValueError, match="unknown weights 'rank'"):
        lemon(triples, num_entities=12, labels=labels, n_near=1, weights="rank")


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("block", [2**23, 10])
def test_cosine_threshold_equals_brute_force(weights, block, monkeypatch):
    monkeypatch.setattr("kge.sampling.neighbourhoods._SIMILARITIES", block)
    vectors = random_vectors(30, 3, seed=4)
    triples = random_triples(count=25, entities=30)
    sampler = lemon(
        triples, num_entities=30, num_negs_per_pos=400, embeddings=vectors, n_clusters=6, n_near=2,
        min_cosine=0.9, filtered=False, corruption_scheme=("tail",), weights=weights,
    )  # fmt: skip
    clusters = sampler.clusters
    unit = clusters.vectors / np.linalg.norm(clusters.vectors, axis=1, keepdims=True)
    near, _ = clusters.nearest(2)
    _, entity = replaced(triples, sampler.sample(positive_batch=triples)[0])
    uniform = 0
    for (head, _, tail), drawn in zip(triples.tolist(), entity.tolist(), strict=True):
        allowed = {
            e for e in range(30) if clusters.label[e] in near[head] and unit[e] @ unit[head] >= 0.9
        } - {head, tail}
        if allowed:
            assert set(drawn) == allowed
            if weights == "uniform" and len(allowed) > 1:
                assert chisquare([drawn.count(e) for e in allowed]).pvalue > 1e-4
        else:
            uniform += 400
    assert 0 < uniform < 25 * 400
    assert sampler.draw_counts.uniform == uniform
    with pytest.raises(ValueError, match="min_cosine"):
        lemon(triples, num_entities=30, embeddings=vectors, min_cosine=1.5)


@pytest.mark.spec(32)
def test_relabelled_entities_give_the_relabelled_distribution():  # spec 32
    vectors, triples = random_vectors(20, 3), torch.tensor([[4, 0, 9], [1, 0, 2]])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    renamed = triples.clone()
    renamed[:, [0, 2]] = order[triples[:, [0, 2]]]
    moved = np.empty_like(vectors)
    moved[order.numpy()] = vectors
    kwargs = {"num_entities": 20, "num_negs_per_pos": 4000, "n_clusters": 5, "n_near": 2}
    here = lemon(triples, embeddings=vectors, **kwargs)
    there = lemon(renamed, embeddings=moved, **kwargs)
    for row in range(2):
        drawn = replaced(triples, here.sample(positive_batch=triples)[0])[1][row]
        image = replaced(renamed, there.sample(positive_batch=renamed)[0])[1][row]
        counts = torch.bincount(order[drawn], minlength=20)
        assert ((counts > 0) == (torch.bincount(image, minlength=20) > 0)).all()
        seen = counts > 0
        other = torch.bincount(image, minlength=20)[seen]
        assert chisquare(counts[seen], other.double() * counts.sum() / other.sum()).pvalue > 1e-6


@pytest.mark.spec(33)
def test_a_cluster_of_known_answers_falls_back_to_uniform():  # spec 33
    # The tail's cluster 0..3 holds nothing but answers.
    triples = torch.tensor([[9, 0, tail] for tail in range(4)])
    sampler = lemon(
        triples, num_entities=10, num_negs_per_pos=3000, labels=[0] * 4 + [1] * 6, n_near=1,
        anchor="replaced", corruption_scheme=("tail",),
    )  # fmt: skip
    negatives, mask = sampler.sample(positive_batch=triples)
    assert mask is None
    counts = np.bincount(negatives[..., 2].flatten(), minlength=10)
    assert counts[:4].sum() == 0
    assert chisquare(counts[4:]).pvalue > 1e-3
    assert sampler.draw_counts.uniform == sampler.draw_counts.slots == 12_000


def test_where_everything_is_known_the_mask_says_so():
    triples = torch.tensor([[0, 0, tail] for tail in range(4)])
    sampler = lemon(triples, num_entities=4, num_negs_per_pos=6, labels=[0] * 4, n_near=1)
    negatives, mask = sampler.sample(positive_batch=triples)
    assert mask.shape == (4, 6)
    column = torch.where((negatives != triples[:, None])[..., 2], TAIL, HEAD)
    assert (mask == (column == HEAD)).all()  # every (0, 0, ?) is true


@pytest.mark.spec(18)
def test_clusters_of_one_member_fall_back_to_uniform():  # spec 18
    triples = torch.tensor([[0, 0, 5]])
    sampler = lemon(
        triples, num_entities=6, num_negs_per_pos=6000, labels=[0, 0, 0, 0, 0, 1], n_near=1,
        anchor="replaced", corruption_scheme=("tail",),
    )  # fmt: skip
    counts = np.bincount(sampler.sample(positive_batch=triples)[0][0, :, 2], minlength=6)
    assert counts[5] == 0
    assert chisquare(counts[:5]).pvalue > 1e-3


def test_min_size_widens_small_neighbourhoods():
    triples = torch.tensor([[0, 0, 5]])
    vectors = np.array([[0.0], [0], [4], [4], [4], [9]])
    sampler = lemon(
        triples, num_entities=6, num_negs_per_pos=300, labels=[0, 0, 1, 1, 1, 2],
        embeddings=vectors, n_near=1, min_size=3, anchor="replaced", corruption_scheme=("tail",),
    )  # fmt: skip
    drawn = set(sampler.sample(positive_batch=triples)[0][0, :, 2].tolist())
    assert drawn == {2, 3, 4}


def test_entities_without_text_are_corrupted_uniformly_and_not_proposed_otherwise():
    texts = ["red apple", "green apple", "apple tree", "", "steam engine", "jet engine", "engine"]
    triples = torch.tensor([[0, 0, 4], [3, 0, 1]])
    with pytest.warns(UserWarning, match="1 of 7 entities have no text"):
        sampler = lemon(
            triples, num_entities=7, num_negs_per_pos=4000, texts=texts, n_clusters=2, n_near=1,
            filtered=False, corruption_scheme=("tail",),
        )  # fmt: skip
    tails = sampler.sample(positive_batch=triples)[0][..., 2]
    assert set(tails[0].tolist()) == {1, 2}
    assert set(tails[1].tolist()) == {0, 2, 4, 5, 6}
    assert sampler.draw_counts.uniform == 4000


def test_graphs_of_two_entities_work():
    triples = torch.tensor([[0, 0, 1]])
    for filtered in (True, False):
        sampler = lemon(
            triples, num_entities=2, num_negs_per_pos=4, labels=[0, 0], n_near=1, filtered=filtered,
            exclude_anchor=False,
        )  # fmt: skip
        negatives, mask = sampler.sample(positive_batch=triples)
        assert mask is None
        assert {(0, 0, 0), (1, 0, 1)} >= set(map(tuple, negatives[0].tolist()))


def test_filters_of_pykeen_mask_in_addition():
    triples = random_triples(count=400, entities=12, relations=2)
    sampler = lemon(
        triples, num_entities=12, num_negs_per_pos=16, embeddings=random_vectors(12),
        filtered=False, filterer="python-set",
    )  # fmt: skip
    negatives, mask = sampler.sample(positive_batch=triples)
    known = set(map(tuple, triples.tolist()))
    for triple, kept in zip(negatives.flatten(0, 1).tolist(), mask.flatten().tolist(), strict=True):
        assert kept == (tuple(triple) not in known)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "no texts"),
        ({"texts": ["a"] * 40, "embeddings": np.eye(40)}, "not both"),
        ({"texts": ["a", "b"]}, "40 entities, but 2 texts"),
        ({"embeddings": np.eye(40), "anchor": "head"}, "unknown anchor 'head'"),
        ({"embeddings": np.eye(40), "compat": "paper"}, "unknown compat 'paper'"),
        ({"embeddings": np.eye(40), "corruption_scheme": ["relation"]}, "corruption_scheme"),
        ({"embeddings": np.eye(40), "corruption_scheme": []}, "corruption_scheme"),
        ({"embeddings": np.eye(40), "n_near": 0}, "n_near"),
        ({"embeddings": np.eye(40), "n_clusters": 41}, "n_clusters"),
        ({"embeddings": np.eye(40), "rounds": -1}, "rounds"),
        ({"embeddings": np.eye(40), "num_negs_per_pos": 0}, "one negative"),
        ({"labels": [*range(4)] * 10}, "labels alone"),
        ({"labels": [*range(4)] * 10, "fallback": "none"}, "unknown fallback 'none'"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        lemon(random_triples(), num_entities=40, **kwargs)


def test_arguments_can_be_searched():
    from pykeen.sampling import NegativeSampler

    from kge.sampling.lemon import LEMONNegativeSampler

    # PyKEEN validates ranges by the class and its first base.
    assert LEMONNegativeSampler.__bases__ == (NegativeSampler,)
    arguments = inspect.signature(LEMONNegativeSampler.__init__).parameters
    assert set(LEMONNegativeSampler.hpo_default) <= set(arguments)


# -- inside PyKEEN


@pytest.fixture
def by_name():
    from pykeen.sampling import negative_sampler_resolver

    from kge.sampling.lemon import LEMONNegativeSampler

    if negative_sampler_resolver.lookup_dict.get("lemon") is not LEMONNegativeSampler:
        negative_sampler_resolver.register(LEMONNegativeSampler)


def umls_texts():
    from pykeen.datasets import UMLS

    names = UMLS().training.entity_id_to_label
    return [names[i].replace("_", " ") for i in range(len(names))]


def test_pipeline_runs_it_by_name_and_clusters_once(by_name, monkeypatch):
    from pykeen.pipeline import pipeline

    from kge.sampling.lemon import LEMONNegativeSampler

    calls = collections.Counter()
    cluster, build = clusters_module.cluster_vectors, LEMONNegativeSampler.__init__

    def counted_cluster(*args, **kwargs):
        calls["clusterings"] += 1
        return cluster(*args, **kwargs)

    def counted_build(self, **kwargs):
        calls["samplers"] += 1
        build(self, **kwargs)

    monkeypatch.setattr(clusters_module, "cluster_vectors", counted_cluster)
    monkeypatch.setattr(LEMONNegativeSampler, "__init__", counted_build)

    def run(**kwargs):
        return pipeline(
            dataset="umls", model="DistMult", model_kwargs={"embedding_dim": 16}, random_seed=3,
            negative_sampler="lemon", training_kwargs={"num_epochs": 2, "batch_size": 512,
            "use_tqdm": False}, evaluator_kwargs={"batch_size": 256},
            evaluation_kwargs={"use_tqdm": False}, device="cpu",
            negative_sampler_kwargs={"texts": umls_texts(), "num_negs_per_pos": 4,
            "n_clusters": 12, "n_near": 2, **kwargs},
        )  # fmt: skip

    first = run()
    assert calls["clusterings"] == 1
    assert calls["samplers"] >= 1
    again = run(texts=umls_texts())
    assert calls["clusterings"] == 1
    assert first.losses == again.losses
    assert first.losses[1] < first.losses[0]
    assert run(anchor="replaced").losses != first.losses
    assert calls["clusterings"] == 1  # other neighbours, the same clusters


def test_pipeline_with_inverse_triples_and_an_array_file(by_name, tmp_path):
    from pykeen.datasets import Nations
    from pykeen.pipeline import pipeline

    np.save(tmp_path / "vectors.npy", random_vectors(14))
    result = pipeline(
        dataset=Nations(create_inverse_triples=True), model="TransE", random_seed=0, device="cpu",
        model_kwargs={"embedding_dim": 8}, negative_sampler="lemon",
        training_kwargs={"num_epochs": 2, "batch_size": 256, "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
        negative_sampler_kwargs={"embeddings": str(tmp_path / "vectors.npy"), "n_clusters": 4},
    )  # fmt: skip
    assert len(result.losses) == 2
    assert result.configuration["negative_sampler"].lower().startswith("lemon")


@pytest.mark.spec(23)
def test_hpo_keeps_it(by_name):
    from pykeen.hpo import hpo_pipeline

    result = hpo_pipeline(
        dataset="nations", model="DistMult", n_trials=1, device="cpu",
        model_kwargs={"embedding_dim": 8}, training_loop="slcwa", negative_sampler="lemon",
        negative_sampler_kwargs={"embeddings": random_vectors(14).tolist(), "n_clusters": 4},
        negative_sampler_kwargs_ranges={"num_negs_per_pos": {"type": int, "low": 2, "high": 3}},
        training_kwargs={"num_epochs": 1, "batch_size": 512, "use_tqdm": False},
        training_kwargs_ranges={}, evaluation_kwargs={"use_tqdm": False},
    )  # fmt: skip
    trial = result.study.trials[0]
    assert {"negative_sampler.n_near", "negative_sampler.anchor"} <= set(trial.params)
    assert trial.params["negative_sampler.num_negs_per_pos"] in (2, 3)


@pytest.mark.real_data
def test_codex_negatives_are_like_the_tail(data_root):
    folder = data_root / "KG" / "CoDEx-S"
    lines = (folder / "train.txt").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    names = [line.split("\t")[0] for line in (folder / "entities.tsv").open(encoding="utf-8")]
    place = {name: i for i, name in enumerate(sorted(names))}
    relations = {name: i for i, name in enumerate(sorted({row[1] for row in rows}))}
    triples = torch.tensor([[place[h], relations[r], place[t]] for h, r, t in rows])
    kwargs = {
        "num_entities": len(place),
        "num_relations": len(relations),
        "num_negs_per_pos": 16,
        "texts": str(folder / "entities.tsv"),
        "n_clusters": 40,
        "n_near": 1,
        "anchor": "replaced",
    }
    with pytest.warns(UserWarning, match="903 of 2034 entities have no text"):
        sampler = lemon(triples, **kwargs)
    batch = triples[torch.arange(0, len(triples), 40)]
    negatives, mask = sampler.sample(positive_batch=batch)
    assert mask is None
    assert not sampler.known.contains(negatives).any()
    column, entity = replaced(batch, negatives)
    vectors = torch.from_numpy(sampler.clusters.vectors)
    unit = torch.nn.functional.normalize(vectors, dim=1)
    old = batch.gather(1, column)
    both = (sampler.clusters.label[old] >= 0) & (sampler.clusters.label[entity] >= 0)
    like = (unit[old] * unit[entity]).sum(-1)[torch.from_numpy(both)].mean()
    chance = torch.randint(len(place), old.shape)
    unlike = (unit[old] * unit[chance]).sum(-1)[torch.from_numpy(both)].mean()
    assert like > unlike + 0.3


@pytest.mark.parametrize("labels", [[0] * 6, [0, 1] * 3, [*range(6)]])
def test_labels_alone_do_where_all_clusters_are_near(labels: list[int]) -> None:
    """Draws are uniform then."""
    triples = torch.tensor([[0, 0, 1]])
    sampler = LEMONNegativeSampler(
        mapped_triples=triples,
        num_entities=6,
        num_relations=1,
        num_negs_per_pos=6000,
        labels=labels,
        n_near=max(3, len(set(labels))),
        filtered=False,
        corruption_scheme=["tail"],
    )
    drawn = torch.bincount(sampler.sample(triples)[0][..., 2].flatten(), minlength=6)
    assert int(drawn[2:].min()) > 0.8 * int(drawn.max())


def test_an_encoder_may_be_given_as_it_is() -> None:
    texts = [f"place {number % 3} thing {number}" for number in range(12)]
    found = [
        LEMONNegativeSampler(
            mapped_triples=torch.tensor([[0, 0, 1]]),
            num_entities=12,
            num_relations=1,
            texts=texts,
            encoder=encoder,
            n_clusters=3,
        ).clusters.label
        for encoder in ("tfidf", TextEncoder())
    ]
    assert np.array_equal(*found)
