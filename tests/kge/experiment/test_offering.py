"""Negatives of a triple given by labels."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kge.datasets import load_dataset
from kge.experiment.files import read_json
from kge.experiment.fitting import load_model
from kge.experiment.graph import graph_of_run
from kge.experiment.offering import ids_of, offer
from kge.experiment.running import settings_of_run
from kge.structure import StructureIndex

TRIPLE = "brazil ngo china"


def test_known_triples_are_named_where_nothing_is_filtered() -> None:
    graph = load_dataset("nations")
    offered = offer("nations", "uniform", TRIPLE, num=14, overrides={"filtered": False})
    assert {one.side for one in offered} == {"head", "tail"}
    splits = {"train": graph.training, "valid": graph.validation, "test": graph.testing}
    for one in offered:
        holding = [
            name
            for name, factory in splits.items()
            if list(one.triple) in factory.mapped_triples.tolist()
        ]
        assert list(one.known) == holding
    assert any(one.known for one in offered)
    filtered = offer("nations", "uniform", TRIPLE, num=14)
    assert not any("train" in one.known for one in filtered)


def test_hops_are_those_of_the_training_graph() -> None:
    graph = load_dataset("umls")
    index = StructureIndex(graph.training.mapped_triples, num_entities=graph.num_entities)
    for one in offer("umls", "lemon", "alga isa plant", num=4):
        kept = one.triple[2] if one.side == "head" else one.triple[0]
        expected = int(index.distances(*map(_one, (kept, one.entity)), 4))
        assert one.hops == (None if expected < 0 else expected)
        assert one.cluster is not None


def _one(number: int) -> torch.Tensor:
    return torch.tensor([number])


def test_a_run_gives_the_model_that_mines_and_scores(finished: Path) -> None:
    """What is mined are the best-scored entities that training does not know."""
    assert all(one.score is None for one in offer("nations", "hasa", TRIPLE, num=3))
    every = offer("nations", "uniform", TRIPLE, num=14, run=finished)
    settings = {"hard_share": 1.0, "num_structural": 0, "num_negs_per_pos": 4}
    mined = offer("nations", "hasa", TRIPLE, num=14, run=finished, overrides=settings)
    for side in ("head", "tail"):
        scores = {one.entity: one.score for one in every if one.side == side}
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
        assert {one.entity for one in mined if one.side == side} == set(best)


def test_scores_and_mining_of_a_model_with_inverse_relations(train: Any, tmp_path: Path) -> None:
    train(tmp_path, "hasa", overrides={"create_inverse_triples": True})
    every = offer("nations", "uniform", TRIPLE, num=14, run=tmp_path)
    config = read_json(tmp_path / "config.json")
    graph = graph_of_run(config)
    model = load_model(tmp_path / "seed-0" / "model.pt", graph, settings_of_run(config))
    _, relation, _ = ids_of(TRIPLE, graph)
    for one in every:
        assert one.triple[1] == relation
        expected = model.predict_hrt(torch.tensor([one.triple])).item()
        assert one.score == pytest.approx(expected, abs=1e-6)
        held = list(one.triple) in graph.validation.mapped_triples.tolist()
        assert ("valid" in one.known) == held
        assert "train" not in one.known
    settings = {"hard_share": 1.0, "num_structural": 0, "num_negs_per_pos": 4}
    mined = offer("nations", "hasa", TRIPLE, num=14, run=tmp_path, overrides=settings)
    for side in ("head", "tail"):
        scores = {one.entity: one.score for one in every if one.side == side}
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
        assert {one.entity for one in mined if one.side == side} == set(best)


def test_mistakes(finished: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown sampler 'hass' .did you mean 'hasa'"):
        offer("nations", "hass", TRIPLE)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        offer("nations", "uniform", TRIPLE, num=0)
    with pytest.raises(ValueError, match=r"unknown setting 'hard_shar' .did you mean 'hard_share'"):
        offer("nations", "hasa", TRIPLE, overrides={"hard_shar": 1})
    with pytest.raises(ValueError, match="was trained on nations, not on umls"):
        offer("umls", "hasa", "alga isa plant", run=finished)
    with pytest.raises(FileNotFoundError, match="did you mean 'nations'"):
        offer("natoins", "hasa", TRIPLE)


@pytest.mark.parametrize(
    ("triple", "message"),
    [
        ("brazil china", "got 2 words"),
        ("brazil\tngo", "got 2 words"),
        ("brasil ngo china", "unknown entity 'brasil' .did you mean 'brazil'"),
        ("brazil ngoo china", "unknown relation 'ngoo' .did you mean 'ngo'"),
    ],
)
def test_words_that_are_no_triple(triple: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ids_of(triple, load_dataset("nations"))


def test_labels_before_names_and_tabs_before_spaces(novel: Path) -> None:
    (novel / "entities.tsv").write_text("e0\tThe first\t\ne1\tTwin\t\ne2\tTwin\t\n")
    graph = load_dataset(novel)
    assert ids_of("The first\tr0\te1", graph) == ids_of("e0 r0 e1", graph)
    with pytest.raises(ValueError, match="2 entities have the name 'Twin': say e1 or e2"):
        ids_of("Twin r0 e1", graph)


def test_structural_candidates_come_without_a_model() -> None:
    """A quarter of the columns, up to four, holds members of the ball, here its neighbours."""
    settings = {"num_negs_per_pos": 8, "hops": 1}
    offered = offer("umls", "hasa", "alga isa plant", num=135, draws=4096, overrides=settings)
    plain = offer("umls", "uniform", "alga isa plant", num=135, draws=4096)

    def near(some: list[Any]) -> float:
        drawn = sum(one.share for one in some)
        return sum(one.share for one in some if one.hops == 1) / drawn

    assert near(offered) > near(plain) + 0.15


def test_the_graph_of_a_run_may_be_named_by_a_relative_path(
    train: Any, novel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(novel.parent)
    train(tmp_path / "run", dataset=Path(novel.name))
    offered = offer(novel.name, "uniform", "e0 r0 e1", num=2, run=tmp_path / "run")
    assert all(one.score is not None for one in offered)
