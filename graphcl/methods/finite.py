"""Features that no method can take are named before they become a loss of NaN."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from graphcl.kernels.kept import version

_SEEN: dict[int, tuple[weakref.ref[Tensor], int]] = {}
"""Tensors that were looked at and are still alive, and their versions, by their ids."""


def check_finite_once(x: Tensor) -> None:
    """:func:`check_finite` of features (N, F) the first time that they are given as they are."""
    key, now = id(x), version(x)
    seen, then = _SEEN.get(key, (None, 0))
    if seen is None or seen() is not x or then != now:
        check_finite(x)
        _SEEN[key] = weakref.ref(x, lambda _: _SEEN.pop(key, None)), now


def check_finite(x: Tensor) -> None:
    """Refuse features other than finite ones (N, F), dense or in CSR layout.

    Raises:
        ValueError: another shape or layout, or the first row that is not finite.
    """
    if x.dim() != 2:
        raise ValueError(f"features must be (N, F), got {tuple(x.shape)}")
    if x.layout not in (torch.strided, torch.sparse_csr):
        raise ValueError(
            f"features are in layout {x.layout}; give x.to_sparse_csr() or x.to_dense()"
        )
    if x.layout == torch.sparse_csr:
        entries = (~torch.isfinite(x.values())).nonzero().flatten()
        rows = torch.searchsorted(x.crow_indices(), entries.to(x.crow_indices()), right=True) - 1
        bad = rows.unique()
    else:
        bad = (~torch.isfinite(x)).any(1).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"features of {len(bad)} of {len(x)} nodes are not finite, the first is node "
            f"{int(bad[0])}; replace NaN and infinity before training"
        )
