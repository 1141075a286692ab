"""Random candidates of OGB's protocol, and devices."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import DistMult, model_resolver

from graphcl.ranking.known import KnownTriples
from kge.datasets import load_dataset
from kge.experiment.environment import device_of
from kge.experiment.figures import all_known, draw_false, ogb_figures, rank
from kge.experiment.running import evaluate_run


@pytest.fixture(scope="module")
def umls() -> Any:
    return load_dataset("umls")


@pytest.mark.parametrize("column", [0, 2])
def test_drawn_candidates_are_false_and_any_false_one_comes(umls: Any, column: int) -> None:
    known, triples = all_known(umls), umls.testing.mapped_triples[:20]
    ids, valid = draw_false(triples, column, 2000, known, torch.Generator().manual_seed(0))
    made = triples[:, None].repeat(1, 2000, 1)
    made[..., column] = ids
    assert not known.contains(made[valid]).any()
    true = {tuple(row) for row in known.triples.tolist()}
    for row, triple in enumerate(triples.tolist()):
        allowed = {
            e for e in range(135) if (*triple[:column], e, *triple[column + 1 :]) not in true
        }
        assert set(ids[row][valid[row]].tolist()) == allowed


def test_no_candidate_is_left_where_all_are_true() -> None:
    known = KnownTriples(torch.tensor([[0, 0, 0], [0, 0, 1]]), num_entities=2)
    generator = torch.Generator().manual_seed(0)
    _, valid = draw_false(torch.tensor([[0, 0, 1]]), 2, 5, known, generator)
    assert not valid.any()


def test_ogb_figures_agree_in_expectation_with_full_ranks(umls: Any) -> None:
    """With C of F false entities drawn, the mean rank shrinks by C / F; MRR cannot fall."""
    model = DistMult(triples_factory=umls.training, embedding_dim=16, random_seed=0).eval()
    full = rank(model, umls, "test", progress=False)["mrr"]
    some = ogb_figures(model, umls, "test", candidates=20)
    more = ogb_figures(model, umls, "test", candidates=100)
    assert full < more["mrr"] < some["mrr"]
    assert some == ogb_figures(model, umls, "test", candidates=20)
    # An untrained model ranks at random: hits@10 of 21 competitors.
    assert some["hits@10"] == pytest.approx(10 / 21, abs=0.06)


@pytest.mark.parametrize("model", ["distmult", "transh"])
def test_ogb_figures_ask_a_model_of_inverse_relations_as_full_ranks_do(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all false entities as candidates both protocols have the same ranks."""
    graph = load_dataset("nations", create_inverse_triples=True)
    made = model_resolver.make(
        model, triples_factory=graph.training, embedding_dim=8, random_seed=0
    ).eval()

    def every(triples: Any, column: int, count: int, *_: Any) -> Any:
        ids = torch.arange(14).expand(len(triples), 14)
        whole = triples[:, None].repeat(1, 14, 1)
        whole[..., column] = ids
        return ids, ~all_known(graph).contains(whole)

    monkeypatch.setattr("kge.experiment.figures.draw_false", every)
    found = ogb_figures(made, graph, "test", candidates=13)
    known = [graph.training.mapped_triples, graph.validation.mapped_triples]
    expected = RankBasedEvaluator().evaluate(
        made, graph.testing.mapped_triples, additional_filter_triples=known, use_tqdm=False
    )
    assert found["mrr"] == pytest.approx(expected.get_metric("mrr"), abs=1e-6)


def test_more_candidates_than_entities_are_refused(finished: Path) -> None:
    with pytest.raises(ValueError, match="between 1 and 13, fewer than there are entities"):
        evaluate_run(finished, protocol="ogb", device="cpu", progress=False)
    found = evaluate_run(finished, protocol="ogb", candidates=5, device="cpu", progress=False)
    assert 0 < found["metrics"]["mrr"]["mean"] <= 1
    assert "5 drawn" in found["protocol"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "unknown device 'gpu'.*choose from auto, cpu, cuda"),
        ("cpu:1", "unknown device 'cpu:1'"),
        ("cuda:x", "unknown device 'cuda:x'"),
        ("cuda:99", "there is no device 'cuda:99'"),
    ],
)
def test_unknown_devices(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        device_of(name)


def test_known_devices() -> None:
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type in ("cpu", "cuda")
