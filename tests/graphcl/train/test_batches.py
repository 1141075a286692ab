"""Training in batches: interruptions leave no trace, wherever they come, and settings matter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data
from typer.testing import CliRunner

from graphcl.cli.app import app
from graphcl.data.files import read_json
from graphcl.methods import GRACE, GraphMethod
from graphcl.minibatch import Batching
from graphcl.train import fit
from graphcl.train.hard_batches import HardBatches
from graphcl.train.module import ContrastiveModule
from graphcl.train.recipes import TrainingOptions

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
NEIGHBOUR = Batching("neighbor", 12, (3, 3))
BATCHINGS = {
    "neighbour": NEIGHBOUR,
    "queue": Batching("neighbor", 12, (3, 3), queue=20),
    "hard": Batching("neighbor", 12, (3, 3), hard_every=2),
    "cluster": Batching("cluster", 12, partition="louvain"),
}


class Interruption(Exception):
    """Stands for whatever ends a process."""


def interrupt_at(method: GraphMethod, step: int) -> None:
    """Let the method fail when it is called for the given step (from 0)."""
    real, calls = method.seed_loss, []

    def failing(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == step + 1:
            raise Interruption
        return real(*arguments)

    method.seed_loss = failing  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("name", "kind", "steps"),
    [
        ("grace", "neighbour", (2, 3, 10)),
        ("grace", "queue", (4,)),
        ("grace", "hard", (7, 9)),
        ("gca", "cluster", (5,)),
        ("bgrl", "neighbour", (4, 6)),
        ("dgi", "neighbour", (8,)),
    ],
)
def test_interrupted_run_ends_like_an_uninterrupted_one(
    name: str,
    kind: str,
    steps: tuple[int, ...],
    small: Any,
    karate: Data,
    tmp_path: Path,
    curve_rows: Callable[[Path], list[str]],
) -> None:
    """Three steps an epoch: interruptions come inside of epochs and between them."""
    same = {"seed": 3, "batching": BATCHINGS[kind], **QUIET}
    settings, whole = small(name, epochs=6)
    wanted = fit(whole, karate, settings.training, folder=tmp_path / "whole", **same)
    for step in steps:
        options = {"folder": tmp_path / str(step), "checkpoint_seconds": 0, **same}
        _, broken = small(name, epochs=6)
        interrupt_at(broken, step)
        with pytest.raises(Interruption):
            fit(broken, karate, settings.training, **options)
        stored = torch.load(tmp_path / str(step) / "checkpoint.ckpt", weights_only=True)
        assert stored["global_step"] == step
        _, continued = small(name, epochs=6)
        found = fit(continued, karate, settings.training, **options)
        assert found.resumed_from == step // 3
        assert found.losses == wanted.losses
        for key, tensor in continued.state_dict().items():
            assert torch.equal(tensor, whole.state_dict()[key])
        rows = curve_rows(tmp_path / str(step) / "curves.csv")
        assert rows == curve_rows(tmp_path / "whole" / "curves.csv")
    assert len(wanted.losses) <= 6


def test_a_batch_of_all_nodes_trains_like_the_full_graph(small: Any, karate: Data) -> None:
    """The order of the nodes aside, which a loss does not see."""
    views = {"drop_edge": [0.0, 0.0], "mask_feature": [0.0, 0.0]}
    settings, whole = small("grace", **views)
    wanted = fit(whole, karate, settings.training, seed=1, **QUIET)
    _, batched = small("grace", **views)
    everything = Batching("neighbor", 34, (-1, -1))
    found = fit(batched, karate, settings.training, seed=1, batching=everything, **QUIET)
    assert found.losses == pytest.approx(wanted.losses, rel=1e-4)


def test_steps_of_an_epoch_make_one_row(small: Any, karate: Data, tmp_path: Path) -> None:
    settings, method = small("bgrl", epochs=4, warmup=2)
    steps: list[tuple[int, int]] = []
    after = method.after_step
    method.after_step = lambda *place: (steps.append(place), after(*place))
    found = fit(method, karate, settings.training, folder=tmp_path, batching=NEIGHBOUR, **QUIET)
    assert steps == [(step, 12) for step in range(12)]
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert len(lines) == 5
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2", "3"]
    assert len(found.losses) == 4
    # The warm-up lasts two epochs of three steps each.
    rates = [float(line.split(",")[2]) for line in lines[1:]]
    assert rates == pytest.approx([0.0, settings.training.lr / 2, settings.training.lr, rates[3]])
    assert 0 < rates[3] < rates[2]


def test_progress_bar_counts_steps(
    small: Any, karate: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, method = small("grace", epochs=2)
    fit(method, karate, settings.training, device="cpu", batching=NEIGHBOUR)
    assert "6/6" in capsys.readouterr().out


def test_hard_batches_follow_the_embeddings(karate: Data) -> None:
    """Nodes of one batch are closer to each other than nodes of random batches."""
    from graphcl.minibatch import make_loader

    torch.manual_seed(0)
    method = GRACE(34, 8)
    loader = make_loader(karate, Batching("neighbor", 12, (3,), hard_every=1))
    z = torch.nn.functional.normalize(method.embed(karate.x, karate.edge_index))

    def similarity() -> float:
        batches = [loader.order.seeds(0, step) for step in range(len(loader))]
        return sum(float((z[b] @ z[b].T).mean()) for b in batches)

    at_random = similarity()
    callback = HardBatches(loader.order, karate, 1, 4)
    trainer: Any = type("Trainer", (), {"current_epoch": 0})()
    callback.on_train_epoch_start(trainer, ContrastiveModule(method, TrainingOptions(), 0))
    assert similarity() > at_random
    assert callback.state_dict()["labels"].shape == (34,)


def test_methods_without_the_form_that_is_asked_for(small: Any, karate: Data) -> None:
    class Own(GRACE):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return super().forward(x, edge_index)

    settings, bgrl = small("bgrl")
    with pytest.raises(ValueError, match="Own has no mini-batch form"):
        fit(Own(34, 8), karate, settings.training, batching=NEIGHBOUR, **QUIET)
    with pytest.raises(ValueError, match="BGRL has no negatives, so a queue"):
        fit(bgrl, karate, settings.training, batching=BATCHINGS["queue"], **QUIET)


TRAIN = "train --dataset karate --method grace --epochs 2 --device cpu --no-progress --set hidden=8"


def test_several_settings_may_follow_one_another(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*TRAIN.split(), "tau=0.7", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    model = read_json(tmp_path / "config.json")["model"]
    assert (model["hidden"], model["tau"]) == (8, 0.7)
    done = CliRunner().invoke(app, [*TRAIN.split(), "tau", "--out", str(tmp_path)])
    assert "unexpected 'tau'" in str(done.exception)


def test_batches_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"{TRAIN} --loader neighbor --batch-size 12 --fan-out 3,2 --queue 20"
    done = CliRunner().invoke(app, [*words.split(), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    config = read_json(tmp_path / "config.json")
    assert config["batching"]["fan_out"] == [3, 2]
    assert config["batching"]["queue"] == 20
    assert read_json(tmp_path / "metrics.json")["epochs"] == [2]
    done = CliRunner().invoke(app, [*words.split(), "--queue", "7", "--out", str(tmp_path)])
    assert "holds another experiment (batching" in str(done.exception)


@pytest.mark.parametrize("loader", ["full", "neighbor"])
def test_the_directory_of_batches_is_not_continued_without_them(
    loader: str, tmp_path: Path
) -> None:
    """An option that is left out differs as much as one that is changed."""
    for now, message in ((loader, None), ({"full": "neighbor"}.get(loader, "full"), "batching: ")):
        words = ["--loader", now, *(["--batch-size", "12"] if now == "neighbor" else [])]
        done = CliRunner().invoke(app, [*TRAIN.split(), *words, "--out", str(tmp_path)])
        assert (done.exit_code == 0) == (message is None), done.output
        if message is not None:
            assert f"holds another experiment ({message}" in str(done.exception)
