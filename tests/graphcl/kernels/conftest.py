"""Fixtures of the kernel tests: tiles far smaller than the problems, and poisoned fresh memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.kernels import chunked, tiles


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Tiles of at most 16 x 16, none kept for the backward pass; call it to set another side."""

    def use(side: int) -> None:
        monkeypatch.setitem(tiles._SIDE, "cpu", side)

    use(16)
    monkeypatch.setattr(chunked, "_KEPT_PAIRS", 0)
    return use


@pytest.fixture(autouse=True)
def _poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh uninitialised floating-point memory holds NaN, so that reading it shows."""

    def poisoned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def create(*args: Any, **kwargs: Any) -> Tensor:
            fresh = function(*args, **kwargs)
            if fresh.is_floating_point():
                with torch.no_grad():
                    fresh.fill_(torch.nan)
            return fresh

        return create

    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
