"""Features that are NaN or infinite are named before they become a loss of NaN."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

_SEEN: dict[int, weakref.ref[Tensor]] = {}
"""Tensors that were looked at and are still alive, by their ids."""


def check_finite_once(x: Tensor) -> None:
    """:func:`check_finite` of features (N, F) the first time that this tensor is given."""
    key = id(x)
    seen = _SEEN.get(key)
    if (seen is None or seen() is not x) and x.dim() == 2:
        check_finite(x)
        _SEEN[key] = weakref.ref(x, lambda _: _SEEN.pop(key, None))


def check_finite(x: Tensor) -> None:
    """Raise ``ValueError`` naming the first row of (N, F) features that is not finite.

    Dense, CSR and COO features are taken.
    """
    if x.layout == torch.sparse_csr:
        entries = (~torch.isfinite(x.values())).nonzero().flatten()
        rows = torch.searchsorted(x.crow_indices(), entries.to(x.crow_indices()), right=True) - 1
        bad = rows.unique()
    elif x.layout == torch.sparse_coo:
        bad = x._indices()[0, ~torch.isfinite(x._values())].unique()
    else:
        bad = (~torch.isfinite(x)).any(1).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"features of {len(bad)} of {len(x)} nodes are not finite, the first is node "
            f"{int(bad[0])}; replace NaN and infinity before training"
        )
