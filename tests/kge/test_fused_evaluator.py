"""The fused evaluator gives PyKEEN's ranks, for every kind of model, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GRAPHS = ("nations", "kinships", "umls")
FUSED = {
    "distmult": {},
    "complex": {"embedding_dim": 20},
    "transe": {"scoring_fct_norm": 1},
    "TransE": {"scoring_fct_norm": 2},
    "TRANSE": {"scoring_fct_norm": 2, "power_norm": True},
    "rotate": {"embedding_dim": 20},
}
OTHERS = ("conve", "tucker", "simple", "kg2e", "transr", "cp", "rescal", "proje")


def _graph(name: str, **kwargs: Any):
    from kge.datasets import load_dataset

    return load_dataset(name, "/nonexistent", **kwargs)


def _model(name: str, graph: Any, **kwargs: Any):
    from pykeen.models import model_resolver

    if name == "conve":
        kwargs = {"embedding_dim": 32, "output_channels": 4, **kwargs}
    return model_resolver.make(name, kwargs, triples_factory=graph.training, random_seed=0)


def _evaluate(evaluator: Any, model: Any, graph: Any, **kwargs: Any):
    known = [graph.training.mapped_triples, graph.validation.mapped_triples]
    arguments = {"additional_filter_triples": known, "use_tqdm": False, **kwargs}
    return evaluator.evaluate(model, graph.testing.mapped_triples, **arguments)


def _both(model: Any, graph: Any, ours: dict[str, Any] | None = None, **kwargs: Any):
    """Our evaluator and PyKEEN's, after the same evaluation, with their results."""
    from pykeen.evaluation import RankBasedEvaluator

    from kge import FusedRankBasedEvaluator

    mine = FusedRankBasedEvaluator(clear_on_finalize=False, **(ours or {}))
    theirs = RankBasedEvaluator(clear_on_finalize=False)
    results = [_evaluate(evaluator, model, graph, **kwargs) for evaluator in (mine, theirs)]
    return mine, theirs, *(one.to_flat_dict() for one in results)


def _assert_identical(model: Any, graph: Any, ours: dict[str, Any] | None = None, **kwargs: Any):
    mine, theirs, got, expected = _both(model, graph, ours, **kwargs)
    assert mine.ranks.keys() == theirs.ranks.keys()
    for key, ranks in theirs.ranks.items():
        found = np.concatenate(mine.ranks[key])
        assert found.dtype == np.concatenate(ranks).dtype
        np.testing.assert_array_equal(found, np.concatenate(ranks), err_msg=str(key))
    for side, counts in theirs.num_candidates.items():
        found = np.concatenate(mine.num_candidates[side])
        np.testing.assert_array_equal(found, np.concatenate(counts))
    # The same ranks go through the same code: not close, but equal.
    np.testing.assert_equal(got, expected)
    return mine


