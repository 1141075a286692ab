"""One run: that an interruption leaves no trace, that the best weights win, that errors tell."""

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.methods import GraphMethod
from graphcl.train import fit
from graphcl.train.callbacks import EpochProgress

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


class Interruption(Exception):
    """Stands for whatever ends a process."""


def interrupt_at(method: GraphMethod, epoch: int) -> None:
    """Let the method fail when it is called for the given epoch (from 0)."""
    forward, calls = method.forward, []

    def failing(x: Tensor, edge_index: Tensor) -> Tensor:
        calls.append(None)
        if len(calls) == epoch + 1:
            raise Interruption
        return forward(x, edge_index)

    method.forward = failing  # type: ignore[method-assign]


def same_weights(a: GraphMethod, b: GraphMethod) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# The run of DGI loses its patience within 60 epochs; see the next test.
@pytest.mark.parametrize(
    ("name", "epochs"), [("grace", (1, 7, 11)), ("gca", (5,)), ("bgrl", (1, 2, 6)), ("dgi", (9,))]
)
def test_interrupted_run_ends_like_an_uninterrupted_one(
    name: str,
    epochs: tuple[int, ...],
    small: Any,
    karate: Data,
    tmp_path: Path,
    curve_rows: Callable[[Path], list[str]],
) -> None:
    settings, whole = small(name)
    wanted = fit(whole, karate, settings.training, seed=3, folder=tmp_path / "whole", **QUIET)
    for epoch in epochs:
        folder = tmp_path / str(epoch)
        options = {"seed": 3, "folder": folder, "checkpoint_seconds": 0, **QUIET}
        _, broken = small(name)
        interrupt_at(broken, epoch)
        with pytest.raises(Interruption):
            fit(broken, karate, settings.training, **options)
        assert (folder / "checkpoint.ckpt").exists()
        assert not (folder / "curves.csv").exists()
        _, continued = small(name)
        found = fit(continued, karate, settings.training, **options)
        assert found.resumed_from == epoch
        assert found.losses == wanted.losses
        assert same_weights(continued, whole)
        assert curve_rows(folder / "curves.csv") == curve_rows(tmp_path / "whole" / "curves.csv")
    assert wanted.resumed_from == 0


