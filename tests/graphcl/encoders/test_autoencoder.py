"""The autoencoder and its pre-training, which can be interrupted anywhere."""

import copy
import math
from typing import Any

import pytest
import torch

from graphcl.encoders import autoencoder
from graphcl.encoders.autoencoder import Autoencoder
from graphcl.methods.preparation import Preparation
from graphcl.methods.pretraining import pretrain


class Memory(Preparation):
    """Keeps every state, and can stop like an interrupted process."""

    def __init__(self, seed: int = 0, stop: int | None = None) -> None:
        super().__init__(seed)
        self.states: list[dict[str, Any]] = []
        self.stop = stop
        self.shown: list[tuple[int, int]] = []

    def load(self) -> dict[str, Any] | None:
        return self.states[-1] if self.states else None

    def save(self, state: dict[str, Any], *, last: bool = False) -> None:
        self.states.append(copy.deepcopy(state))
        if len(self.states) == self.stop:
            raise KeyboardInterrupt

    def show(self, done: int, total: int, loss: float) -> None:
        self.shown.append((done, total))


def model(width: int = 3) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(8, (16, 12), width)


def features(nodes: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(nodes, 2, generator=generator) @ torch.randn(2, 8, generator=generator)


def test_widths_are_mirrored() -> None:
    autoencoder = model()
    assert [layer.weight.shape for layer in autoencoder.encoder] == [(16, 8), (12, 16), (3, 12)]
    assert [layer.weight.shape for layer in autoencoder.decoder] == [(12, 3), (16, 12), (8, 16)]
    assert autoencoder(features()).shape == (50, 8)


def test_encoding_equals_its_definition() -> None:
    autoencoder, x = model(), features()
    h = x
    for layer in list(autoencoder.encoder)[:-1]:
        h = (h @ layer.weight.T + layer.bias).clamp(min=0)
    last = autoencoder.encoder[-1]
    torch.testing.assert_close(autoencoder.encode(x), h @ last.weight.T + last.bias)


@pytest.mark.parametrize("rows", [1, 4, 7, 8])
def test_blocks_of_rows_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Autoencoder(5, (6, 4), 2).double()
    x = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    up = torch.randn(8, 2, dtype=torch.float64)
    wanted = torch.autograd.grad(model.encode(x), [x, *model.encoder.parameters()], up)
    codes = model.encode(x)
    monkeypatch.setattr(autoencoder, "_BLOCK", rows)
    torch.testing.assert_close(model.encode(x), codes)
    found = torch.autograd.grad(model.encode(x), [x, *model.encoder.parameters()], up)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_and_half_features() -> None:
    autoencoder, x = model(), features().half().float()
    wanted = autoencoder.encode(x)
    torch.testing.assert_close(autoencoder.encode(x.to_sparse_csr()), wanted)
    torch.testing.assert_close(autoencoder.encode(x.half()), wanted)
    for given in (x, x.to_sparse_csr(), x.half()):
        found = pretrain(model(), given, epochs=2, batch=16, preparation=Preparation())
        assert found == pytest.approx(
            pretrain(model(), x, epochs=2, batch=16, preparation=Preparation())
        )


def test_pretraining_reconstructs() -> None:
    autoencoder, memory = model(), Memory()
    losses = pretrain(autoencoder, features(), epochs=60, batch=10, lr=1e-2, preparation=memory)
    assert losses[-1] < 0.1 * losses[0]
    assert memory.shown == [(done, 60) for done in range(1, 61)]
    error = float((autoencoder(features()) - features()).square().mean().detach())
    assert error == pytest.approx(losses[-1], rel=1.0)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_pretraining_ends_like_a_whole_one(stop: int) -> None:
    whole = model()
    losses = pretrain(whole, features(), epochs=5, batch=16, preparation=Memory())
    memory = Memory(stop=stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(model(), features(), epochs=5, batch=16, preparation=memory)
    torch.manual_seed(99)  # whatever was drawn in between
    again = Autoencoder(8, (16, 12), 3)
    assert pretrain(again, features(), epochs=5, batch=16, preparation=memory) == losses
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_seed_draws_the_order() -> None:
    runs = [
        pretrain(model(), features(), epochs=2, batch=16, preparation=Preparation(seed))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_no_epochs_leave_the_weights() -> None:
    autoencoder = model()
    assert pretrain(autoencoder, features(), epochs=0, preparation=Preparation()) == []
    assert torch.equal(autoencoder.encoder[0].weight, model().encoder[0].weight)


def test_errors() -> None:
    bad = features()
    bad[7, 2] = math.nan
    for call, words in (
        (lambda: Autoencoder(0), "in_channels=0"),
        (lambda: Autoencoder(3, (4, 0)), "hidden=\\[4, 0\\]"),
        (lambda: pretrain(model(), bad, epochs=1, preparation=Preparation()), "node 7"),
        (lambda: pretrain(model(), bad, epochs=-1, preparation=Preparation()), "epochs"),
        (lambda: pretrain(model(), bad, epochs=1, lr=0.0, preparation=Preparation()), "lr"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(FloatingPointError, match="lower pretrain_lr"):
        pretrain(model(), features() * 1e30, epochs=2, preparation=Preparation())
