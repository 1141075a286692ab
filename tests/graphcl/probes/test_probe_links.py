"""Held-out links by set arithmetic; the link probe on graphs with a known answer."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from graphcl.probes import hits_at, hold_out_links, link_probe
from graphcl.probes.links import _training_pairs


def random_graph(num_nodes=60, density=0.15, seed=0):
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in combinations(range(num_nodes), 2) if rng.random() < density]
    return torch.tensor(pairs).T


def communities(num_nodes=120, blocks=4, density=0.5, seed=0):
    """Edges inside blocks only, and the block of each node."""
    rng = np.random.default_rng(seed)
    block = np.arange(num_nodes) % blocks
    pairs = [
        (u, v)
        for u, v in combinations(range(num_nodes), 2)
        if block[u] == block[v] and rng.random() < density
    ]
    return torch.tensor(pairs).T, torch.from_numpy(block)


def test_a_split_moves_to_a_device():
    split = hold_out_links(random_graph(), 60)
    moved = split.to("meta")
    assert moved.seed == split.seed
    assert moved.train_edge_index.is_meta
    assert moved.test_negatives.is_meta
    assert torch.equal(split.to("cpu").validation, split.validation)


def as_set(pairs):
    return set(map(tuple, pairs.T.tolist()))


@pytest.mark.parametrize("directions", [1, 2])
def test_links_are_parted_and_negatives_are_no_edges(directions):
    edge_index = random_graph()
    edges = as_set(edge_index)
    if directions == 2:
        loops = torch.arange(5).expand(2, 5)
        edge_index = torch.cat([edge_index, edge_index.flip(0), loops], dim=1)
    held = hold_out_links(edge_index, 60, validation=0.1, test=0.2, seed=3)
    train, validation, test = as_set(held.train), as_set(held.validation), as_set(held.test)
    assert len(validation) == held.validation.size(1) == len(edges) // 10
    assert len(test) == held.test.size(1) == len(edges) // 5
    assert train | validation | test == edges
    assert len(train) + len(validation) + len(test) == len(edges)
    both = {(u, v) for u, v in train} | {(v, u) for u, v in train}
    assert as_set(held.train_edge_index) == both
    assert held.train_edge_index.size(1) == len(both)
    negatives = as_set(held.validation_negatives) | as_set(held.test_negatives)
    assert len(negatives) == len(validation) + len(test)
    assert held.test_negatives.size(1) == len(test)
    assert not negatives & edges
    assert all(u < v for u, v in negatives)


def test_seed_decides_and_edge_order_does_not():
    edge_index = random_graph()
    first, other = (hold_out_links(edge_index, 60, seed=s) for s in (1, 2))
    again = hold_out_links(edge_index[:, torch.randperm(edge_index.size(1))].flip(0), 60, seed=1)
    for name in ("train", "validation", "test", "validation_negatives", "test_negatives"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert as_set(first.test) != as_set(other.test)


def test_dense_and_small_graphs_are_errors():
    complete = torch.tensor(list(combinations(range(30), 2))).T
    with pytest.raises(ValueError, match="too dense"):
        hold_out_links(complete, 30)
    with pytest.raises(ValueError, match="0 validation, 0 test"):
        hold_out_links(complete[:, :5], 30)
    for shares in ({"validation": 0.6, "test": 0.4}, {"validation": -0.1}, {"test": 0.0}):
        with pytest.raises(ValueError, match="each part"):
            hold_out_links(complete[:, :100], 30, **shares)


def test_last_non_edges_of_a_dense_graph_are_used():
    pairs = list(combinations(range(30), 2))
    held = hold_out_links(torch.tensor(pairs[60:]).T, 30, validation=0.05, test=0.1)
    negatives = as_set(held.validation_negatives) | as_set(held.test_negatives)
    assert len(negatives) == 18 + 37
    assert negatives < set(pairs[:60])


def test_training_negatives_are_no_training_edge():
    edge_index, _ = communities(40, density=0.9)
    held = hold_out_links(edge_index, 40)
    pairs, labels = _training_pairs(held, 0, 20_000)
    count = held.train.size(1)
    assert as_set(pairs[:, :count]) == as_set(held.train)
    assert len(as_set(pairs[:, count:])) == count
    assert not as_set(pairs[:, count:]) & as_set(held.train)
    assert labels.tolist() == [1] * count + [0] * count
    fewer, labels = _training_pairs(held, 0, 7)
    assert fewer.size(1) == len(labels) == 14
    assert as_set(fewer[:, :7]) < as_set(held.train)


@pytest.mark.parametrize("score", ["hadamard", "dot"])
def test_block_embeddings_predict_block_links(score):
    edge_index, block = communities()
    held = hold_out_links(edge_index, 120)
    z = torch.nn.functional.one_hot(block, 4).float() + 0.05 * torch.randn(120, 4)
    result = link_probe(z, held, score=score)
    # Negatives inside a block, about 14 %, look like links: no score can rank them lower.
    assert result.auc > 0.88
    assert result.validation_auc > 0.8
    assert result.score == score
    if score == "dot":
        assert (result.selected, result.selection) == ({}, "none")
    else:
        assert list(result.selected) == ["C"]
        assert result.selection == "validation"


@pytest.mark.parametrize("score", ["hadamard", "dot"])
def test_random_embeddings_score_chance(score):
    held = hold_out_links(random_graph(150, 0.2), 150, validation=0.2, test=0.2)
    result = link_probe(torch.randn(150, 6), held, score=score)
    # About 450 positives and negatives: deviation 0.02.
    assert abs(result.auc - 0.5) < 0.09
    assert abs(result.average_precision - 0.5) < 0.09


def test_dot_scores_by_hand():
    held = hold_out_links(random_graph(150, 0.2), 150)
    z = torch.randn(150, 6)
    result = link_probe(z, held, score="dot")
    positives = [float(z[u] @ z[v]) for u, v in held.test.T.tolist()]
    negatives = [float(z[u] @ z[v]) for u, v in held.test_negatives.T.tolist()]
    wins = sum(p > n for p in positives for n in negatives)
    assert result.auc == pytest.approx(wins / len(positives) / len(negatives), abs=1e-6)
    assert set(result.hits) == {20, 50, 100}
    for k, value in result.hits.items():
        bar = sorted(negatives)[-k]
        assert value == pytest.approx(sum(p > bar for p in positives) / len(positives))


def test_large_k_is_left_out():
    held = hold_out_links(random_graph(), 60, validation=0.1, test=0.1)
    assert 20 <= held.test_negatives.size(1) < 50
    assert list(link_probe(torch.randn(60, 3), held).hits) == [20]


def test_selection_never_sees_test():
    edge_index, block = communities()
    held = hold_out_links(edge_index, 120, validation=0.1, test=0.2)
    z = torch.nn.functional.one_hot(block, 4).float() + 0.4 * torch.randn(120, 4)
    clean = link_probe(z, held)
    poisoned = link_probe(
        z, dataclasses.replace(held, test=held.test_negatives, test_negatives=held.test)
    )
    assert poisoned.selected == clean.selected
    assert poisoned.validation_auc == clean.validation_auc
    assert poisoned.auc == pytest.approx(1 - clean.auc)
    assert clean.auc > 0.7


def test_validation_auc_decides_the_strength():
    from sklearn.linear_model import LogisticRegression

    edge_index, block = communities(80)
    held = hold_out_links(edge_index, 80, validation=0.2, test=0.2)
    z = torch.nn.functional.one_hot(block, 4).double() + 0.5 * torch.randn(80, 4).double()
    pairs, labels = _training_pairs(held, 5, 20_000)
    train = (z[pairs[0]] * z[pairs[1]]).numpy()
    mean, deviation = train.mean(0), train.std(0)
    pairs = torch.cat([held.validation, held.validation_negatives], dim=1)
    rows = ((z[pairs[0]] * z[pairs[1]]).numpy() - mean) / deviation
    truth = [1] * held.validation.size(1) + [0] * held.validation_negatives.size(1)
    aucs = {}
    for strength in [2.0**e for e in range(-10, 11, 2)]:
        cold = LogisticRegression(C=strength, tol=1e-6, max_iter=2000)
        cold.fit((train - mean) / deviation, labels)
        aucs[strength] = roc_auc_score(truth, cold.decision_function(rows))
    result = link_probe(z, held, seed=5)
    assert len(set(aucs.values())) > 2
    assert result.validation_auc == pytest.approx(max(aucs.values()), abs=2e-4)
    assert aucs[result.selected["C"]] == pytest.approx(max(aucs.values()), abs=2e-4)


def test_hits_by_hand():
    positives, negatives = [0.9, 0.5, 0.1, 0.3], [0.7, 0.3, 0.2]
    assert hits_at(positives, negatives, 1) == 0.25
    # 0.3 ties with the second best negative and is no hit.
    assert hits_at(positives, negatives, 2) == 0.5
    assert hits_at(positives, negatives, 3) == 0.75
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"Hits@{k}"):
            hits_at(positives, negatives, k)
    with pytest.raises(ValueError, match="and 0"):
        hits_at([], negatives, 1)
    for above, below in (([0.9, float("nan")], negatives), (positives, [float("nan"), 0.3])):
        with pytest.raises(ValueError, match=r"1 of \d scores are NaN"):
            hits_at(above, below, 1)


def test_hits_equal_ogb():
    evaluator = pytest.importorskip("ogb.linkproppred").Evaluator("ogbl-collab")
    positives, negatives = torch.randn(321).round(decimals=1), torch.randn(150).round(decimals=1)
    for k in (1, 20, 150):
        evaluator.K = k
        expected = evaluator.eval({"y_pred_pos": positives, "y_pred_neg": negatives})[f"hits@{k}"]
        assert hits_at(positives, negatives, k) == pytest.approx(expected)


def test_bad_input_is_named():
    held = hold_out_links(random_graph(), 60)
    z = torch.randn(60, 3)
    with pytest.raises(ValueError, match="59 rows, the graph has 60"):
        link_probe(z[:59], held)
    with pytest.raises(ValueError, match="'cosine'"):
        link_probe(z, held, score="cosine")
    with pytest.raises(ValueError, match="max_positives"):
        link_probe(z, held, max_positives=0)
    z[4, 0] = float("inf")
    with pytest.raises(ValueError, match="row 4"):
        link_probe(z, held)
