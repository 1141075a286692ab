"""Two processes train like one, and the loss of one of them is told and repaired."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from graphcl.kernels.processes import process_count
from graphcl.train import experiment
from graphcl.train.processes import (
    ProcessLost,
    heartbeat,
    is_first,
    telling_of_lost_processes,
    wait_for_file,
)

# Loss and gradients of one step in double precision, wrapped as in training.
ONE_STEP = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data
from graphcl.data import load_dataset
from graphcl.losses import CandidatePool, CandidateQueue
from graphcl.methods import DGI, GCA, GRACE
from graphcl.minibatch import Batching, make_loader

class Step(torch.nn.Module):
    def __init__(self, method, pool):
        super().__init__()
        self.method, self.pool = method, pool
    def forward(self, batch):
        return self.method.seed_loss(batch, self.pool) * batch.share

def gradients(method, batching, processes, queue, steps=1):
    pool = CandidatePool(CandidateQueue(queue) if queue else None)
    step = Step(method, pool)
    if processes > 1:
        step = DistributedDataParallel(step)
    method.know_whole_graph(data.x, data.edge_index)
    loader = make_loader(data, batching, seed=2, processes=processes)
    loader.set_epoch(0)
    losses = []
    for number, batch in zip(range(steps), loader):
        torch.manual_seed(number)
        method.zero_grad()
        loss = step(batch)
        loss.backward()
        total = loss.detach().clone()
        if processes > 1:
            dist.all_reduce(total)
        losses.append(total / processes)
    return losses, [p.grad.clone() for p in method.parameters() if p.grad is not None]

still = {"drop_edge": (0.0, 0.0), "mask_feature": (0.0, 0.0)}
CASES = {
    "full": (lambda: GRACE(34, 8), Batching(), 0, 1),
    "full-gca": (lambda: GCA(34, 8), Batching(), 0, 1),
    "batch": (lambda: GRACE(34, 8, **still), Batching("neighbor", 17, (-1, -1, -1)), 0, 1),
    "uneven": (lambda: GRACE(34, 8, **still), Batching("neighbor", 6, (-1, -1, -1)), 0, 3),
    "queue": (lambda: GRACE(34, 8, **still), Batching("neighbor", 6, (-1, -1, -1)), 15, 3),
}
processes = int(sys.argv[2])
data = load_dataset("karate")
data = Data(x=data.x.double(), edge_index=data.edge_index)
if processes > 1:
    dist.init_process_group("gloo")
found = {}
for name, (build, batching, queue, steps) in CASES.items():
    torch.manual_seed(0)
    method = build().double()
    size = batching.batch_size * (2 if processes == 1 else 1)
    batching = Batching(batching.loader, size, batching.fan_out)
    found[name] = gradients(method, batching, processes, queue, steps)
rank = dist.get_rank() if processes > 1 else 0
torch.save(found, f"{sys.argv[1]}/{processes}-{rank}.pt")
if processes > 1:
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_loss_and_gradients_of_two_processes_are_those_of_one(
    together: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together.run(ONE_STEP, tmp_path, 2)
    monkeypatch.setattr("sys.argv", ["", str(tmp_path), "1"])
    exec(compile(ONE_STEP, "one process", "exec"), {})
    wanted = torch.load(tmp_path / "1-0.pt")
    assert len(wanted) == 5
    for rank in (0, 1):
        found = torch.load(tmp_path / f"2-{rank}.pt")
        for name, (losses, grads) in found.items():
            torch.testing.assert_close(losses, wanted[name][0], rtol=1e-10, atol=0, msg=name)
            for own, other in zip(grads, wanted[name][1], strict=True):
                torch.testing.assert_close(own, other, rtol=1e-8, atol=1e-12, msg=name)


EXPERIMENT = """
import sys
from graphcl.minibatch import Batching
from graphcl.train import run_experiment
for out in sys.argv[1:]:
    found = run_experiment(
        "karate", "grace", out, overrides={"hidden": 8, "epochs": 40}, devices=2, device="cpu",
        batching=Batching("neighbor", 6, (3, 3)), progress=False, checkpoint_seconds=0.1,
        timeout_seconds=30,
    )
    print(found["metrics"]["accuracy"]["mean"])
