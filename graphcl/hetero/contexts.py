"""What a node meets on the way along a meta-path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphcl.kernels.sparse_product import sparse_product
from graphcl.metapaths.composition import MetaPath
from graphcl.metapaths.neighbours import csr_matrix


@dataclass(frozen=True)
class Contexts:
    """Means over the nodes that stand between the ends of a meta-path (MEOW's contexts).

    For paper-author-paper that is the mean over a paper's authors; a longer path gives one term
    for each step before its last, and they are summed: author-paper-conference-paper-author has
    the author's papers, their conferences, and the papers of those. Further steps are means of
    means, so that no product of relations is formed.

    Attributes:
        types: node type of each step.
        steps: for each step a CSR matrix of row means, and its transpose.
    """

    types: tuple[str, ...]
    steps: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def of(cls, path: MetaPath) -> Contexts:
        """Contexts of a meta-path.

        Raises:
            ValueError: the path has a single hop, and nothing between its ends.
        """
        if len(path.hops) < 2:
            raise ValueError(f"meta-path {path.name!r} has no node between its ends")
        means = [_row_mean(hop) for hop in path.hops[:-1]]
        return cls(path.types[1:-1], tuple((_tensor(m), _tensor(m.T.tocsr())) for m in means))

    def to(self, device: torch.device | str) -> Contexts:
        """The same contexts on a device."""
        return Contexts(self.types, tuple((m.to(device), t.to(device)) for m, t in self.steps))

    def __call__(self, h: dict[str, Tensor]) -> Tensor:
        """Context (N, D) of each start node from rows of each type; zero where there is none."""
        total: Tensor | None = None
        for length, kind in enumerate(self.types, 1):
            g = h[kind]
            for matrix, transpose in reversed(self.steps[:length]):
                g = sparse_product(matrix, g, transpose)
            total = g if total is None else total + g
        assert total is not None
        return total


def _row_mean(hop: sp.csr_matrix) -> sp.csr_matrix:
    sizes = np.asarray(hop.sum(1)).ravel()
    return sp.csr_matrix(sp.diags(1 / np.maximum(sizes, 1)) @ hop)


def _tensor(matrix: sp.csr_matrix) -> Tensor:
    return csr_matrix(
        torch.from_numpy(matrix.indptr).long(),
        torch.from_numpy(matrix.indices).long(),
        torch.from_numpy(matrix.data).float(),
        matrix.shape,
    )