class TestEqualToPyKEEN:
    """In double precision nothing is left to rounding, so that all must agree exactly."""

    @pytest.mark.parametrize("inverse", [False, True])
    @pytest.mark.parametrize("name", FUSED)
    @pytest.mark.parametrize("graph", GRAPHS)
    @pytest.mark.spec(35)
    def test_query_key_models(self, graph: str, name: str, inverse: bool) -> None:
        data = _graph(graph, create_inverse_triples=inverse)
        evaluator = _assert_identical(_model(name, data, **FUSED[name]).double(), data)
        assert "compares queries and keys" in evaluator.path

    @pytest.mark.parametrize("inverse", [False, True])
    @pytest.mark.parametrize("name", OTHERS)
    def test_any_other_model(self, name: str, inverse: bool) -> None:
        data = _graph("nations", create_inverse_triples=inverse)
        evaluator = _assert_identical(_model(name, data).double(), data)
        assert "compares queries and keys" not in evaluator.path

    @pytest.mark.parametrize("name", ["distmult", "complex", "transe", "rotate"])
    def test_trained_in_single_precision(self, name: str) -> None:
        """Where scores differ by rounding alone, PyKEEN may see ties or swaps that are none."""
        from pykeen.training import SLCWATrainingLoop

        data = _graph("kinships")
        model = _model(name, data, **FUSED[name])
        loop = SLCWATrainingLoop(model=model, triples_factory=data.training)
        loop.train(data.training, num_epochs=3, batch_size=512, use_tqdm=False)
        mine, theirs, got, expected = _both(model, data)
        for key, ranks in theirs.ranks.items():
            difference = np.abs(np.concatenate(mine.ranks[key]) - np.concatenate(ranks))
            assert difference.max() <= 1
            assert np.count_nonzero(difference) <= 3
        for key in ("both.realistic.inverse_harmonic_mean_rank", "both.realistic.hits_at_10"):
            assert got[key] == pytest.approx(expected[key], abs=2e-4)
        assert got.keys() == expected.keys()

    def test_some_of_the_triples_have_the_ranks_they_have_among_all(self) -> None:
        from kge.evaluation.fused_rank_based import FusedRankBasedEvaluator

        data = _graph("nations")
        model, triples = _model("distmult", data), data.testing.mapped_triples
        given = {"additional_filter_triples": [data.training.mapped_triples], "use_tqdm": False}
        reports = []
        for most in (None, 50, 50, 10_000):
            evaluator = FusedRankBasedEvaluator(most=most)
            evaluator.evaluate(model, triples, **given)
            reports.append(evaluator.report.ranks)
        whole, some, again, every = reports
        assert torch.equal(every.greater, whole.greater)
        assert torch.equal(some.greater, again.greater)
        assert len(some) == 100
        order = torch.randperm(len(triples), generator=torch.Generator().manual_seed(0))[:50]
        for side in (0, 2):
            mine, all_of_them = some.select(some.side == side), whole.select(whole.side == side)
            for name in ("greater", "equal", "candidates", "relation"):
                assert torch.equal(getattr(mine, name), getattr(all_of_them, name)[order])
        with pytest.raises(ValueError, match="most must be a count of triples from 1"):
            FusedRankBasedEvaluator(most=0)

    @pytest.mark.parametrize("name", ["transe", "simple"])
    @pytest.mark.parametrize("targets", [("tail",), ("head",), ("tail", "head")])
    def test_sides(self, name: str, targets: tuple[str, ...]) -> None:
        data = _graph("nations")
        evaluator = _assert_identical(_model(name, data).double(), data, targets=targets)
        assert {side for side, _ in evaluator.ranks} == set(targets)

    @pytest.mark.parametrize("name", ["complex", "simple"])
    def test_forms_of_filter_triples(self, name: str) -> None:
        data = _graph("nations")
        model = _model(name, data).double()
        for known in (None, data.training.mapped_triples, [data.training.mapped_triples] * 2):
            _assert_identical(model, data, additional_filter_triples=known)

    @pytest.mark.parametrize("name", ["distmult", "simple"])
    def test_restricted_entities(self, name: str) -> None:
        data = _graph("umls")
        kept = list(range(3, 90))
        evaluator = _assert_identical(
            _model(name, data).double(),
            data,
            restrict_entities_to=kept,
            pre_filtered_triples=False,
        )
        assert evaluator.num_entities == len(kept)

    def test_restricted_relations(self) -> None:
        data = _graph("umls")
        model = _model("distmult", data).double()
        arguments = {"restrict_relations_to": [1, 2, 5], "pre_filtered_triples": False}
        _assert_identical(model, data, **arguments)

    @pytest.mark.parametrize("rows", [1, 7, 1000])
    @pytest.mark.parametrize("columns", [1, 5, 1000])
    def test_chunks_do_not_matter(self, rows: int, columns: int) -> None:
        data = _graph("nations")
        data.testing.mapped_triples = data.testing.mapped_triples[:40]
        model = _model("simple", data).double()
        _, _, got, expected = _both(model, data, {"batch_size": rows, "slice_size": columns})
        np.testing.assert_equal(got, expected)
        _, _, got, _ = _both(model, data, {"chunk_bytes": 1})
        np.testing.assert_equal(got, expected)

    def test_saturated_sigmoid(self) -> None:
        data = _graph("nations")
        model = _model("distmult", data, predict_with_sigmoid=True)
        with torch.no_grad():
            model.relation_representations[0]._embeddings.weight *= 1000
        evaluator = _assert_identical(model, data)
        assert "sigmoid" in evaluator.path
        assert evaluator.report.ranks.equal.sum() > 100

    @pytest.mark.parametrize("chunk_bytes", [1, 1 << 27])
    def test_model_that_always_scores_all_entities(self, chunk_bytes: int) -> None:
        from pykeen.models import CooccurrenceFilteredModel

        data = _graph("nations")
        model = CooccurrenceFilteredModel(
            triples_factory=data.training,
            base="distmult",
            inference_fill_value=-1000.0,  # PyKEEN's own is -inf, which is refused
            random_seed=0,
        )
        _assert_identical(model.double(), data, {"chunk_bytes": chunk_bytes})

    def test_changed_scoring_is_respected(self) -> None:
        from pykeen.models import DistMult

        class Backwards(DistMult):
            def score_t(self, *args: Any, **kwargs: Any) -> torch.Tensor:
                return -super().score_t(*args, **kwargs)

        data = _graph("nations")
        model = Backwards(triples_factory=data.training, random_seed=0).double()
        assert "has its own score_t" in _assert_identical(model, data).path
        model = _model("distmult", data).double()
        plain = model.score_h
        model.score_h = lambda *args, **kwargs: -plain(*args, **kwargs)
        assert "has its own score_h" in _assert_identical(model, data).path

    def test_inductive_model(self) -> None:
        from pykeen.models import InductiveNodePiece
        from pykeen.triples import TriplesFactory

        data = _graph("nations", create_inverse_triples=True)
        inference = TriplesFactory(
            data.training.mapped_triples[:300],
            data.entity_to_id,
            data.training.relation_to_id,
            create_inverse_triples=True,
        )
        model = InductiveNodePiece(
            triples_factory=data.training,
            inference_factory=inference,
            num_tokens=4,
            embedding_dim=8,
            random_seed=0,
        ).double()
        from pykeen.evaluation import RankBasedEvaluator

        from kge import FusedRankBasedEvaluator

        got, expected = (
            _evaluate(kind(mode="testing"), model, data).to_flat_dict()
            for kind in (FusedRankBasedEvaluator, RankBasedEvaluator)
        )
        np.testing.assert_equal(got, expected)

    def test_confidence_by_bootstrap(self) -> None:
        data = _graph("nations")
        mine, theirs, _, _ = _both(_model("distmult", data).double(), data)
        assert mine.finalize_with_confidence(n_boot=3) == theirs.finalize_with_confidence(n_boot=3)

    @pytest.mark.real_data
    def test_wn18rr(self, data_root: Path) -> None:
        from kge.datasets import load_dataset

        data = load_dataset("wn18rr", data_root)
        data.testing.mapped_triples = data.testing.mapped_triples[::100]
        _assert_identical(_model("distmult", data, embedding_dim=16).double(), data)


