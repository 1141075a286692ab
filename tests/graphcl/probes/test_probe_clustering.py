"""Clustering scores against brute force and scikit-learn; which run is kept."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

from graphcl.probes import cluster_nodes, clustering_scores


def brute_force(labels, prediction):
    """Best accuracy over all one-to-one maps, and the best macro-F1 among those maps."""
    classes, clusters = np.unique(labels), np.unique(prediction)
    # Padding with -1 lets clusters go without a class.
    targets = [*classes, *[-1] * max(0, len(clusters) - len(classes))]
    best = (0.0, 0.0)
    for chosen in permutations(targets, len(clusters)):
        mapped = np.array([dict(zip(clusters, chosen, strict=True))[c] for c in prediction])
        f1 = f1_score(labels, mapped, labels=classes, average="macro", zero_division=0)
        best = max(best, (round((mapped == labels).mean(), 12), f1))
    return best


@pytest.mark.parametrize(("num_classes", "num_clusters"), [(3, 3), (2, 5), (5, 2), (4, 3), (1, 3)])
@pytest.mark.parametrize("num_nodes", [7, 40])
def test_scores_equal_brute_force_and_scikit_learn(num_classes, num_clusters, num_nodes):
    rng = np.random.default_rng(num_classes * 100 + num_clusters + num_nodes)
    for _ in range(5):
        labels = rng.integers(num_classes, size=num_nodes)
        prediction = np.where(
            rng.random(num_nodes) < 0.5, labels, rng.integers(num_clusters, size=num_nodes)
        )
        scores = clustering_scores(labels, prediction * 3 - 4)
        accuracy, f1 = brute_force(labels, prediction)
        assert scores["accuracy"] == pytest.approx(accuracy)
        assert scores["macro_f1"] == pytest.approx(f1)
        assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(labels, prediction))
        assert scores["ari"] == pytest.approx(adjusted_rand_score(labels, prediction))


def test_scores_by_hand():
    # Class 0: nodes 0-3, class 1: nodes 4-5. Clusters 5 (3 of class 0), 6 (1 + 1), 7 (1 of 1).
    scores = clustering_scores([0, 0, 0, 0, 1, 1], [5, 5, 5, 6, 6, 7])
    assert scores["accuracy"] == pytest.approx(4 / 6)
    # Cluster 5 -> class 0: F1 = 6 / (4 + 3). Cluster 6 -> class 1: 2 / 4; cluster 7 -> 2 / 3 is as
    # accurate and better, and decides.
    assert scores["macro_f1"] == pytest.approx((6 / 7 + 2 / 3) / 2)


def test_renaming_clusters_changes_nothing():
    rng = np.random.default_rng(0)
    labels, prediction = rng.integers(4, size=60), rng.integers(6, size=60)
    expected = clustering_scores(labels, prediction)
    for _ in range(5):
        renamed = rng.permutation(100)[:6][prediction]
        assert clustering_scores(labels, renamed) == pytest.approx(expected)


def test_missing_cluster_leaves_the_prediction_untouched():
    labels, prediction = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 1, 1, 1, 4, 4])
    before = prediction.clone()
    scores = clustering_scores(labels, prediction)
    assert torch.equal(prediction, before)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_unlabelled_nodes_are_not_scored():
    scores = clustering_scores([0, -1, 1, -1], [3, 3, 2, 9])
    assert scores == pytest.approx({"accuracy": 1.0, "nmi": 1.0, "ari": 1.0, "macro_f1": 1.0})


@pytest.mark.parametrize(
    ("labels", "prediction", "message"),
    [
        ([0, 1], [0], "shape"),
        ([0.0, 1.0], [0, 1], "labels must be a vector of integers"),
        ([0, 1], [[0], [1]], "prediction must be a vector"),
        ([-1, -1], [0, 1], "no node has a label"),
    ],
)
def test_scores_reject_bad_input(labels, prediction, message):
    with pytest.raises(ValueError, match=message):
        clustering_scores(labels, prediction)


def blobs(num_nodes=90, num_classes=3, spread=0.1):
    y = torch.arange(num_nodes) % num_classes
    return torch.eye(num_classes)[y] + spread * torch.randn(num_nodes, num_classes), y


def test_separated_blobs_are_found():
    z, y = blobs()
    result = cluster_nodes(z, y, seed=1)
    assert (result.accuracy, result.nmi, result.ari, result.macro_f1) == pytest.approx([1.0] * 4)
    assert result.selection == "inertia"
    assert result.num_clusters == 3
    assert result.prediction.dtype == torch.int64
    assert result.prediction.shape == (90,)


def test_random_labels_score_chance():
    z, _ = blobs(600)
    result = cluster_nodes(z, torch.randint(3, (600,)))
    assert abs(result.ari) < 0.03
    assert result.accuracy < 0.45


def test_inertia_is_that_of_the_prediction():
    z, _ = blobs(spread=0.6)
    result = cluster_nodes(z, num_clusters=4)
    expected = sum(
        float(((part := z[result.prediction == c]) - part.mean(0)).square().sum()) for c in range(4)
    )
    assert result.inertia == pytest.approx(expected, rel=1e-4)
    assert result.accuracy is result.nmi is result.ari is result.macro_f1 is None
    assert result.selection == "inertia"


def test_labels_choose_the_run_for_the_oracle_alone():
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(120, 2, generator=generator)
    for seed in range(50):
        first = cluster_nodes(z, num_clusters=9, seed=seed, restarts=1)
        best = cluster_nodes(z, num_clusters=9, seed=seed, restarts=6)
        if first.inertia > best.inertia * 1.01:
            break
    else:
        pytest.fail("no first run is worse than the best of six")
    # The labels are a worse run's clusters: only an oracle would keep that run.
    labels = first.prediction
    honest = cluster_nodes(z, labels, seed=seed, restarts=6)
    oracle = cluster_nodes(z, labels, seed=seed, restarts=6, oracle=True)
    assert honest.selection == "inertia"
    assert torch.equal(honest.prediction, best.prediction)
    assert honest.inertia == best.inertia
    assert honest.accuracy < 1.0
    assert oracle.selection == "oracle"
    assert oracle.accuracy == 1.0
    assert oracle.inertia == first.inertia
    # With other labels the honest run stays the same.
    shuffled = cluster_nodes(z, labels[torch.randperm(120)], seed=seed, restarts=6)
    assert torch.equal(shuffled.prediction, honest.prediction)


def test_seed_decides_and_embeddings_stay():
    z = torch.rand(80, 3)
    before = z.clone()
    runs = [cluster_nodes(z, num_clusters=7, seed=s, restarts=1) for s in (4, 4, 5)]
    assert torch.equal(runs[0].prediction, runs[1].prediction)
    assert not torch.equal(runs[0].prediction, runs[2].prediction)
    assert torch.equal(z, before)


def test_unit_rows_ignore_length():
    y = torch.arange(60) % 2
    z = torch.eye(2)[y] * torch.logspace(-2, 3, 60)[:, None]
    assert cluster_nodes(z, y, normalize=True).accuracy == 1.0
    assert cluster_nodes(z, y).accuracy < 0.9


def test_other_number_of_clusters_than_classes():
    z, y = blobs()
    assert cluster_nodes(z, y, num_clusters=2).accuracy == pytest.approx(2 / 3, abs=0.05)
    assert cluster_nodes(z, y, num_clusters=6).accuracy < 1.0
    y[0] = -1
    assert len(cluster_nodes(z, y).prediction) == 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give num_clusters"),
        ({"num_clusters": 0}, "within 1..90, got 0"),
        ({"num_clusters": 91}, "within 1..90, got 91"),
        ({"num_clusters": 3, "restarts": 0}, "restarts"),
        ({"num_clusters": 3, "oracle": True}, "give labels"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, r"shape \(90,\)"),
        ({"labels": torch.full((90,), -1)}, "none of the 90 nodes"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        cluster_nodes(blobs()[0], **options)


def test_non_finite_embeddings_are_an_error():
    z, y = blobs()
    z[5, 1] = float("nan")
    with pytest.raises(ValueError, match="row 5"):
        cluster_nodes(z, y)