"""


@pytest.mark.slow
def test_a_lost_process_is_told_and_the_run_continues(
    together: Any, tmp_path: Path, curve_rows: Any
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    first, second = together.start(EXPERIMENT, broken)
    checkpoint = broken / "seed-0" / "checkpoint.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    shown = first.communicate(timeout=60)[0]
    assert time.monotonic() - killed < 60
    assert first.returncode != 0
    assert "ProcessLost: process 0 of 2 has lost contact with another one" in shown
    assert f"Start the same command again to continue from {checkpoint}" in shown
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 120

    lines = [text.split() for text in together.run(EXPERIMENT, broken, whole)]
    # Both processes return the same figures, of the continued run and of an uninterrupted one.
    assert len({word for words in lines for word in words[-2:]}) == 1
    assert len(curve_rows(broken / "curves.csv")) == 41
    assert curve_rows(broken / "curves.csv") == curve_rows(whole / "curves.csv")


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(RuntimeError, match="connection closed by peer"),
        telling_of_lost_processes(None),
    ):
        raise RuntimeError("connection closed by peer")  # with one process
    monkeypatch.setattr("graphcl.train.processes.process_count", lambda: 2)
    with pytest.raises(RuntimeError, match="shape"), telling_of_lost_processes(None):
        raise RuntimeError("shape mismatch")
    with pytest.raises(ProcessLost, match="no folder"), telling_of_lost_processes(None):
        raise RuntimeError("Connection closed by peer [127.0.0.1]")


def test_the_first_process_is_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert process_count() == 1
    assert is_first(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first(2)
    assert not is_first()
    assert is_first(1)  # a run of its own, which a launcher has started beside others
    monkeypatch.setenv("RANK", "0")
    assert is_first(2)


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphcl.train.fitting import _own_device

    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    assert str(_own_device([0, 1, 2])) == "cuda:0"  # the one that starts the others
    assert str(_own_device([2])) == "cuda:2"
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert str(_own_device([0, 1, 2])) == "cuda:2"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(_own_device([0, 1, 2])) == "cuda:1"
    assert str(_own_device([2])) == "cuda:2"
    assert str(_own_device(2)) == "cpu"


def test_the_others_wait_for_the_evaluation_of_the_first(tmp_path: Path) -> None:
    """For longer than a timeout, as long as there is a sign of life."""
    done, alive = tmp_path / "result.json", tmp_path / "evaluating"

    def evaluate() -> None:
        with heartbeat(alive, every=0.05):
            time.sleep(0.8)
            done.touch()

    first = threading.Thread(target=evaluate)
    first.start()
    started = time.monotonic()
    wait_for_file(done, alive, timeout_seconds=0.4, every=0.02)
    assert time.monotonic() - started > 0.5
    first.join()
    assert not alive.exists()


def test_the_others_do_not_wait_for_a_process_that_is_gone(tmp_path: Path) -> None:
    alive = tmp_path / "evaluating"
    alive.touch()  # left behind
    with pytest.raises(ProcessLost, match=r"no sign of life for 0 s and has not written .*json"):
        wait_for_file(tmp_path / "result.json", alive, timeout_seconds=0.1, every=0.02)


def test_a_seed_ends_for_the_others_when_the_first_has_judged_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[tuple[Path, Path]] = []
    monkeypatch.setattr(experiment, "is_first", lambda processes: False)
    monkeypatch.setattr(
        experiment, "wait_for_file", lambda done, beat, **_: waited.append((done, beat))
    )
    (tmp_path / "seed-0").mkdir()
    overrides = {"hidden": 8, "epochs": 1}
    options: dict[str, Any] = {"overrides": overrides, "progress": False, "device": "cpu"}
    assert experiment.run_experiment("karate", "grace", tmp_path, **options) == {}
    assert waited == [(tmp_path / "seed-0" / "result.json", tmp_path / "seed-0" / "evaluating")]
    assert not (tmp_path / "seed-0" / "result.json").exists()
