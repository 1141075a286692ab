"""A weight from the similarity of other vectors than those that are summed over."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from graphcl.kernels.weights import TileWeight


class OtherSimilarityWeight(TileWeight):
    """A function of ``queries[i] . keys[j]``, for vectors held by the weight itself.

    Where the pair (i, j) is to be judged by other embeddings than the ones being contrasted: those
    of an earlier epoch, or of the other view. The products are formed inside a tile.

    Args:
        function: element-wise map from similarities (r, c) to log-weights.
        queries: (Q, D) one vector per query, a constant.
        keys: (K, D) one per key, a constant.
        extent: bounds of the finite log-weights, where they are known.

    Example:
        >>> import torch
        >>> from graphcl.kernels import negative_logsumexp
        >>> z, other = torch.eye(2), torch.ones(2, 1)
        >>> weight = OtherSimilarityWeight(torch.log1p, other, other)  # log 2 for every pair
        >>> negative_logsumexp(z, z, log_weight=weight) - negative_logsumexp(z, z)
        tensor([0.6931, 0.6931])
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        queries: Tensor,
        keys: Tensor,
        extent: tuple[float, float] | None = None,
    ) -> None:
        if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1]:
            raise ValueError(
                "OtherSimilarityWeight needs vectors of shape (Q, D) and (K, D), got "
                f"{tuple(queries.shape)} and {tuple(keys.shape)}"
            )
        self.function, self.extent = function, extent
        self.parameters = (queries.detach(), keys.detach())

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        got = tuple(len(vectors) for vectors in self.parameters)
        if got != (num_queries, num_keys):
            raise ValueError(
                f"OtherSimilarityWeight has {got[0]} and {got[1]} vectors, but there are "
                f"{num_queries} queries and {num_keys} keys"
            )

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        return self.extent

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        return self.function(parameters[0][rows] @ parameters[1][columns].T)
