"""Reduction, k-means++, the elbow rule, neighbouring clusters and the cache."""

import warnings

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from kge.text import clusters as clusters_module
from kge.text.cache import cache_root, content_key, load_arrays, store_arrays
from kge.text.clusters import cluster_vectors, clusters_of_labels, text_clusters
from kge.text.encoder import TextEncoder
from kge.text.entity_clusters import find_entity_clusters
from kge.text.kmeans import elbow, elbow_curve, kmeans
from kge.text.reduction import principal_components


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(clusters_module, "_RECENT", type(clusters_module._RECENT)())


def blobs(sizes, width=6, spread=0.3, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(len(sizes), width)) * 5
    truth = np.repeat(np.arange(len(sizes)), sizes)
    points = centres[truth] + spread * generator.normal(size=(len(truth), width))
    return points.astype(np.float32), truth


@pytest.mark.spec(31)
def test_two_blobs_are_recovered_and_the_elbow_says_two():  # spec 31
    points, truth = blobs([60, 45])
    found = cluster_vectors(points)
    assert found.num_clusters == 2
    assert adjusted_rand_score(truth, found.label) == 1
    assert found.tried.tolist() == [1, 2, 3, 4, 6, 8]
    assert (np.diff(found.inertia) <= 0).all()


@pytest.mark.parametrize("count", [3, 5])
def test_elbow_finds_further_numbers_of_blobs(count):
    points, truth = blobs([50] * count, spread=0.1, seed=3)
    found = cluster_vectors(points, n_clusters="elbow")
    assert abs(found.num_clusters - count) <= 1  # the grid skips 5
    if found.num_clusters == count:
        assert adjusted_rand_score(truth, found.label) == 1


def test_elbow_is_farthest_below_the_chord():
    tried, inertia = np.array([1, 2, 3, 4, 6, 8]), np.array([100.0, 60, 22, 20, 15, 10])
    chord = 100 - (tried - 1) / 7 * 90
    assert elbow(tried, inertia) == tried[np.argmax(chord - inertia)] == 3
    assert elbow(np.array([1, 2]), np.array([4.0, 1])) == 2
    assert elbow(np.array([1]), np.array([4.0])) == 1
    assert elbow(np.array([1, 2, 3]), np.array([4.0, 4, 4])) == 1
    assert elbow(np.array([1, 2, 3]), np.array([4.0, 3, 1])) is None  # above its chord


def test_without_an_elbow_the_root_of_half_the_rows_is_taken():
    found = cluster_vectors(np.eye(32), reduce="none")  # all equally far from one another
    assert found.num_clusters == 4
    assert cluster_vectors(np.ones((9, 2))).num_clusters == 1


def test_elbow_grid_is_geometric_and_bounded():
    generator = np.random.default_rng(0)
    tried, _ = elbow_curve(generator.normal(size=(800, 2)), 800)
    assert tried.tolist() == [1, 2, 3, 4, 6, 8, 11, 16, 20]
    tried, inertia = elbow_curve(np.repeat(np.eye(3), 40, 0), 3)
    assert tried.tolist() == [1, 2, 3]
    assert inertia[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.spec(34)
def test_rotation_scale_and_shift_leave_clusters_unchanged():  # spec 34
    points, _ = blobs([30, 20, 25, 40], spread=1.5)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    found = cluster_vectors(points, n_clusters=7)
    moved = cluster_vectors(7.3 * points @ rotation + 2.0, n_clusters=7)
    assert (found.label == moved.label).all()


@pytest.mark.parametrize("reduce", ["pca", "none"])
def test_order_of_entities_does_not_matter(reduce):  # spec 32
    points, _ = blobs([30, 20, 25, 40], spread=1.5)
    order = np.random.default_rng(2).permutation(len(points))
    found = cluster_vectors(points, n_clusters=9, reduce=reduce)
    shuffled = cluster_vectors(points[order], n_clusters=9, reduce=reduce)
    assert adjusted_rand_score(found.label[order], shuffled.label) == 1


def test_clusters_repeat_themselves_and_depend_on_the_seed():
    points, _ = blobs([80, 80], spread=4)
    found = [cluster_vectors(points, n_clusters=12, n_init=1, seed=s).label for s in (0, 0, 1)]
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_kmeans_is_as_good_as_scikit_learns():
    points, _ = blobs([40, 30, 50, 20])
    wanted = KMeans(4, n_init=10, random_state=0).fit(points)
    centroids, inertia = kmeans(points, 4)
    assert inertia == pytest.approx(wanted.inertia_, rel=1e-4)
    assert len(centroids) == 4


def test_components_equal_scikit_learns_up_to_sign(monkeypatch):
    monkeypatch.setattr("kge.text.reduction._ROWS", 32)
    points = np.random.default_rng(0).normal(size=(100, 9)).astype(np.float32) * np.arange(1, 10)
    found = principal_components(points, 4)
    wanted = PCA(4, svd_solver="full").fit_transform(points.astype(np.float64))
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-4)
    assert (found[np.abs(found).argmax(0), np.arange(4)] > 0).all()
    with pytest.raises(ValueError, match="between 1 and the width 9, got 10"):
        principal_components(points, 10)