def test_interruption_while_patience_runs_out(small: Any, karate: Data, tmp_path: Path) -> None:
    settings, whole = small("dgi")
    wanted = fit(whole, karate, settings.training, seed=3, **QUIET)
    stopped = len(wanted.losses)
    assert 4 < stopped < 60
    for epoch in range(stopped - 4, stopped):  # the best epoch and the three after it
        options = {"seed": 3, "folder": tmp_path / str(epoch), "checkpoint_seconds": 0, **QUIET}
        _, broken = small("dgi")
        interrupt_at(broken, epoch)
        with pytest.raises(Interruption):
            fit(broken, karate, settings.training, **options)
        _, continued = small("dgi")
        assert fit(continued, karate, settings.training, **options).losses == wanted.losses
        assert same_weights(continued, whole)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("grace", {}), ("bgrl", {}), ("dgi", {}), ("dgi", {"epochs": 6, "patience": 50})],
    ids=["grace", "bgrl", "dgi out of patience", "dgi out of epochs"],
)
@pytest.mark.parametrize("saved", ["after the last epoch", "at the end"])
def test_a_finished_run_trains_no_further(
    name: str,
    overrides: dict[str, int],
    saved: str,
    small: Any,
    karate: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when the process ended between the last epoch's checkpoint and the end of the run."""
    settings, whole = small(name, **overrides)
    options = {"seed": 3, "folder": tmp_path, "checkpoint_seconds": 0, **QUIET}
    if saved == "after the last epoch":
        with monkeypatch.context() as patch:
            patch.setattr("graphcl.train.callbacks.BestWeights.restore", _interrupt)
            with pytest.raises(Interruption):
                fit(whole, karate, settings.training, **options)
        _, whole = small(name, **overrides)
        wanted = fit(whole, karate, settings.training, seed=3, **QUIET)
    else:
        wanted = fit(whole, karate, settings.training, **options)
    _, again = small(name, **overrides)
    interrupt_at(again, 0)
    found = fit(again, karate, settings.training, **options)
    assert found.losses == wanted.losses
    assert found.resumed_from == len(wanted.losses)
    assert same_weights(again, whole)


def _interrupt(*_: Any) -> None:
    raise Interruption


def test_two_interruptions(small: Any, karate: Data, tmp_path: Path) -> None:
    settings, whole = small("bgrl")
    wanted = fit(whole, karate, settings.training, seed=3, **QUIET)
    options = {"seed": 3, "folder": tmp_path, "checkpoint_seconds": 0, **QUIET}
    for calls in (4, 3):
        _, broken = small("bgrl")
        interrupt_at(broken, calls)
        with pytest.raises(Interruption):
            fit(broken, karate, settings.training, **options)
    _, last = small("bgrl")
    found = fit(last, karate, settings.training, **options)
    assert found.resumed_from == 7
    assert found.losses == wanted.losses
    assert same_weights(last, whole)


def test_seed_of_the_views_decides(small: Any, karate: Data) -> None:
    runs = []
    for seed in (0, 0, 1):
        settings, method = small("grace")
        runs.append(fit(method, karate, settings.training, seed=seed, **QUIET).losses)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize(("name", "options"), [("grace", {}), ("dgi", {"patience": 0})])
def test_a_run_without_folder_is_a_plain_loop(
    name: str, options: dict[str, Any], small: Any, karate: Data
) -> None:
    from graphcl.train.module import step_seed

    settings, method = small(name, **options)
    found = fit(method, karate, settings.training, seed=5, **QUIET)
    _, twin = small(name, **options)
    training = settings.training
    optimizer = torch.optim.Adam(twin.parameters(), training.lr, weight_decay=training.weight_decay)
    losses = []
    for step in range(training.epochs):
        torch.manual_seed(step_seed(5, step))
        optimizer.zero_grad()
        loss = twin(karate.x, karate.edge_index)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert found.losses == losses
    assert same_weights(method, twin)


def test_best_weights_are_those_of_the_lowest_loss(small: Any, karate: Data) -> None:
    settings, method = small("dgi")
    seen = []
    forward = method.forward

    def noting(x: Tensor, edge_index: Tensor) -> Tensor:
        weights = {k: v.clone() for k, v in method.state_dict().items()}
        loss = forward(x, edge_index)
        seen.append((float(loss.detach()), weights))
        return loss

    method.forward = noting
    found = fit(method, karate, settings.training, seed=3, **QUIET)
    assert found.losses == [loss for loss, _ in seen]
    best = min(range(len(seen)), key=lambda epoch: seen[epoch][0])
    assert best == len(seen) - 4  # three epochs of patience
    assert all(torch.equal(v, seen[best][1][k]) for k, v in method.state_dict().items())


def test_curve_holds_the_learning_rate_of_each_step(
    small: Any, karate: Data, tmp_path: Path
) -> None:
    settings, method = small("bgrl")
    found = fit(method, karate, settings.training, folder=tmp_path, **QUIET)
    with open(tmp_path / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "lr", "seconds"]
    assert [int(row["epoch"]) for row in rows] == list(range(12))
    assert [float(row["loss"]) for row in rows] == found.losses
    assert all(float(row["seconds"]) > 0 for row in rows)
    top = settings.training.lr
    wanted = [0, top / 3, 2 * top / 3]
    wanted += [top * (1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)]
    assert [float(row["lr"]) for row in rows] == pytest.approx(wanted)


def test_target_of_bgrl_moves_once_per_step(small: Any, karate: Data) -> None:
    settings, method = small("bgrl")
    steps = []
    after = method.after_step
    method.after_step = lambda step, total: (steps.append((step, total)), after(step, total))
    fit(method, karate, settings.training, **QUIET)
    assert steps == [(step, 12) for step in range(12)]


def test_centrality_is_computed_once_in_a_run(
    small: Any, karate: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    import graphcl.methods.gca as module

    calls = []
    real = module.centrality
    monkeypatch.setattr(module, "centrality", lambda *a: calls.append(a) or real(*a))
    settings, method = small("gca")
    fit(method, karate, settings.training, **QUIET)
    assert len(calls) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_epoch_and_learning_rate(
    value: float, small: Any, karate: Data, tmp_path: Path
) -> None:
    settings, method = small("grace", lr=0.125)
    forward, calls = method.forward, []

    def spoiled(x: Tensor, edge_index: Tensor) -> Tensor:
        calls.append(None)
        return forward(x, edge_index) * (value if len(calls) == 4 else 1)

    method.forward = spoiled
    with pytest.raises(FloatingPointError, match=rf"loss is {value} at epoch 3; .*lr=0\.125"):
        fit(method, karate, settings.training, folder=tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("grace", {}), ("grace", {"projection": 3}), ("gca", {}), ("bgrl", {}), ("dgi", {})],
)
def test_mixed_precision_on_the_cpu(
    name: str, overrides: dict[str, int], small: Any, karate: Data
) -> None:
    settings, method = small(name, patience=0, epochs=5, **overrides)
    found = fit(method, karate, settings.training, precision="bf16-mixed", **QUIET)
    _, twin = small(name, **overrides)
    full = fit(twin, karate, settings.training, **QUIET)
    assert found.losses[0] == pytest.approx(full.losses[0], rel=0.02)
    assert all(math.isfinite(loss) for loss in found.losses)
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert method.embed(karate.x, karate.edge_index).isfinite().all()


def test_result(small: Any, karate: Data) -> None:
    settings, method = small("grace")
    found = fit(method, karate, settings.training, **QUIET)
    assert len(found.losses) == 12
    assert 0 < found.epoch_seconds < found.seconds
    assert found.peak_memory_bytes > 10**7


def test_a_folder_holds_whole_files_only(small: Any, karate: Data, tmp_path: Path) -> None:
    settings, method = small("grace")
    folder = tmp_path / "new" / "run"
    fit(method, karate, settings.training, folder=folder, checkpoint_seconds=0, **QUIET)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.ckpt", "curves.csv"]
    state = torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    for name, tensor in method.state_dict().items():
        assert torch.equal(state[f"method.{name}"], tensor)


def test_checkpoints_keep_their_distance(
    small: Any, karate: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import graphcl.train.fitting as module

    saves = []
    real = module.AtomicCheckpointIO.save_checkpoint
    monkeypatch.setattr(
        module.AtomicCheckpointIO,
        "save_checkpoint",
        lambda self, *a, **o: saves.append(None) or real(self, *a, **o),
    )
    for seconds, count in ((0, 13), (3600, 1)):  # the last one is the end of the run
        settings, method = small("grace")
        folder = tmp_path / str(seconds)
        fit(method, karate, settings.training, folder=folder, checkpoint_seconds=seconds, **QUIET)
        assert len(saves) == count
        saves.clear()


def test_progress_bar_ends_at_the_last_epoch(
    small: Any, karate: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, method = small("grace")
    fit(method, karate, settings.training, progress=True, device="cpu", label="karate, seed 0")
    shown = capsys.readouterr().out
    assert "karate, seed 0" in shown
    assert "12/12" in shown


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 13), (1000.0, 1)])
def test_a_log_file_gets_a_line_now_and_then(
    seconds: float, lines: int, small: Any, karate: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, method = small("grace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochProgress.__init__, "__defaults__", (seconds,))
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            patch.delenv(name, raising=False)
        fit(method, karate, settings.training, progress=True, device="cpu", label="karate")
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == lines
    assert all("karate" in line and "/12" in line for line in shown)


def test_progress_bar_gives_the_terminal_back_after_an_error(small: Any, karate: Data) -> None:
    from rich.console import Console
    from rich.live import Live

    settings, method = small("grace")
    interrupt_at(method, 3)
    with pytest.raises(Interruption):
        fit(method, karate, settings.training, progress=True, device="cpu")
    with Live(console=Console()):  # rich refuses a second live display
        pass


def test_tensorboard_log(small: Any, karate: Data, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    settings, method = small("grace")
    fit(method, karate, settings.training, folder=tmp_path, tensorboard=True, **QUIET)
    assert list((tmp_path / "tensorboard").glob("events*"))
    with pytest.raises(ValueError, match="needs a folder"):
        fit(method, karate, settings.training, tensorboard=True, **QUIET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge_index": None}, "no edge_index"),
        ({"x": torch.eye(34).log()}, "features of 34 of 34 nodes are not finite"),
    ],
)
def test_a_graph_that_cannot_be_trained_on(
    change: dict[str, Any], message: str, small: Any, karate: Data
) -> None:
    settings, method = small("grace")
    graph = Data(**{"x": karate.x, "edge_index": karate.edge_index, **change})
    with pytest.raises(ValueError, match=message):
        fit(method, graph, settings.training, **QUIET)


def test_a_graph_without_features(small: Any) -> None:
    settings, method = small("grace")
    with pytest.raises(ValueError, match="no node features"):
        fit(method, Data(edge_index=torch.tensor([[0], [1]])), settings.training, **QUIET)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("tpu", "unknown device 'tpu'; choose from auto, cpu, cuda, cuda:N"),
        ("cuda:999", "device 'cuda:999' was asked for, but this machine has"),
        ("cuda:x", "device 'cuda:x' was asked for"),
        ("cuda:-1", "device 'cuda:-1' was asked for"),
    ],
)
def test_unknown_devices(device: str, message: str, small: Any, karate: Data) -> None:
    settings, method = small("grace")
    with pytest.raises(ValueError, match=message):
        fit(method, karate, settings.training, device=device, progress=False)


def test_precisions_that_the_methods_do_not_train_in_are_refused(small: Any, karate: Data) -> None:
    settings, method = small("grace")
    for name in ("64-true", "bf16-true", "foo"):
        with pytest.raises(ValueError, match=f"'{name}'.*32-true, bf16-mixed, 16-mixed"):
            fit(method, karate, settings.training, precision=name, **QUIET)


def test_peak_memory_without_the_module_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where psutil knows the peak."""
    import psutil

    from graphcl.train.fitting import peak_memory
    from kge.experiment import environment

    class Windows:
        @staticmethod
        def memory_info() -> Any:
            return SimpleNamespace(peak_wset=12345)

    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(psutil, "Process", Windows)
    cpu = torch.device("cpu")
    assert peak_memory(cpu) == environment.peak_memory(cpu) == 12345