class TestByHand:
    def test_unfiltered(self) -> None:
        """PyKEEN 1.11.1 itself fails here, so that the oracle is the definition."""
        from kge import FusedRankBasedEvaluator

        data = _graph("nations")
        for name in ("transe", "simple"):
            model = _model(name, data).double()
            evaluator = FusedRankBasedEvaluator(filtered=False)
            results = evaluator.evaluate(model, data.testing.mapped_triples, use_tqdm=False)
            ranks = []
            for h, r, t in data.testing.mapped_triples.tolist():
                scores = model.predict_h(torch.tensor([[r, t]]))[0]
                ranks.append(1 + int((scores > scores[h]).sum()))
                scores = model.predict_t(torch.tensor([[h, r]]))[0]
                ranks.append(1 + int((scores > scores[t]).sum()))
            assert results.get_metric("optimistic.mr") == pytest.approx(np.mean(ranks))
            assert "unfiltered" in str(evaluator.report.protocol)

    @pytest.mark.parametrize("graph", GRAPHS)
    @pytest.mark.spec(35)
    def test_filtered_by_nested_loops(self, graph: str) -> None:
        from kge import FusedRankBasedEvaluator

        data = _graph(graph)
        model = _model("distmult", data).double()
        with torch.no_grad():  # coarse scores tie
            for parameter in model.parameters():
                parameter.copy_(parameter.round(decimals=0) + (parameter > 0))
        splits = (data.training, data.validation, data.testing)
        known = {tuple(t) for split in splits for t in split.mapped_triples.tolist()}
        ranks: dict[str, list[tuple[float, float, float]]] = {"head": [], "tail": []}
        ties = 0
        for h, r, t in data.testing.mapped_triples.tolist():
            for side, own in (("head", h), ("tail", t)):
                every = range(data.num_entities)
                triples = [(e, r, t) if side == "head" else (h, r, e) for e in every]
                scores = model.predict_hrt(torch.tensor(triples))[:, 0].tolist()
                rivals = [e for e in every if e != own and triples[e] not in known]
                greater = sum(scores[e] > scores[own] for e in rivals)
                equal = sum(scores[e] == scores[own] for e in rivals)
                ties += equal
                ranks[side].append((1 + greater, 1 + greater + equal / 2, 1 + greater + equal))
        assert ties > 0
        results = _evaluate(FusedRankBasedEvaluator(), model, data)
        for side, own in (*ranks.items(), ("both", ranks["head"] + ranks["tail"])):
            kinds = zip(("optimistic", "realistic", "pessimistic"), np.array(own).T, strict=True)
            for kind, rank in kinds:
                found = {m: results.get_metric(f"{side}.{kind}.{m}") for m in ("mr", "mrr")}
                assert found["mr"] == pytest.approx(np.mean(rank))
                assert found["mrr"] == pytest.approx(np.mean(1 / rank))
                hits = results.get_metric(f"{side}.{kind}.hits_at_3")
                assert hits == pytest.approx(np.mean(rank <= 3))

    @pytest.mark.parametrize("name", ["distmult", "transe", "simple"])
    @pytest.mark.spec(35)
    def test_constant_model_ties_everywhere(self, name: str) -> None:
        from kge import FusedRankBasedEvaluator

        data = _graph("nations")
        model = _model(name, data)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        evaluator = FusedRankBasedEvaluator()
        results = _evaluate(evaluator, model, data)
        count = 1 + evaluator.report.ranks.candidates.double()
        assert results.get_metric("optimistic.mr") == 1
        assert results.get_metric("realistic.mr") == pytest.approx(float((count + 1).mean()) / 2)
        assert results.get_metric("pessimistic.mr") == pytest.approx(float(count.mean()))
        assert results.get_metric("amri") == pytest.approx(0, abs=1e-6)

    def test_report_by_relation(self) -> None:
        from kge import FusedRankBasedEvaluator

        data = _graph("nations")
        evaluator = FusedRankBasedEvaluator()
        assert evaluator.report is None
        results = _evaluate(evaluator, _model("distmult", data), data)
        assert evaluator.report["mrr"] == pytest.approx(results.get_metric("mrr"), rel=1e-6)
        rows = evaluator.report.by_relation()
        assert set(rows) == set(data.testing.mapped_triples[:, 1].tolist())
        total = sum(row["count"] for row in rows.values())
        assert total == 2 * data.testing.num_triples
        weighted = sum(row["count"] * row["mean_reciprocal_rank"] for row in rows.values())
        assert weighted / total == pytest.approx(results.get_metric("mrr"), rel=1e-6)


