"""MEOW's graded negatives: pairs weigh as much as there are clusterings that separate them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphcl.kernels.weights import Grads, TileWeight


class ClusterWeight(TileWeight):
    r"""Number of clusterings that separate a pair, :math:`\omega_{ij} = \sum_m [c^m_i \ne c^m_j]`.

    A pair that no clustering separates takes no part. Labels are all that is held: the counts
    exist inside a tile only.

    Args:
        query_labels: (Q, M) int64, a column for each clustering.
        key_labels: (K, M) labels of the keys; default the queries'.
    """

    def __init__(self, query_labels: Tensor, key_labels: Tensor | None = None) -> None:
        self.symmetric = key_labels is None
        key_labels = query_labels if key_labels is None else key_labels
        for name, labels in (("query_labels", query_labels), ("key_labels", key_labels)):
            if labels.dim() != 2 or labels.is_floating_point() or labels.shape[1] == 0:
                raise ValueError(
                    f"{name} must be integers (N, M) with a column for each clustering, got "
                    f"{tuple(labels.shape)} of {labels.dtype}"
                )
        if query_labels.shape[1] != key_labels.shape[1]:
            raise ValueError(
                f"queries have {query_labels.shape[1]} clusterings, keys {key_labels.shape[1]}"
            )
        # The worth of one separation, which tells tiles the precision they are wanted in.
        one = torch.ones((), dtype=torch.float64)
        self.parameters = (*_narrowed(query_labels, key_labels), one)

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        got = tuple(len(labels) for labels in self.parameters[:2])
        if got != (num_queries, num_keys):
            raise ValueError(
                f"ClusterWeight has labels of {got[0]} queries and {got[1]} keys, but there are "
                f"{num_queries} and {num_keys}"
            )

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        return 0.0, math.log(parameters[0].shape[1])

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        query, key = parameters[0][rows], parameters[1][columns]
        count = parameters[2].new_zeros(len(query), len(key))
        torch.ne(query[:, 0, None], key[:, 0], out=count)
        for m in range(1, query.shape[1]):
            count += query[:, m, None] != key[:, m]
        return count.log_()

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """Labels have no gradient."""
        return None


def _narrowed(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Labels in int32, numbered anew where they do not fit."""
    queries, keys = queries.long(), keys.long()  # few operations know uint16 to uint64
    ends = [int(end) for labels in (queries, keys) if labels.numel() for end in labels.aminmax()]
    if ends and not -(2**31) <= min(ends) <= max(ends) < 2**31:
        together = torch.cat([queries, keys]).unique(return_inverse=True)[1]
        queries, keys = together.split([len(queries), len(keys)])
    return queries.int(), keys.int()
