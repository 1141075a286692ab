"""Log-weights of negatives that are computed inside a tile and never stored for all pairs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Grads = list[Tensor | None]
"""One accumulator per parameter of a weight, ``None`` where no gradient is wanted."""


class TileWeight(ABC):
    """Log-weight of every (query, key) pair, evaluated one tile at a time; ``a + b`` multiplies.

    A subclass holds its tensors in :attr:`parameters` and computes, in :meth:`tile`, the
    log-weights of a block of queries and keys from the tensors it is handed (the same ones, in the
    kernel's working precision). A weight of ``-inf`` takes the pair out: it contributes nothing and
    gets no gradient. Gradients come from autograd on the tile unless :meth:`backward_tile` is
    overridden, so that a new weight is :meth:`check` and :meth:`tile`.
    """

    parameters: tuple[Tensor, ...] = ()
    needs_similarity: bool = False
    """Whether :meth:`tile` reads the similarities."""
    feeds_similarity: bool = False
    """Whether gradients flow through the weight into the similarities."""
    fills_tiles: bool = True
    """Whether :meth:`tile` works out a value for every pair; tiles are made smaller for it."""
    symmetric: bool = False
    """Whether the weight of (i, j) equals that of (j, i), for queries that are the keys."""

    @abstractmethod
    def check(self, num_queries: int, num_keys: int) -> None:
        """Raise ``ValueError`` when the weight does not fit (Q, K)."""

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """Bounds of the finite log-weights, or ``None`` when they are not known beforehand."""
        return None

    @abstractmethod
    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """Log-weights (r, c), or broadcastable to that, of one block.

        Args:
            parameters: :attr:`parameters`, in the kernel's precision and device.
            rows: block of queries.
            columns: block of keys.
            similarity: (r, c) dot products, not divided by tau; ``None`` unless
                :attr:`needs_similarity`.
        """

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """Add the parameters' gradients to ``out``; return the gradient of the similarities.

        Args:
            parameters: as in :meth:`tile`.
            rows: block of queries.
            columns: block of keys.
            similarity: as in :meth:`tile`.
            grad: (r, c) gradient of the log-weights, zero where the pair takes no part.
            out: accumulators, one per parameter.
        """
        wanted = [i for i, slot in enumerate(out) if slot is not None]
        through = similarity is not None and self.feeds_similarity
        if not wanted and not through:
            return None
        with torch.enable_grad():
            leaves = tuple(
                p.detach().requires_grad_(i in wanted) if p.is_floating_point() else p
                for i, p in enumerate(parameters)
            )
            if through and similarity is not None:
                similarity = similarity.detach().requires_grad_(True)
            value = self.tile(leaves, rows, columns, similarity)
            if not value.requires_grad:  # a step function, say
                return None
            inputs = [leaves[i] for i in wanted]
            if through and similarity is not None:
                inputs.append(similarity)
            found, apart = _pair_gradients(value, inputs, grad)
        for i, g in zip(wanted, found, strict=False):
            slot = out[i]
            if g is not None and slot is not None:
                slot.add_(g)
        if not through or found[-1] is None:
            return None
        # Its slope may be infinite there; 0 times infinity is NaN.
        return found[-1].masked_fill(apart, 0.0)

    def __add__(self, other: TileWeight) -> TileWeight:
        """Sum of log-weights, product of weights."""
        if not isinstance(other, TileWeight):
            return NotImplemented
        mine = self.parts if isinstance(self, WeightSum) else (self,)
        theirs = other.parts if isinstance(other, WeightSum) else (other,)
        return WeightSum(mine + theirs)


def _pair_gradients(
    value: Tensor, inputs: list[Tensor], grad: Tensor
) -> tuple[tuple[Tensor | None, ...], Tensor]:
    """Gradients of the inputs of a tile's log-weights, and the pairs (r, c) that take no part."""
    full = value.expand_as(grad)
    # A weight of -inf has gradient 0 times infinity.
    found = torch.autograd.grad(
        torch.where(torch.isfinite(full), full, 0.0), inputs, grad, allow_unused=True
    )
    return found, full == -torch.inf


def _finite_bounds(log_weight: Tensor) -> tuple[float, float] | None:
    finite = log_weight[log_weight.isfinite()]
    if bool((log_weight == torch.inf).any() | log_weight.isnan().any()):
        return None
    return (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)


def _check_length(name: str, tensor: Tensor, wanted: int, of: str) -> None:
    if tensor.shape[0] != wanted:
        raise ValueError(f"{name} has {tensor.shape[0]} rows, but there are {wanted} {of}")


def _check_labels(name: str, group: Tensor, groups: int, wanted: int, of: str) -> None:
    _check_length(name, group, wanted, of)
    if group.numel() and (int(group.min()) < 0 or int(group.max()) >= groups):
        raise ValueError(
            f"{name} runs from {int(group.min())} to {int(group.max())}, but the table has labels "
            f"0 to {groups - 1}"
        )


class KeyWeight(TileWeight):
    """One log-weight per key, ``log w_ij = log_weight[j]`` (PamC's log-sizes, subsampling).

    Args:
        log_weight: (K,) log-weights, ``-inf`` allowed; may require a gradient.
    """

    fills_tiles = False

    def __init__(self, log_weight: Tensor) -> None:
        if log_weight.dim() != 1:
            raise ValueError(f"KeyWeight needs one value per key, got {tuple(log_weight.shape)}")
        self.parameters = (log_weight,)

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        _check_length("log_weight", self.parameters[0], num_keys, "keys")

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        return _finite_bounds(parameters[0])

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        return parameters[0][columns]

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """See :meth:`TileWeight.backward_tile`."""
        if out[0] is not None:
            out[0][columns] += grad.sum(0)
        return None


class GroupWeight(TileWeight):
    """A table over pairs of groups, ``log w_ij = table[query_group[i], key_group[j]]``.

    Args:
        log_table: (G, H) log-weights, ``-inf`` allowed; may require a gradient.
        query_group: (Q,) int64 labels below G.
        key_group: (K,) int64 labels below H.
    """

    def __init__(self, log_table: Tensor, query_group: Tensor, key_group: Tensor) -> None:
        if log_table.dim() != 2:
            raise ValueError(f"GroupWeight needs a (G, H) table, got {tuple(log_table.shape)}")
        for name, group in (("query_group", query_group), ("key_group", key_group)):
            if group.dim() != 1 or group.is_floating_point():
                raise ValueError(
                    f"{name} must hold one integer label each, got shape {tuple(group.shape)} "
                    f"of {group.dtype}"
                )
        self.parameters = (log_table, query_group.long(), key_group.long())

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        table, query_group, key_group = self.parameters
        _check_labels("query_group", query_group, table.shape[0], num_queries, "queries")
        _check_labels("key_group", key_group, table.shape[1], num_keys, "keys")

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        return _finite_bounds(parameters[0])

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        table, query_group, key_group = parameters
        return table[query_group[rows]][:, key_group[columns]]

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """Sum the tile into the table: over keys by label first, then over queries."""
        if out[0] is not None:
            table, query_group, key_group = parameters
            by_key = grad.new_zeros(grad.shape[0], table.shape[1])
            by_key.index_add_(1, key_group[columns], grad)
            out[0].index_add_(0, query_group[rows], by_key)
        return None


class LowRankWeight(TileWeight):
    """Weights of low rank, ``w_ij = query_factor[i] . key_factor[j]`` (soft community pairs).

    The product is the weight itself, not its logarithm; a negative one makes the sum NaN. A pair
    whose product is zero takes no part and gives its factors no gradient.

    Args:
        query_factor: (Q, R), may require a gradient.
        key_factor: (K, R), may require a gradient.
    """

    def __init__(self, query_factor: Tensor, key_factor: Tensor) -> None:
        if query_factor.dim() != 2 or key_factor.dim() != 2:
            raise ValueError(
                "LowRankWeight needs factors of shape (Q, R) and (K, R), got "
                f"{tuple(query_factor.shape)} and {tuple(key_factor.shape)}"
            )
        if query_factor.shape[1] != key_factor.shape[1]:
            raise ValueError(
                f"ranks differ: query_factor has {query_factor.shape[1]} columns, key_factor "
                f"{key_factor.shape[1]}"
            )
        self.parameters = (query_factor, key_factor)

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        _check_length("query_factor", self.parameters[0], num_queries, "queries")
        _check_length("key_factor", self.parameters[1], num_keys, "keys")

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        weight = parameters[0][rows] @ parameters[1][columns].T
        # Filled before the logarithm: its infinite slope at 0 would reach the factors as NaN.
        absent = weight == 0
        return weight.masked_fill(absent, 1.0).log().masked_fill(absent, -torch.inf)

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """See :meth:`TileWeight.backward_tile`; the derivative of log w is 1 / w."""
        query_factor, key_factor = parameters[0][rows], parameters[1][columns]
        weight = query_factor @ key_factor.T
        by_weight = torch.where(weight == 0, 0.0, grad / weight)
        if out[0] is not None:
            out[0][rows].addmm_(by_weight, key_factor)
        if out[1] is not None:
            out[1][columns].addmm_(by_weight.T, query_factor)
        return None


class SimilarityWeight(TileWeight):
    """A function of the similarity, ``log w_ij = function(s_ij)`` (hard tilts, bands, mixtures).

    Args:
        function: element-wise map from similarities (r, c), not divided by tau, to log-weights.
            With ``query_value`` it is called as ``function(s, query_value[:, None])``.
        query_value: (Q,) one number per query for the function, such as its positive's similarity;
            may require a gradient.
        detach: when true (as in most papers) the weight is a constant for the embeddings.

    Raises:
        ValueError: ``query_value`` is not (Q,), or (in the first call of a kernel) the function
            uses a learnable tensor that it was not handed.

    Example:
        >>> hard = SimilarityWeight(lambda s: 2.0 * s)  # Robinson et al., 2021, with beta = 2
    """

    needs_similarity = True

    def __init__(
        self,
        function: Callable[..., Tensor],
        query_value: Tensor | None = None,
        *,
        detach: bool = True,
    ) -> None:
        if query_value is not None and query_value.dim() != 1:
            raise ValueError(
                f"query_value needs one number per query, got {tuple(query_value.shape)}"
            )
        self.function = function
        self.parameters = () if query_value is None else (query_value,)
        self.feeds_similarity = not detach
        self.symmetric = query_value is None
        self._captures_checked = False

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        if self.parameters:
            _check_length("query_value", self.parameters[0], num_queries, "queries")

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        assert similarity is not None
        if not self._captures_checked:
            self._check_captures(similarity, parameters)
        if not self.feeds_similarity:
            similarity = similarity.detach()
        return self.function(similarity, *(value[rows, None] for value in parameters))

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """See :meth:`TileWeight.backward_tile`."""
        slot = out[0] if out else None
        if slot is None or similarity is None:
            return super().backward_tile(parameters, rows, columns, similarity, grad, out)
        with torch.enable_grad():
            # One leaf a pair: of those that take no part the slope may be infinite.
            own = parameters[0].detach()[rows, None].expand_as(similarity).clone()
            inputs = [own.requires_grad_(True)]
            similarity = similarity.detach()
            if self.feeds_similarity:
                inputs.append(similarity.requires_grad_(True))
            value = self.function(similarity, own)
            if not value.requires_grad:  # a step function, say
                return None
            found, apart = _pair_gradients(value, inputs, grad)
        if found[0] is not None:
            slot[rows] += found[0].masked_fill(apart, 0.0).sum(1)
        if not self.feeds_similarity or found[1] is None:
            return None
        return found[1].masked_fill(apart, 0.0)

    def _check_captures(self, similarity: Tensor, parameters: tuple[Tensor, ...]) -> None:
        """Refuse a function that hides a learnable tensor: the kernel could not reach it."""
        corner = similarity.detach()[:1, :1]
        with torch.enable_grad():
            seen = self.function(corner, *(value.detach()[:1, None] for value in parameters))
        if seen.requires_grad:
            raise ValueError(
                "the function of SimilarityWeight uses a tensor that requires a gradient, which it "
                "would not get; pass it as query_value, or subclass TileWeight and name it in "
                "parameters"
            )
        self._captures_checked = True


class WeightSum(TileWeight):
    """The sum of several log-weights."""

    def __init__(self, parts: tuple[TileWeight, ...]) -> None:
        self.parts = parts
        self.parameters = tuple(p for part in parts for p in part.parameters)
        self.needs_similarity = any(part.needs_similarity for part in parts)
        self.feeds_similarity = any(part.feeds_similarity for part in parts)
        self.fills_tiles = any(part.fills_tiles for part in parts)
        self.symmetric = all(part.symmetric for part in parts)

    def _cuts(self) -> list[slice]:
        ends = [0]
        for part in self.parts:
            ends.append(ends[-1] + len(part.parameters))
        return [slice(a, b) for a, b in pairwise(ends)]

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`TileWeight.check`."""
        for part in self.parts:
            part.check(num_queries, num_keys)

    def bounds(self, parameters: tuple[Tensor, ...]) -> tuple[float, float] | None:
        """See :meth:`TileWeight.bounds`."""
        low = high = 0.0
        for part, cut in zip(self.parts, self._cuts(), strict=True):
            one = part.bounds(parameters[cut])
            if one is None:
                return None
            low, high = low + one[0], high + one[1]
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        """See :meth:`TileWeight.tile`."""
        cuts = self._cuts()
        total = self.parts[0].tile(parameters[cuts[0]], rows, columns, similarity)
        for part, cut in zip(self.parts[1:], cuts[1:], strict=True):
            total = total + part.tile(parameters[cut], rows, columns, similarity)
        return total

    def backward_tile(
        self,
        parameters: tuple[Tensor, ...],
        rows: slice,
        columns: slice,
        similarity: Tensor | None,
        grad: Tensor,
        out: Grads,
    ) -> Tensor | None:
        """See :meth:`TileWeight.backward_tile`."""
        through: Tensor | None = None
        for part, cut in zip(self.parts, self._cuts(), strict=True):
            slots = out[cut]
            found = part.backward_tile(parameters[cut], rows, columns, similarity, grad, slots)
            if found is not None:
                through = found if through is None else through + found
        return through