def test_zero_rows_are_in_no_cluster():
    points, truth = blobs([20, 30])
    points[[3, 7, 40]] = 0
    found = cluster_vectors(points)
    assert (found.label[[3, 7, 40]] == -1).all()
    there = np.delete(np.arange(50), [3, 7, 40])
    assert adjusted_rand_score(truth[there], found.label[there]) == 1
    assert found.sizes.sum() == 47
    near, far = found.nearest(2)
    assert (near[3] == -1).all()
    assert np.isinf(far[3]).all()
    ptr, ids = found.members()
    assert sorted(ids) == there.tolist()
    assert ptr.tolist() == [0, *np.cumsum(found.sizes)]
    assert (found.label[ids] == np.repeat(np.arange(2), found.sizes)).all()


def test_more_clusters_than_entities():
    points, _ = blobs([5, 5])
    with pytest.raises(ValueError, match="between 1 and the 10 entities, got 11"):
        cluster_vectors(points, n_clusters=11)
    with pytest.raises(ValueError, match="got 0"):
        cluster_vectors(points, n_clusters=0)
    assert (np.sort(cluster_vectors(points, n_clusters=10).label) == np.arange(10)).all()
    doubled = np.repeat(points[[0, 7]], 5, axis=0)
    with pytest.warns(UserWarning, match="only 2 distinct"):
        found = cluster_vectors(doubled, n_clusters=6)
    assert found.sizes.tolist() == [5, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reduce": "tsne"}, "unknown reduce 'tsne'"),
        ({"n_components": 7}, "got 7"),
        ({"n_init": 0}, "n_init"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        cluster_vectors(blobs([5, 5])[0], **settings)


def test_vectors_that_are_all_zero_are_an_error():
    with pytest.raises(ValueError, match="all vectors are zero"):
        cluster_vectors(np.zeros((3, 2)))


@pytest.mark.parametrize("block", [2**22, 50])
def test_nearest_clusters_equal_a_loop(block, monkeypatch):
    monkeypatch.setattr("kge.text.kmeans._DISTANCES", block)
    points, _ = blobs([12, 9, 15, 4, 7], spread=2)
    found = cluster_vectors(points, n_clusters=9)
    near, far = found.nearest(3)
    assert near.shape == far.shape == (47, 3)
    for entity in range(47):
        distance = np.linalg.norm(found.vectors[entity] - found.centroids, axis=1)
        assert near[entity].tolist() == np.argsort(distance)[:3].tolist()
        np.testing.assert_allclose(far[entity], np.sort(distance)[:3], rtol=1e-4)
    assert (near[:, 0] == found.label).all()
    assert found.nearest(20)[0].shape == (47, 9)


def test_min_size_takes_further_clusters():
    points, _ = blobs([12, 9, 15, 4, 7], spread=2)
    found = cluster_vectors(points, n_clusters=9)
    near, _ = found.nearest(1, min_size=14)
    for row in near:
        held = [found.sizes[cluster] for cluster in row if cluster >= 0]
        assert sum(held) >= 14
        assert len(held) == 1 or sum(held[:-1]) < 14
    assert (found.nearest(1, min_size=1000)[0] >= 0).all()  # all clusters, not an error
    with pytest.raises(ValueError, match="n_near"):
        found.nearest(0)


def test_given_labels():
    points = np.array([[0.0, 0], [1, 0], [10, 0], [12, 0], [0.4, 0], [5, 5]])
    found = clusters_of_labels([7, 7, 3, 3, 3, -1], points)
    assert found.label.tolist() == [1, 1, 0, 0, 0, -1]
    np.testing.assert_allclose(found.centroids, [[22.4 / 3, 0], [0.5, 0]], rtol=1e-6)
    near, _ = found.nearest(2)
    assert near[4].tolist() == [0, 1]  # its own first, though the other is nearer
    assert near[5].tolist() == [-1, -1]
    alone = clusters_of_labels([7, 7, 3, 3, 3, -1])
    assert (alone.nearest(1)[0][:, 0] == alone.label).all()


@pytest.mark.parametrize("labels", [[0.5, 1], [-1, -1], [-2, 0], [], [[0], [1]]])
def test_bad_labels_are_named(labels):
    with pytest.raises(ValueError, match="labels must be"):
        clusters_of_labels(labels)


TEXTS = [f"{kind} number {i}" for kind in ("river", "painter", "protein") for i in range(12)]


def test_clusters_are_computed_once_and_read_afterwards(monkeypatch):
    first = text_clusters(TEXTS, TextEncoder(), n_clusters=3)
    assert len(list(cache_root().rglob("clusters-*.npz"))) == 1

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(clusters_module, "cluster_vectors", refuse)
    monkeypatch.setattr(TextEncoder, "encode", refuse)
    assert text_clusters(TEXTS, TextEncoder(), n_clusters=3) is first  # from memory
    clusters_module._RECENT.clear()
    again = text_clusters(TEXTS, TextEncoder(), n_clusters=3)  # from the file
    for name in ("label", "centroids", "vectors", "tried", "inertia"):
        assert (getattr(again, name) == getattr(first, name)).all()
    for texts, encoder, settings in (
        ([*TEXTS[:-1], "protein"], TextEncoder(), {"n_clusters": 3}),
        (TEXTS, TextEncoder(dim=5), {"n_clusters": 3}),
        (TEXTS, TextEncoder(), {"n_clusters": 4}),
    ):
        with pytest.raises(AssertionError, match="computed again"):
            text_clusters(texts, encoder, **settings)


def test_damaged_files_are_replaced():
    first = text_clusters(TEXTS, TextEncoder(), n_clusters=3)
    (path,) = cache_root().rglob("clusters-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    clusters_module._RECENT.clear()
    with pytest.warns(UserWarning, match="cannot be read"):
        again = text_clusters(TEXTS, TextEncoder(), n_clusters=3)
    assert (again.label == first.label).all()
    assert load_arrays("clusters", path.stem.removeprefix("clusters-")) is not None


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="GRAPHCL_CACHE"):
        assert text_clusters(TEXTS, TextEncoder(), n_clusters=3).num_clusters == 3


def test_an_interrupted_write_leaves_nothing(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("kge.text.cache.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store_arrays("clusters", "k", {"a": np.zeros(3)})
    assert not list((cache_root() / "text").iterdir())
    assert load_arrays("clusters", "k") is None


def test_keys_tell_contents_apart():
    base = content_key({"a": 1}, texts=["ab", "c"])
    assert base == content_key({"a": 1}, texts=["ab", "c"])
    others = [
        content_key({"a": 2}, texts=["ab", "c"]),
        content_key({"a": 1}, texts=["a", "bc"]),
        content_key({"a": 1}, texts=["ab", "c", ""]),
        content_key({"a": 1}, texts=["ab", "c"], array=np.zeros(2)),
        content_key({"a": 1}, texts=["ab", "c"], array=np.zeros(2, np.float32)),
        content_key({"a": 1}, texts=["ab", "c"], array=np.zeros((2, 1))),
    ]
    assert len({base, *others}) == 7


def test_sources_are_checked():
    with pytest.raises(ValueError, match="no texts"):
        find_entity_clusters(3)
    with pytest.raises(ValueError, match="not both"):
        find_entity_clusters(3, texts=["a"] * 3, embeddings=np.eye(3))
    for source in ({"texts": ["a", "b"]}, {"embeddings": np.eye(2)}, {"labels": [0, 1]}):
        with pytest.raises(ValueError, match="there are 3 entities, but 2"):
            find_entity_clusters(3, **source)
    with pytest.raises(ValueError, match="entity_ids"):
        find_entity_clusters(2, texts=["a", "b"], entity_ids=["x", "y"])
    with pytest.warns(UserWarning, match="1 of 3 entities have no text"):
        find_entity_clusters(3, texts=["a b", "", "c d"], n_clusters=np.int64(2))


def test_tables_are_read_and_rows_picked(tmp_path):
    path = tmp_path / "entities.tsv"
    lines = [f"e{i:02}\t{text}\t" for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(reversed(lines)) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = find_entity_clusters(36, texts=path, n_clusters=3)
        listed = find_entity_clusters(36, texts=TEXTS, n_clusters=3)
        some = find_entity_clusters(
            24, texts=str(path), entity_ids=[f"e{i:02}" for i in range(24)], n_clusters=2
        )
    assert (whole.label == listed.label).all()
    assert adjusted_rand_score(np.arange(24) // 12, some.label) == 1


@pytest.mark.real_data
def test_umls_elbow_and_real_texts(data_root):
    path = data_root / "KG" / "UMLS" / "entities.tsv"
    found = find_entity_clusters(135, texts=path)
    assert 2 <= found.num_clusters <= 9
    assert found.sizes.sum() == 135
    assert (found.nearest(1)[0][:, 0] == found.label).all()