class TestErrors:
    @pytest.mark.parametrize("name", ["distmult", "rotate", "simple"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.spec(37)
    def test_diverged_models_do_not_rank_first(self, name: str, value: float) -> None:
        from graphcl.ranking import NonFiniteScores
        from kge import FusedRankBasedEvaluator
        from kge.evaluation.fused_rank_based import DivergedModel

        data = _graph("nations")
        model = _model(name, data)
        with torch.no_grad():
            next(model.entity_representations[0].parameters())[5] = value
        with pytest.raises(DivergedModel, match="diverged parameters") as error:
            _evaluate(FusedRankBasedEvaluator(), model, data)
        assert isinstance(error.value, NonFiniteScores)
        assert isinstance(error.value, RuntimeError)  # what hpo_pipeline catches

    def test_bad_arguments(self) -> None:
        from kge import FusedRankBasedEvaluator

        data = _graph("nations")
        model = _model("distmult", data)
        evaluator = FusedRankBasedEvaluator()
        with pytest.raises(ValueError, match="no triples to evaluate"):
            evaluator.evaluate(model, data.testing.mapped_triples[:0])
        with pytest.raises(NotImplementedError, match="relations"):
            _evaluate(evaluator, model, data, targets=("head", "relation"))
        with pytest.raises(ValueError, match="targets must be"):
            _evaluate(evaluator, model, data, targets=())
        with pytest.raises(ValueError, match=r"entities outside .* \[7\]"):
            _evaluate(evaluator, model, data, restrict_entities_to=[*range(7), *range(8, 14)])
        with pytest.raises(ValueError, match="relations outside"):
            _evaluate(evaluator, model, data, restrict_relations_to=[0])
        with pytest.raises(ValueError, match="15"):
            _evaluate(evaluator, model, data, additional_filter_triples=torch.tensor([[0, 0, 14]]))
        with pytest.raises(ValueError, match="chunk_bytes"):
            FusedRankBasedEvaluator(chunk_bytes=0)


class _Watch(TorchDispatchMode):
    """The size of the largest tensor that is created."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [one.numel() for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
        self.largest = max([self.largest, *sizes])
        return result


class TestMemoryAndWork:
    ENTITIES, TRIPLES, WIDTH = 3000, 20000, 8

    def _large(self):
        from pykeen.triples import CoreTriplesFactory

        generator = torch.Generator().manual_seed(0)
        ends = torch.randint(self.ENTITIES, (self.TRIPLES, 2), generator=generator)
        relation = torch.randint(5, (self.TRIPLES, 1), generator=generator)
        triples = torch.cat((ends[:, :1], relation, ends[:, 1:]), 1)
        return CoreTriplesFactory(triples, num_entities=self.ENTITIES, num_relations=5)

    @pytest.mark.parametrize("name", ["complex", "transe", "simple"])
    def test_no_large_tensor(self, name: str) -> None:
        from pykeen.models import model_resolver

        from kge import FusedRankBasedEvaluator

        factory = self._large()
        model = model_resolver.make(
            name, triples_factory=factory, embedding_dim=self.WIDTH, random_seed=0
        )
        evaluator = FusedRankBasedEvaluator(chunk_bytes=1 << 21)
        test = factory.mapped_triples[:2000]
        with _Watch() as watch:
            evaluator.evaluate(
                model,
                test,
                additional_filter_triples=factory.mapped_triples,
                use_tqdm=False,
            )
        # Neither triples x entities, nor a batch x known triples, nor a batch x entities x width.
        assert watch.largest <= max(1 << 19, 3 * (self.TRIPLES + 2000))

    def test_each_query_is_scored_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pykeen.models import SimplE

        data = _graph("nations")
        model = _model("simple", data)
        rows = []
        score = SimplE.score_t

        def counted(self: Any, hr_batch: torch.Tensor, *, tails: Any = None, **kwargs: Any):
            rows.append((len(hr_batch), 0 if tails is None else len(tails)))
            return score(self, hr_batch, tails=tails, **kwargs)

        monkeypatch.setattr(SimplE, "score_t", counted)
        from kge import FusedRankBasedEvaluator

        _evaluate(FusedRankBasedEvaluator(), model, data, targets=("tail",))
        distinct = len(data.testing.mapped_triples[:, :2].unique(dim=0))
        assert distinct < data.testing.num_triples
        # All at once, apart from the probes of its cost and of its consistency.
        assert max(rows) == (distinct, 14)
        assert sum(size == (distinct, 14) for size in rows) <= 2

    def test_out_of_memory_is_retried_in_smaller_chunks(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from kge import FusedRankBasedEvaluator
        from kge.evaluation.model_scores import ModelScores

        data = _graph("nations")
        model = _model("simple", data).double()
        expected = _evaluate(FusedRankBasedEvaluator(), model, data).to_flat_dict()
        score = ModelScores.__call__

        def limited(self: Any, triples: torch.Tensor, side: Any, candidates: torch.Tensor):
            if len(triples) * len(candidates) > 100:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return score(self, triples, side, candidates)

        monkeypatch.setattr(ModelScores, "__call__", limited)
        got = _evaluate(FusedRankBasedEvaluator(), model, data).to_flat_dict()
        np.testing.assert_equal(got, expected)
        assert "trying again" in caplog.text

        def hopeless(*args: Any) -> None:
            raise torch.cuda.OutOfMemoryError("out of memory")

        monkeypatch.setattr(ModelScores, "_bytes_per_pair", lambda *args: 100.0)
        monkeypatch.setattr(ModelScores, "__call__", hopeless)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            _evaluate(FusedRankBasedEvaluator(), model, data)

    def test_other_errors_are_not_swallowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from kge import FusedRankBasedEvaluator
        from kge.evaluation.model_scores import ModelScores

        data = _graph("nations")
        monkeypatch.setattr(ModelScores, "_bytes_per_pair", lambda *args: 100.0)

        def broken(*args: Any) -> None:
            raise RuntimeError("something else")

        monkeypatch.setattr(ModelScores, "__call__", broken)
        with pytest.raises(RuntimeError, match="something else"):
            _evaluate(FusedRankBasedEvaluator(), _model("simple", data), data)


class TestInPyKEEN:
    @pytest.fixture(autouse=True)
    def _registered(self) -> None:
        import kge

        kge.register()

    def test_pipeline_with_early_stopping(self) -> None:
        from pykeen.pipeline import pipeline

        data = _graph("nations")
        results = {
            name: pipeline(
                training=data.training,
                validation=data.validation,
                testing=data.testing,
                model="distmult",
                model_kwargs={"embedding_dim": 8},
                epochs=6,
                training_kwargs={"use_tqdm": False},
                evaluation_kwargs={"use_tqdm": False},
                stopper="early",
                stopper_kwargs={"frequency": 2, "patience": 2},
                evaluator=name,
                random_seed=3,
                device="cpu",
            )
            for name in ("fusedrankbased", "rankbased")
        }
        ours, theirs = results["fusedrankbased"], results["rankbased"]
        assert type(ours.stopper.evaluator).__name__ == "FusedRankBasedEvaluator"
        assert ours.losses == theirs.losses
        assert len(ours.stopper.results) == 3
        assert ours.stopper.results == pytest.approx(theirs.stopper.results, abs=1e-4)
        got, expected = (one.metric_results.to_flat_dict() for one in (ours, theirs))
        assert got.keys() == expected.keys()
        key = "both.realistic.inverse_harmonic_mean_rank"
        assert got[key] == pytest.approx(expected[key], abs=1e-4)

    def test_hpo(self) -> None:
        from pykeen.hpo import hpo_pipeline

        data = _graph("nations")
        result = hpo_pipeline(
            n_trials=2,
            training=data.training,
            validation=data.validation,
            testing=data.testing,
            model="distmult",
            model_kwargs={"embedding_dim": 8},
            training_kwargs={"num_epochs": 1, "use_tqdm": False},
            evaluation_kwargs={"use_tqdm": False},
            evaluator="fusedrankbased",
            evaluator_kwargs={"filtered": True},
            metric="both.realistic.mrr",
            device="cpu",
        )
        assert len(result.study.trials) == 2
        assert 0 < result.study.best_value < 1
        assert result.study.user_attrs["evaluator"] == "fusedrankbased"

    def test_a_diverged_trial_does_not_end_the_search(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from optuna.trial import TrialState
        from pykeen.hpo import hpo_pipeline

        from kge import FusedRankBasedEvaluator

        evaluate = FusedRankBasedEvaluator.evaluate
        calls = []

        def diverge_once(self: Any, model: Any, *args: Any, **kwargs: Any):
            calls.append(model)
            if len(calls) == 1:
                with torch.no_grad():
                    next(model.parameters()).fill_(float("nan"))
            return evaluate(self, model, *args, **kwargs)

        monkeypatch.setattr(FusedRankBasedEvaluator, "evaluate", diverge_once)
        data = _graph("nations")
        result = hpo_pipeline(
            n_trials=2,
            training=data.training,
            validation=data.validation,
            testing=data.testing,
            model="distmult",
            model_kwargs={"embedding_dim": 8},
            training_kwargs={"num_epochs": 1, "use_tqdm": False},
            evaluation_kwargs={"use_tqdm": False},
            evaluator="fusedrankbased",
            device="cpu",
        )
        states = [trial.state for trial in result.study.trials]
        assert states == [TrialState.FAIL, TrialState.COMPLETE]

    def test_training_goes_on_after_evaluation(self) -> None:
        """Models that keep encoded entities must not keep those without gradients."""
        from pykeen.training import LCWATrainingLoop

        from kge import FusedRankBasedEvaluator

        data = _graph("nations", create_inverse_triples=True)
        model = _model("compgcn", data, embedding_dim=8)
        loop = LCWATrainingLoop(model=model, triples_factory=data.training)
        losses = []
        for epochs in (1, 2):
            _assert_identical(model, data, {"chunk_bytes": 1 << 22})
            losses = loop.train(data.training, num_epochs=epochs, batch_size=512, use_tqdm=False)
        assert len(losses) == 2
        _evaluate(FusedRankBasedEvaluator(), model, data)

    def test_progress_can_be_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        from kge import FusedRankBasedEvaluator

        data = _graph("nations")
        model = _model("distmult", data)
        _evaluate(FusedRankBasedEvaluator(), model, data, use_tqdm=True)
        assert "ranked 402 of 402" in capsys.readouterr().err
        _evaluate(
            FusedRankBasedEvaluator(), model, data, use_tqdm=True, tqdm_kwargs={"disable": True}
        )
        assert "ranked" not in capsys.readouterr().err
