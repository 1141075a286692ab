"""ProGCL as a method: its wiring, its memory at 20 000 nodes, and runs that are continued."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphcl.data import load_dataset
from graphcl.losses import ProGCLLoss
from graphcl.methods import GCA, ProGCL
from graphcl.train import fit, settings_for

SMALL: dict[str, Any] = {"epoch_start": 2, "refresh": 2, "sel_num": 5}


def steps(method: ProGCL, data: Data, count: int) -> list[float]:
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    found = []
    for step in range(count):
        optimizer.zero_grad()
        loss = method(data.x, data.edge_index)
        loss.backward()
        optimizer.step()
        method.after_step(step, count)
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("mode", ["weight", "mix", "official"])
def test_gca_until_the_start(graph: Data, mode: Any) -> None:
    runs = []
    for build in (
        lambda: ProGCL(12, 8, mode=mode, **SMALL),
        lambda: GCA(12, 8, scheme="eigenvector", tau=0.4),
    ):
        torch.manual_seed(0)
        runs.append(steps(build(), graph, 4))  # type: ignore[arg-type]
    assert runs[0][:2] == runs[1][:2]
    assert runs[0][2] != runs[1][2]


@pytest.mark.parametrize("mode", ["weight", "mix", "official"])
def test_training_lowers_the_loss(graph: Data, mode: Any) -> None:
    torch.manual_seed(0)
    found = steps(ProGCL(12, 8, mode=mode, epoch_start=0, sel_num=5), graph, 60)
    assert all(value == value for value in found)
    assert sum(found[-10:]) < 0.97 * sum(found[:10])


def test_defaults_are_the_release_and_options_reach_gca() -> None:
    method = ProGCL(12, 8, threshold=0.3, activation="prelu", intra="own", weight_init=0.2)
    assert (method.scheme, method.threshold) == ("eigenvector", 0.3)
    assert isinstance(method.loss, ProGCLLoss)
    assert (method.loss.epoch_start, method.loss.mode, method.loss.tau) == (400, "weight", 0.4)
    assert float(method.loss.mixture.share[1]) == pytest.approx(0.2)
    method.after_step(4, 10)
    assert int(method.loss.epoch) == 5


@pytest.mark.parametrize("mode", ["weight", "mix", "official"])
def test_a_continued_run_ends_with_the_same_weights(tmp_path: Path, mode: Any) -> None:
    """Stopped after 5 of 9 epochs: once the mixture is fitted, between two refreshes."""
    data = load_dataset("karate")
    states = []
    for cuts in ((9,), (5, 9)):
        folder = tmp_path / str(len(cuts))
        for epochs in cuts:
            settings = settings_for(
                "progcl", "karate", {"hidden": 8, "mode": mode, "epochs": epochs, **SMALL}
            )
            torch.manual_seed(0)
            method = settings.build(34)
            result = fit(
                method, data, settings.training, seed=3, folder=folder, progress=False, device="cpu"
            )
        assert result.resumed_from == (0 if len(cuts) == 1 else 5)
        states.append(method.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "nodes"), [("weight", 20_000), ("mix", 20_000), ("official", 3500)]
)
def test_a_step_holds_nothing_of_size_n_by_n(
    mode: Any, nodes: int, largest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphcl.weights.progcl_mix._BLOCK_PAIRS", 2**19)
    torch.manual_seed(0)
    method = ProGCL(4, 4, epoch_start=0, scheme="degree", mode=mode, sel_num=20)
    assert isinstance(method.loss, ProGCLLoss)
    # The fit has nodes x 100 similarities; fewer keep the meter on the pairs.
    method.loss.columns = 20
    with largest:
        method(torch.rand(nodes, 4), torch.randint(nodes, (2, 2 * nodes))).backward()
    assert largest.entries <= 1024 * 1024


def test_bad_settings_are_named() -> None:
    for options, words in (({"mode": "heavy"}, "mode 'heavy'"), ({"refresh": 0}, "refresh")):
        with pytest.raises(ValueError, match=words):
            ProGCL(12, 8, **options)
