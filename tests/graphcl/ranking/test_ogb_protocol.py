"""OGB's protocol against OGB's own evaluator: unit test T9 of NCN's specification."""

import pytest
import torch

from graphcl.kernels.ranks import NonFiniteScores
from graphcl.ranking import ogb as module
from graphcl.ranking.ogb import ogb_hits_at_k, ogb_mrr
from graphcl.ranking.ogb_files import import_ogb


@pytest.fixture(scope="module")
def evaluators():
    linkproppred = import_ogb("ogb.linkproppred")
    return {
        name: linkproppred.Evaluator(name=name)
        for name in ("ogbl-ddi", "ogbl-collab", "ogbl-ppa", "ogbl-citation2")
    }


def scores(kind, *shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=g)
    return {
        "random": values,
        "tied": (values * 2).round(),
        "constant": torch.full(shape, 0.5),
        "infinite": torch.where(values > 1, torch.inf, values),
        "double": values.double(),
    }[kind]


KINDS = ("random", "tied", "constant", "infinite", "double")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("negatives", [0, 5, 19, 20, 21, 50, 300])
def test_t9_hits_equal_ogb(evaluators, kind, negatives):
    positive, negative = scores(kind, 41), scores(kind, negatives, seed=1)
    for name in ("ogbl-ddi", "ogbl-collab", "ogbl-ppa"):
        evaluator = evaluators[name]
        theirs = evaluator.eval({"y_pred_pos": positive, "y_pred_neg": negative})
        ours = ogb_hits_at_k(positive, negative, evaluator.K)
        assert ours == theirs[f"hits@{evaluator.K}"]
        assert ogb_hits_at_k(positive, iter(negative.split(7)), evaluator.K) == ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (63, 127), (5, 0)])
def test_t9_mrr_equals_ogb(evaluators, kind, shape, monkeypatch):
    positive, negative = scores(kind, shape[0]), scores(kind, *shape, seed=1)
    theirs = evaluators["ogbl-citation2"].eval({"y_pred_pos": positive, "y_pred_neg": negative})
    for at_once in (1 << 20, 50):
        monkeypatch.setattr(module, "_AT_ONCE", at_once)
        chunks = iter(negative.split(10, dim=1)) if shape[1] else iter([negative])
        for ours in (ogb_mrr(positive, negative), ogb_mrr(positive, chunks)):
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                assert ours[name].dtype == value.dtype
                assert torch.equal(ours[name], value), name


def test_constant_scores_are_at_chance():
    result = ogb_mrr(torch.zeros(3), torch.zeros(3, 9))
    assert torch.allclose(result["mrr_list"], torch.tensor(1 / 5.5))
    assert ogb_hits_at_k(torch.zeros(3), torch.zeros(9), 1) == 0


def test_nan_is_an_error():
    good, bad = torch.zeros(4), torch.tensor([0.0, 0.0, float("nan"), 0.0])
    for call in (
        lambda: ogb_hits_at_k(bad, good, 1),
        lambda: ogb_hits_at_k(good, bad, 1),
        lambda: ogb_mrr(bad, torch.zeros(4, 2)),
        lambda: ogb_mrr(good, torch.stack((good, bad), 1)),
    ):
        with pytest.raises(NonFiniteScores, match="2 is NaN") as error:
            call()
        assert error.value.row == 2


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(0,\)"):
        ogb_hits_at_k(torch.empty(0), torch.zeros(3), 1)
    with pytest.raises(ValueError, match="at least 1"):
        ogb_hits_at_k(torch.zeros(1), torch.zeros(3), 0)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        ogb_hits_at_k(torch.zeros(1), torch.zeros(3, 1), 1)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        ogb_mrr(torch.zeros(2), torch.zeros(3, 2))
