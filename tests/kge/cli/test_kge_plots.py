"""What the pictures of a run show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pykeen.models import DistMult

from kge.datasets import load_dataset
from kge.experiment.figures import all_known
from kge.experiment.files import read_json
from kge.experiment.fitting import load_model
from kge.experiment.graph import graph_of_run
from kge.experiment.running import settings_of_run
from kge.plots.learning_curves import learning_curves
from kge.plots.score_distributions import KINDS, sample_scores, score_distributions
from kge.plots.text_map import clusters_for_map, text_map
from kge.text.clusters import clusters_of_labels


@pytest.fixture(scope="module")
def loaded(finished: Path) -> tuple[Any, Any, Any]:
    config = read_json(finished / "config.json")
    graph, settings = graph_of_run(config), settings_of_run(config)
    return load_model(finished / "model.pt", graph, settings), graph, settings


def test_scores_of_each_kind_are_of_true_or_of_false_triples(
    loaded: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, graph, _ = loaded
    asked: list[torch.Tensor] = []
    score = model.score_hrt

    def spy(triples: torch.Tensor) -> torch.Tensor:
        asked.append(triples)
        return score(triples)

    monkeypatch.setattr(model, "score_hrt", spy)
    scores = sample_scores(model, graph, rows=100)
    assert tuple(scores) == KINDS
    known = all_known(graph)
    positive, hard, structural, chance = asked
    assert known.contains(positive).all()
    assert len(positive) == 100
    for kind in (hard, structural, chance):
        assert not known.contains(kind).any()
        assert 0 < len(kind) <= 800
    assert scores["hard"].mean() > scores["random"].mean()
    assert np.isfinite(np.concatenate([*scores.values()])).all()


def test_hard_ones_are_the_best_scored(loaded: tuple[Any, Any, Any]) -> None:
    model, graph, _ = loaded
    best = sample_scores(model, graph, rows=20)["hard"]
    known, test = all_known(graph), graph.testing.mapped_triples
    rows = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:20]]
    expected = []
    for column in (0, 2):
        for row in rows:
            made = row.repeat(graph.num_entities, 1)
            made[:, column] = torch.arange(graph.num_entities)
            made = made[~known.contains(made)]
            expected += model.score_hrt(made).view(-1).sort(descending=True).values[:4].tolist()
    assert sorted(best.tolist()) == pytest.approx(sorted(expected), abs=1e-5)


def test_a_model_of_inverse_relations_scores_as_it_ranks() -> None:
    graph = load_dataset("nations", create_inverse_triples=True)
    model = DistMult(triples_factory=graph.training, embedding_dim=4, random_seed=0).eval()
    scores = sample_scores(model, graph, rows=20)
    known, test = all_known(graph), graph.testing.mapped_triples
    rows = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:20]]
    assert scores["positive"] == pytest.approx(model.predict_hrt(rows).view(-1).tolist())
    expected = []
    for side, column in (("head", 0), ("tail", 2)):
        for row, found in zip(rows, model.predict(rows, side), strict=True):
            made = row.repeat(14, 1)
            made[:, column] = torch.arange(14)
            best = found[~known.contains(made)].sort(descending=True).values[:4]
            expected += best.tolist()
    assert sorted(scores["hard"].tolist()) == pytest.approx(sorted(expected), abs=1e-6)


def test_a_kind_without_triples_is_not_drawn() -> None:
    scores = {"positive": np.array([1.0, 1.0]), "structural": np.zeros(0)}
    (axes,) = score_distributions(scores).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["positive (2)"]


def test_curves_of_all_seeds_with_the_best_of_validation() -> None:
    rows = [
        {"seed": seed, "epoch": str(epoch), "loss": str(1 / epoch), "validation": value}
        for seed in ("0", "1")
        for epoch, value in enumerate(("", "0.25", "", "0.125"), start=1)
    ]
    left, right = learning_curves(rows, metric="hits@10").axes
    assert [list(line.get_xdata()) for line in left.lines] == [[1, 2, 3, 4]] * 2
    assert [list(line.get_ydata()) for line in right.lines] == [[0.25, 0.125]] * 2
    assert [text.get_text() for text in right.texts] == ["0.250"] * 2
    assert right.get_ylabel() == "validation hits@10"


def test_curves_without_validation() -> None:
    rows = [{"seed": "0", "epoch": "1", "loss": "2.0", "validation": ""}]
    _, right = learning_curves(rows).axes
    assert not right.lines


def test_the_map_shows_every_entity_and_names_each_cluster(loaded: tuple[Any, Any, Any]) -> None:
    _, graph, settings = loaded
    clusters = clusters_for_map(settings, graph)
    (axes,) = text_map(clusters, graph.entity_names).axes
    assert len(axes.collections[0].get_offsets()) == graph.num_entities
    assert len(axes.texts) == min(20, clusters.num_clusters)
    named = {graph.entity_names.index(text.get_text()) for text in axes.texts}
    assert len({clusters.label[one] for one in named}) == len(axes.texts)


def test_rows_that_are_alike_make_a_map_and_two_do_not() -> None:
    alike = clusters_of_labels([0, 0, 1, 1, -1], np.ones((5, 3), dtype=np.float32))
    (axes,) = text_map(alike, list("abcde")).axes
    assert len(axes.collections[0].get_offsets()) == 4
    few = clusters_of_labels([0, 1, -1], np.ones((3, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="2 entities with vectors make no map"):
        text_map(few, list("abc"))
