"""A meter of the largest tensor that a computation makes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """The most entries and bytes of any dense tensor that an operation returns inside ``with``."""

    entries = bytes = 0

    def __enter__(self) -> "Largest":
        self.entries = self.bytes = 0
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor) and one.layout == torch.strided:
                self.entries = max(self.entries, one.numel())
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return out


@pytest.fixture
def largest() -> Largest:
    """Meter to be entered with ``with``."""
    return Largest()
