"""Gradients of the rows that a batch looks up, in place of zeros for all other entities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kge.training.lazy_adam import LazyAdam

if TYPE_CHECKING:  # PyKEEN may be half loaded when this module is registered with it
    from pykeen.models import Model
    from torch.optim import Optimizer


def use_row_gradients(model: Model, optimizer: Optimizer) -> None:
    """Let look-ups in the model's embeddings give sparse gradients.

    A dense gradient of a look-up has the size of all entities, and an optimiser then reads and
    writes all of them and its own state beside. With sparse ones both touch only rows of the batch:
    for ``Adagrad`` and ``SGD`` the step is the same, for ``LazyAdam`` and ``SparseAdam`` a row's
    moments rest while it is not looked up.

    Raises:
        ValueError: the optimiser takes no sparse gradients, or nothing in the model is a plain
            embedding.
    """
    if not _takes_rows(optimizer):
        raise ValueError(
            f"row_gradients needs an optimizer that takes sparse gradients (adagrad, lazyadam, "
            f"sparseadam or sgd, without weight decay), got {type(optimizer).__name__}"
        )
    found = [part for part in model.modules() if isinstance(part, torch.nn.Embedding)]
    if not found:
        raise ValueError(
            f"row_gradients needs embeddings to look up, and {type(model).__name__} has none"
        )
    for part in found:
        part.sparse = True


def _takes_rows(optimizer: Optimizer) -> bool:
    kinds = (torch.optim.Adagrad, LazyAdam, torch.optim.SparseAdam, torch.optim.SGD)
    decays = any(group.get("weight_decay", 0) for group in optimizer.param_groups)
    return isinstance(optimizer, kinds) and not decays
