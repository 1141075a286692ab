"""Runs: what they leave behind, what they select by, and how they go on."""

import csv
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.training.training_loop import TrainingLoop

from kge.experiment import fitting
from kge.experiment.callbacks import SafeCheckpoint
from kge.experiment.fitting import load_model
from kge.experiment.graph import graph_of_run
from kge.experiment.running import evaluate_run, run_experiment, settings_of_run
from kge.experiment.settings import NEGATIVES


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_every_kind_of_negatives_trains(negatives: str, train: Any, tmp_path: Path) -> None:
    metrics = train(tmp_path, negatives)
    assert content(tmp_path / "metrics.json") == metrics
    assert metrics["negatives"] == negatives
    assert 0 < metrics["metrics"]["mrr"]["mean"] <= 1
    losses = [float(row["loss"]) for row in table(tmp_path / "curves.csv")]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_metrics_json_has_what_the_design_says(finished: Path) -> None:
    metrics = content(finished / "metrics.json")
    assert {"dataset", "method", "protocol", "seeds", "metrics", "selection"} <= metrics.keys()
    assert metrics["seeds"] == [0, 1]
    assert metrics["selection"] == "validation"
    assert {"train", "epoch", "evaluate"} <= metrics["seconds"].keys()
    assert {"torch", "device", "threads", "version", "commit"} <= metrics["environment"].keys()
    assert metrics["peak_memory_bytes"] > 0
    assert metrics["graph"]["convention"] == "entities of all splits (14), no triple dropped"
    for name in ("mrr", "hits@1", "hits@3", "hits@10", "validation_mrr"):
        found = metrics["metrics"][name]
        first, second = found["values"]
        assert found["mean"] == pytest.approx((first + second) / 2)
        assert found["std"] == pytest.approx(abs(first - second) / 2**0.5)
    assert first != second
    for name in ("config.json", "curves.csv", "relations.csv", "model.pt", "checkpoint.ckpt"):
        assert (finished / name).stat().st_size > 0
    assert not [path for path in finished.rglob(".*")], "a temporary file was left"


def test_figures_are_those_of_pykeen_for_the_stored_model(finished: Path) -> None:
    config, metrics = content(finished / "config.json"), content(finished / "metrics.json")
    graph = graph_of_run(config)
    train, valid = graph.training.mapped_triples, graph.validation.mapped_triples
    for place, seed in enumerate((0, 1)):
        weights = finished / f"seed-{seed}" / "model.pt"
        model = load_model(weights, graph, settings_of_run(config))
        for prefix, triples, others in (
            ("validation_", valid, [train]),
            ("", graph.testing.mapped_triples, [train, valid]),
        ):
            found = RankBasedEvaluator().evaluate(
                model, triples, additional_filter_triples=others, use_tqdm=False
            )
            for name, theirs in (("mrr", "mrr"), ("hits@3", "hits_at_3"), ("amri", "amri")):
                value = metrics["metrics"][f"{prefix}{name}"]["values"][place]
                expected = found.get_metric(f"both.realistic.{theirs}")
                assert value == pytest.approx(expected, abs=2e-4)


def test_the_weights_are_those_of_the_best_epoch_on_validation(finished: Path) -> None:
    metrics = content(finished / "metrics.json")
    for place, seed in enumerate((0, 1)):
        rows = table(finished / f"seed-{seed}" / "curves.csv")
        assert [row["epoch"] for row in rows if row["validation"]] == ["2", "4", "6"]
        seen = {int(row["epoch"]): float(row["validation"]) for row in rows if row["validation"]}
        best = max(seen, key=seen.__getitem__)
        assert metrics["best_epochs"][place] == best
        chosen = metrics["metrics"]["validation_mrr"]["values"][place]
        assert chosen == pytest.approx(seen[best], abs=1e-6)


def test_best_weights_come_back_when_training_ends_by_itself(train: Any, tmp_path: Path) -> None:
    """A rate so high that the first epochs are the best: PyKEEN would keep the last."""
    metrics = train(
        tmp_path, epochs=6, overrides={"lr": 0.5, "patience": 0, "optimizer": "sgd", "frequency": 1}
    )
    seen = [float(row["validation"]) for row in table(tmp_path / "curves.csv")]
    assert metrics["epochs"] == [6]
    assert metrics["metrics"]["validation_mrr"]["mean"] == pytest.approx(max(seen), abs=1e-6)


