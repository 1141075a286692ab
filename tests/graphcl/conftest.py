"""A meter of the largest tensor that a computation makes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """The number of entries of the largest dense tensor that any operation returns."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor) and one.layout == torch.strided:
                self.entries = max(self.entries, one.numel())
        return out


@pytest.fixture
def largest() -> Largest:
    """Meter to be entered with ``with``."""
    return Largest()
