"""COSTA: what the sketch does to the loss, its memory, and runs that are continued."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.data import load_dataset
from graphcl.losses import InfoNCE
from graphcl.methods import COSTA
from graphcl.train import fit, settings_for

STILL: dict[str, Any] = {"drop_edge": (0, 0), "mask_feature": (0, 0)}


def by_matrix(monkeypatch: pytest.MonkeyPatch, p: Tensor) -> None:
    """Sketch with a given matrix."""
    monkeypatch.setattr("graphcl.methods.costa.sketch_rows", lambda z, k, **_: p @ z)


def test_an_orthogonal_matrix_keeps_the_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    p = torch.linalg.qr(torch.randn(30, 30)).Q
    by_matrix(monkeypatch, p)
    z1, z2 = torch.randn(2, 30, 8)
    for before, after in zip((z1, z2), COSTA(12, 8).sketch(z1, z2), strict=True):
        torch.testing.assert_close(after.T @ after, before.T @ before, rtol=1e-4, atol=1e-4)


def test_a_permutation_gives_the_inter_view_infonce(
    graph: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_matrix(monkeypatch, torch.eye(31)[torch.randperm(31)])
    method = COSTA(12, 8, tau=0.3)
    drawn = [method.view(graph.x, graph.edge_index, which) for which in (0, 1)]
    monkeypatch.setattr(method, "view", lambda x, edge_index, which: drawn[which])
    h1, h2 = (method.head(method.encode(*view)) for view in drawn)
    torch.testing.assert_close(
        method(graph.x, graph.edge_index), InfoNCE(0.3, intra_view=False)(h1, h2)
    )


def test_both_views_get_one_matrix_and_half_the_rows() -> None:
    z = torch.randn(31, 8)
    first, second = COSTA(12, 8).sketch(z, z.clone())
    assert first.shape == (15, 8)
    torch.testing.assert_close(first, second)
    assert COSTA(12, 8, ratio=2.0).sketch(z, z)[0].shape == (62, 8)
    assert COSTA(12, 8, ratio=1e-6).sketch(z, z)[0].shape == (2, 8)


def test_a_single_view_is_encoded_once_and_contrasted_with_itself(
    graph: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = torch.randn(15, 31)
    by_matrix(monkeypatch, p)
    method = COSTA(12, 8, views="single", **STILL)
    seen: list[int] = []
    method.encoder.register_forward_hook(lambda *_: seen.append(1))
    loss = method(graph.x, graph.edge_index)
    assert len(seen) == 1
    rows = method.head(p @ method.encode(graph.x, graph.edge_index))
    torch.testing.assert_close(loss, InfoNCE(0.4, intra_view=False)(rows, rows))
    loss.backward()
    assert any(w.grad is not None and w.grad.any() for w in method.encoder.parameters())


@pytest.mark.parametrize("options", [{}, {"projection": 3}, {"views": "single"}])
def test_training_lowers_the_loss(graph: Data, options: Any) -> None:
    torch.manual_seed(0)
    method = COSTA(12, 8, **options)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    found = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = method(graph.x, graph.edge_index)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert sum(found[-10:]) < 0.97 * sum(found[:10])


@pytest.mark.parametrize("sketch", ["gaussian", "sparse"])
def test_a_continued_run_ends_with_the_same_weights(tmp_path: Path, sketch: Any) -> None:
    data = load_dataset("karate")
    states = []
    for cuts in ((8,), (5, 8)):
        folder = tmp_path / str(len(cuts))
        for epochs in cuts:
            settings = settings_for(
                "costa", "karate", {"hidden": 8, "sketch": sketch, "epochs": epochs}
            )
            torch.manual_seed(0)
            method = settings.build(34)
            result = fit(
                method, data, settings.training, seed=3, folder=folder, progress=False, device="cpu"
            )
        assert result.resumed_from == (0 if len(cuts) == 1 else 5)
        states.append(method.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("sketch", ["gaussian", "sparse"])
def test_a_step_holds_nothing_of_size_n_by_k(sketch: Any, largest: Any) -> None:
    nodes = 20_000

    torch.manual_seed(0)
    # A tenth of the rows keeps the Gaussian quick; k = N / 2 for the sparse sketch.
    method = COSTA(4, 4, sketch=sketch, ratio=0.1 if sketch == "gaussian" else 0.5)
    with largest:
        method(torch.rand(nodes, 4), torch.randint(nodes, (2, 40_000))).backward()
    assert largest.entries <= 2**22


def test_bad_settings_are_named() -> None:
    for options, words in (
        ({"views": "three"}, "views 'three'"),
        ({"sketch": "dense"}, "sketch 'dense'"),
        ({"ratio": 0.0}, "ratio"),
        ({"nonzeros": 0}, "nonzeros"),
    ):
        with pytest.raises(ValueError, match=words):
            COSTA(12, 8, **options)


def test_without_a_loss_there_are_no_negatives_within_a_view() -> None:
    for options in ({}, {"loss": None}):
        assert not COSTA(12, 8, **options).loss.intra_view