def test_training_stops_without_gain(train: Any, tmp_path: Path) -> None:
    metrics = train(
        tmp_path, epochs=50, overrides={"lr": 1e-12, "patience": 2, "relative_delta": 0.5}
    )
    (epochs,) = metrics["epochs"]
    assert epochs == 3 * 2  # 50 // 20 epochs apart; the first is the best, two without gain
    assert metrics["best_epochs"] == [2]


def test_test_triples_are_ranked_once_and_at_the_end(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kge.evaluation.fused_rank_based import FusedRankBasedEvaluator

    seen: list[int] = []
    evaluate = FusedRankBasedEvaluator.evaluate

    def counted(self: Any, model: Any, triples: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(triples))
        return evaluate(self, model, triples, *args, **kwargs)

    def of_pipeline(self: Any, model: Any, mapped_triples: Any, **kwargs: Any) -> Any:
        return counted(self, model, mapped_triples, **kwargs)

    monkeypatch.setattr(FusedRankBasedEvaluator, "evaluate", of_pipeline)
    train(tmp_path, seeds=(0, 1))
    valid, test = 199, 201  # of Nations
    assert seen == [*([valid] * 4), test] * 2


def test_relations_add_up_to_the_whole(finished: Path) -> None:
    metrics = content(finished / "metrics.json")["metrics"]
    rows = table(finished / "relations.csv")
    counts = [int(row["count"]) for row in rows]
    assert sum(counts) == 201
    assert counts == sorted(counts, reverse=True)
    for name in ("mrr", "hits@10"):
        total = sum(int(row["count"]) * float(row[name]) for row in rows)
        assert total / 201 == pytest.approx(metrics[name]["mean"], abs=1e-6)


def test_finished_seeds_are_skipped_and_more_may_follow(train: Any, tmp_path: Path) -> None:
    before = train(tmp_path)
    stamp = (tmp_path / "seed-0" / "result.json").stat().st_mtime_ns
    after = train(tmp_path, seeds=(0, 1))
    assert (tmp_path / "seed-0" / "result.json").stat().st_mtime_ns == stamp
    assert after["metrics"]["mrr"]["values"][0] == before["metrics"]["mrr"]["values"][0]
    assert {row["seed"] for row in table(tmp_path / "curves.csv")} == {"0", "1"}


class Interrupted(Exception):
    """Stands for a crash."""


def crash_in_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epoch = TrainingLoop._train_epoch

    def crash(self: Any, *args: Any, epoch: int, **kwargs: Any) -> Any:
        if epoch == number:
            raise Interrupted
        return train_epoch(self, *args, epoch=epoch, **kwargs)

    monkeypatch.setattr(TrainingLoop, "_train_epoch", crash)


@pytest.mark.parametrize("negatives", ["hasa", "lemon", "inbatch"])
def test_an_interrupted_run_ends_like_one_that_was_not(
    negatives: str, train: Any, tmp_path: Path, epochs_trained: list[int]
) -> None:
    whole = train(tmp_path / "whole", negatives, epochs=5)
    with pytest.MonkeyPatch.context() as patch:
        crash_in_epoch(4, patch)
        with pytest.raises(Interrupted):
            train(tmp_path / "cut", negatives, epochs=5, checkpoint_seconds=0.0)
    assert not (tmp_path / "cut" / "metrics.json").exists()
    epochs_trained.clear()
    again = train(tmp_path / "cut", negatives, epochs=5)
    assert epochs_trained == [4, 5]
    assert again["metrics"] == whole["metrics"]
    curves = [table(tmp_path / name / "curves.csv") for name in ("whole", "cut")]
    for one, other in zip(*curves, strict=True):
        assert one["loss"] == other["loss"]
        assert one["validation"] == other["validation"]
        assert float(other["seconds"]) > 0


def test_a_crash_while_the_checkpoint_is_written_leaves_the_one_before(
    train: Any, tmp_path: Path, epochs_trained: list[int]
) -> None:
    whole = train(tmp_path / "whole", epochs=4)
    save, written = torch.save, []

    def broken(state: Any, path: Any, **kwargs: Any) -> None:
        if isinstance(state, dict) and "epoch" in state and hasattr(path, "write"):
            written.append(state["epoch"])
            if len(written) == 3:
                path.write(b"half")
                raise Interrupted
        save(state, path, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", broken)
        with pytest.raises(Interrupted):
            train(tmp_path / "cut", epochs=4, checkpoint_seconds=0.0)
    stored = torch.load(tmp_path / "cut" / "seed-0" / "checkpoint.ckpt", weights_only=False)
    assert stored["epoch"] == written[1] == 2
    epochs_trained.clear()
    assert train(tmp_path / "cut", epochs=4)["metrics"] == whole["metrics"]
    assert epochs_trained == [3, 4]


def test_checkpoints_are_not_written_after_every_epoch(train: Any, tmp_path: Path) -> None:
    save, count = TrainingLoop._save_state, []

    def counted(self: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        count.append(self._epoch) if hasattr(path, "write") else None
        save(self, path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_save_state", counted)
        train(tmp_path, epochs=4, checkpoint_seconds=1000.0)
    assert count == [4]


def test_early_stopping_may_look_at_a_part_of_validation(train: Any, tmp_path: Path) -> None:
    part = train(tmp_path / "part", overrides={"validation_triples": 20})
    whole = train(tmp_path / "whole")
    assert part["metrics"]["validation_mrr"] != whole["metrics"]["validation_mrr"]
    stopping = content(tmp_path / "part" / "config.json")["options"]["stopping"]
    assert stopping["validation_triples"] == 20
    assert "validation_triples" not in content(tmp_path / "whole" / "config.json")["options"]
    assert part["protocol"].endswith("; validation: 20 of 199 triples")
    assert "of 199" not in whole["protocol"]
    with pytest.raises(ValueError, match="validation_triples must be a whole number from 0"):
        train(tmp_path / "bad", overrides={"validation_triples": -1})


def test_an_optimiser_that_keeps_nothing_goes_on_as_well(
    train: Any, tmp_path: Path, epochs_trained: list[int]
) -> None:
    options = {"epochs": 5, "overrides": {"optimizer": "sgd"}}
    whole = train(tmp_path / "whole", **options)
    with pytest.MonkeyPatch.context() as patch:
        crash_in_epoch(4, patch)
        with pytest.raises(Interrupted):
            train(tmp_path / "cut", checkpoint_seconds=0.0, **options)
    epochs_trained.clear()
    assert train(tmp_path / "cut", **options)["metrics"] == whole["metrics"]
    assert epochs_trained == [4, 5]


def test_pykeens_own_copies_of_the_best_epoch_are_not_written(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, elsewhere = TrainingLoop._save_state, []

    def noted(self: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if not hasattr(path, "write"):
            elsewhere.append(path)
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(TrainingLoop, "_save_state", noted)
    found = train(tmp_path, epochs=6, overrides={"stopping.frequency": 1})
    assert found["best_epochs"][0] > 1
    assert not elsewhere


def test_parts_of_a_batch_that_fit_are_kept_for_a_continued_run(train: Any, tmp_path: Path) -> None:
    """PyKEEN looks for them on a GPU alone, and once alone."""
    source = fitting._source

    def as_on_a_gpu(settings: Any, graph: Any, _: torch.device) -> dict[str, Any]:
        return source(settings, graph, torch.device("cuda"))

    kept = tmp_path / "cut" / "seed-0" / "parts.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_source", as_on_a_gpu)
        patch.setattr(TrainingLoop, "sub_batch_and_slice", lambda self, **_: (128, None))
        crash_in_epoch(2, patch)
        with pytest.raises(Interrupted):
            train(tmp_path / "cut", checkpoint_seconds=0.0)
    assert content(kept) == {"sub_batch_size": 128}
    sizes = []
    forward = TrainingLoop._forward_pass

    def noted(self: Any, batch: Any, start: int, stop: int, *args: Any, **kwargs: Any) -> Any:
        sizes.append(stop - start)
        return forward(self, batch, start, stop, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_forward_pass", noted)
        train(tmp_path / "cut")
        assert max(sizes) == 128
        sizes.clear()
        train(tmp_path / "whole")
        assert max(sizes) == 1024


def test_checkpoints_of_large_models_are_rarer(tmp_path: Path) -> None:
    watch = SafeCheckpoint(tmp_path / "c.ckpt", 100, every=1e-9)
    loop = SimpleNamespace(
        _epoch=0,
        _should_stop=False,
        _save_state=lambda file, *_: time.sleep(0.05),
        _train_epoch=lambda: 0.0,
        sub_batch_and_slice=lambda: (1, None),
        optimizer=None,
    )
    watch.register_training_loop(loop)  # type: ignore[arg-type]
    loop._save_state(tmp_path / "c.ckpt")
    assert watch.every >= 20 * 0.05


def test_the_directory_of_another_experiment_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds another experiment.*negatives: 'hasa' there"):
        run_experiment("nations", "distmult", "lemon", finished, device="cpu")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds no experiment"):
        run_experiment("nations", "distmult", "lemon", tmp_path, device="cpu")
    with pytest.raises(ValueError, match="different numbers"):
        run_experiment("nations", "distmult", "lemon", tmp_path / "new", seeds=(1, 1))


@pytest.mark.parametrize(
    ("unseen", "told"), [("keep", "no triple dropped"), ("drop", "dropped 0 of valid, 1 of test")]
)
def test_what_was_dropped_is_told_and_stored(
    unseen: str, told: str, train: Any, novel: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    metrics = train(
        tmp_path / "run", dataset=novel, overrides={"unseen": unseen}, tell=lines.append
    )
    assert told in lines[0]
    assert any("1 test triples unseen in train" in line for line in lines)
    assert metrics["graph"]["convention"] == lines[0]
    dropped = int(unseen == "drop")
    assert metrics["graph"]["dropped"]["test"] == dropped
    assert metrics["graph"]["triples"]["test"] == 2 - dropped
    rows = table(tmp_path / "run" / "relations.csv")
    assert sum(int(row["count"]) for row in rows) == 2 - dropped


def test_files_that_changed_are_noticed(train: Any, novel: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", dataset=novel)
    assert evaluate_run(tmp_path / "run", progress=False, device="cpu")
    with open(novel / "train.txt", "a") as file:
        file.write("e0\tr0\te7\n")
    with pytest.raises(ValueError, match="not what the run was trained on"):
        evaluate_run(tmp_path / "run", progress=False, device="cpu")
    with pytest.raises(ValueError, match="holds another experiment"):
        train(tmp_path / "run", dataset=novel)


@pytest.mark.parametrize("negatives", ["uniform", "lemon"])
def test_texts_that_are_not_read_do_not_matter(
    negatives: str, train: Any, novel: Path, tmp_path: Path
) -> None:
    """A copy of the triples without names is the same experiment for those who read no text."""
    names = [*(f"e{i}" for i in range(8)), "stranger"]
    rows = [f"{name}\t{name} of the graph\t" for name in names]
    (novel / "entities.tsv").write_text("\n".join(rows) + "\n")
    before = train(tmp_path / "run", negatives, dataset=novel)
    (novel / "entities.tsv").unlink()
    if negatives == "lemon":
        with pytest.raises(ValueError, match=r"another experiment \(texts: "):
            train(tmp_path / "run", negatives, dataset=novel)
    else:
        after = train(tmp_path / "run", negatives, dataset=novel)
        assert after["metrics"] == before["metrics"]
        assert after["graph"]["remarks"] != before["graph"]["remarks"]


def test_evaluation_repeats_the_figures_of_training(finished: Path) -> None:
    again = evaluate_run(finished, progress=False, device="cpu")
    assert again["metrics"] == content(finished / "metrics.json")["metrics"]
    assert content(finished / "metrics-filtered.json") == again


def test_unfiltered_ranks_are_no_better(finished: Path) -> None:
    filtered = evaluate_run(finished, progress=False, device="cpu")["metrics"]
    found = evaluate_run(finished, protocol="unfiltered", progress=False, device="cpu")
    assert found["metrics"]["mrr"]["mean"] < filtered["mrr"]["mean"]
    assert "unfiltered" in found["protocol"]


def test_a_run_that_is_not_there(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run"):
        evaluate_run(tmp_path)
    with pytest.raises(ValueError, match=r"unknown protocol 'filterd' .did you mean 'filtered'"):
        evaluate_run(finished, protocol="filterd")


def test_inverse_relations(train: Any, tmp_path: Path) -> None:
    train(tmp_path, overrides={"create_inverse_triples": True})
    labels = {row["relation"] for row in table(tmp_path / "relations.csv")}
    assert not [label for label in labels if label.endswith("_inverse")]
    first = content(tmp_path / "metrics.json")["metrics"]
    assert evaluate_run(tmp_path, progress=False, device="cpu")["metrics"] == first


@pytest.mark.parametrize("negatives", ["uniform", "inbatch"])
def test_adamw_and_clipped_gradients_train(negatives: str, train: Any, tmp_path: Path) -> None:
    # Adam divides by the size of gradients, but for those below its epsilon of 1e-8.
    overrides = {"optimizer": "adamw", "weight_decay": 0.1, "gradient_clipping_max_norm": 1e-9}
    metrics = train(tmp_path / "clipped", negatives, overrides=overrides)
    free = train(tmp_path / "free", negatives, overrides={"optimizer": "adamw"})
    assert 0 < metrics["metrics"]["mrr"]["mean"] <= 1
    assert metrics["metrics"] != free["metrics"]


def test_a_diverged_training_is_named(train: Any, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"lr=1e\+30 has diverged"):
        train(tmp_path / "run", overrides={"lr": 1e30})
    for overrides in ({"gradient_clipping_max_norm": -1}, {"gradient_clipping_max_abs_value": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            train(tmp_path / f"clip{len(overrides)}", overrides=overrides)


def test_a_stopped_run_that_was_interrupted_before_its_result_is_finished(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyKEEN trains no more then, and calls no callback."""
    import kge.experiment.running as running

    options = {"epochs": 50, "overrides": {"lr": 1e-12, "patience": 2, "relative_delta": 0.5}}
    whole = train(tmp_path / "whole", **options)

    def crash(*_: Any, **__: Any) -> None:
        raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "rank", crash)
        with pytest.raises(Interrupted):
            train(tmp_path / "cut", **options)
    stored = torch.load(tmp_path / "cut" / "seed-0" / "checkpoint.ckpt", weights_only=False)
    assert stored["stopper_dict"]["stopped"]
    again = train(tmp_path / "cut", **options)
    for name in ("metrics", "epochs", "best_epochs"):
        assert again[name] == whole[name]
    assert all(float(row["seconds"]) > 0 for row in table(tmp_path / "cut" / "curves.csv"))
    assert again["seconds"]["train"] > 0


def test_texts_that_changed_after_training_are_noticed(
    train: Any, novel: Path, tmp_path: Path
) -> None:
    names = [*(f"e{i}" for i in range(8)), "stranger"]
    rows = [f"{name}\t{name} of the graph\t" for name in names]
    (novel / "entities.tsv").write_text("\n".join(rows) + "\n")
    train(tmp_path / "run", "lemon", dataset=novel)
    assert evaluate_run(tmp_path / "run", progress=False, device="cpu")
    (novel / "entities.tsv").write_text("\n".join(rows).replace("graph", "tree") + "\n")
    with pytest.raises(ValueError, match="are not those that the run has read"):
        evaluate_run(tmp_path / "run", progress=False, device="cpu")


def test_vectors_that_changed_after_training_are_noticed(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(14, 4)).astype(np.float32)
    np.save("vectors.npy", vectors)
    train(tmp_path / "run", "lemon", overrides={"embeddings": "vectors.npy"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the file is found from everywhere
    assert evaluate_run(tmp_path / "run", progress=False, device="cpu")
    np.save(tmp_path / "vectors.npy", vectors + 1)
    with pytest.raises(ValueError, match=r"vectors in .*vectors.npy.* are not those that the run"):
        evaluate_run(tmp_path / "run", progress=False, device="cpu")
    (tmp_path / "vectors.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"vectors.npy, which the run has read, is not th"):
        evaluate_run(tmp_path / "run", progress=False, device="cpu")


def test_figures_that_cannot_be_written_are_told(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("kge.experiment.running.write_json", full)
    with pytest.warns(UserWarning, match="not kept: no space left"):
        found = evaluate_run(finished, progress=False, device="cpu")
    assert found["metrics"]["mrr"]["mean"] > 0


def test_folders_below_the_home_folder(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    train("~/run", epochs=1)
    assert (tmp_path / "run" / "metrics.json").exists()
    assert evaluate_run("~/run", progress=False, device="cpu")
