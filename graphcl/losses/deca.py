"""DeCA: communities that are dense inside and sparsely connected to each other."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from graphcl.losses.precision import widened

Density = Literal["code", "paper", "modularity"]


class DeCA(nn.Module):
    r"""Dense community aggregation of gCooL (Li et al., 2022, arXiv 2110.14863).

    With memberships R (N, K) and :math:`Q = R^\top A R`, the loss is
    :math:`\lambda D_{inter} - D_{intra}`, where
    :math:`D_{inter} = (\sum Q - \mathrm{tr}\, Q) / (N (N - 1))` and, by ``density``,

    - ``code`` (as released): :math:`(\mathrm{tr}\, Q - \|R\|^2 / 2) / N`;
    - ``paper``: :math:`\frac1N \sum_k (Q_{kk} - d_k n_k^2)` with :math:`n_k = \sum_i R_{ik}` and
      the edge density :math:`d_k = Q_{kk} / (n_k (n_k - 1))`. For hard assignments that is
      :math:`-\frac1N \sum_k Q_{kk} / (n_k - 1)`: it hardly tells partitions apart. A community of
      at most one node has density 0; with soft memberships one that is little larger has a density
      far above 1, and its share of the loss grows likewise;
    - ``modularity``: :math:`\frac1N \sum_k (Q_{kk} - v_k^2 / \sum A)` with the volume
      :math:`v_k = \sum_i \deg_i R_{ik}`, Newman's null model; of a directed view :math:`v_k^2` is
      the product of the volumes by out-degrees and by in-degrees.

    Computed from the edge list in O(E K + N K^2): no (N, N) adjacency is formed.

    Args:
        inter_weight: :math:`\lambda`.
        density: ``code``, ``paper`` or ``modularity``.

    Shape:
        ``assignment`` (N, K) and ``edge_index`` (2, E) -> scalar.

    Example:
        >>> edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])  # two pairs of nodes
        >>> loss = DeCA()
        >>> right = loss(torch.tensor([[1., 0], [1, 0], [0, 1], [0, 1]]), edges)
        >>> wrong = loss(torch.tensor([[1., 0], [0, 1], [1, 0], [0, 1]]), edges)
        >>> bool(right < wrong)
        True
    """

    def __init__(self, inter_weight: float = 1.0, density: Density = "code") -> None:
        super().__init__()
        if not (inter_weight >= 0 and math.isfinite(inter_weight)):
            raise ValueError(f"inter_weight must be finite and not negative, got {inter_weight}")
        if density not in ("code", "paper", "modularity"):
            raise ValueError(f"unknown density {density!r}; choose code, paper or modularity")
        self.inter_weight, self.density = inter_weight, density

    def forward(self, assignment: Tensor, edge_index: Tensor) -> Tensor:
        """The loss.

        Args:
            assignment: (N, K) memberships, rows sum to one. Half precision is widened.
            edge_index: (2, E) directed edges; an undirected graph stores both directions.

        Raises:
            ValueError: shapes do not fit, fewer than two nodes, or an edge names another one.
        """
        if assignment.dim() != 2 or assignment.shape[0] < 2:
            raise ValueError(
                f"assignment must be (N, K) with at least two nodes, got {tuple(assignment.shape)}"
            )
        no_ids = edge_index.is_floating_point() or edge_index.dtype == torch.bool
        if edge_index.dim() != 2 or edge_index.shape[0] != 2 or no_ids:
            raise ValueError(
                f"edge_index must be integers (2, E), got {edge_index.dtype} "
                f"{tuple(edge_index.shape)}"
            )
        nodes, edge_index = assignment.shape[0], edge_index.long()
        if edge_index.numel():
            low, high = (int(end) for end in edge_index.aminmax())
            if low < 0 or high >= nodes:
                raise ValueError(f"edges name nodes {low} to {high}, but there are {nodes}")
        with torch.autocast(assignment.device.type, enabled=False):
            (assignment,) = widened(assignment)
            links = community_links(assignment, edge_index)
            inside = links.diagonal()
            inter = (links.sum() - inside.sum()) / (nodes * (nodes - 1))
            null = self._expected_inside(assignment, edge_index, inside)
            return self.inter_weight * inter - (inside.sum() - null) / nodes

    def _expected_inside(self, assignment: Tensor, edge_index: Tensor, inside: Tensor) -> Tensor:
        """What is taken off the links inside communities, summed over communities."""
        if self.density == "code":
            return assignment.square().sum() / 2
        if self.density == "paper":
            size = assignment.sum(0)
            several = size > 1
            pairs = torch.where(several, size * (size - 1), 1.0)
            return (torch.where(several, inside / pairs, 0.0) * size.square()).sum()
        # Of a directed view the expected links are those of its out-degrees and in-degrees.
        leaving, entering = (assignment.index_select(0, ends).sum(0) for ends in edge_index)
        return (leaving * entering).sum() / max(edge_index.shape[1], 1)

    def extra_repr(self) -> str:
        """Settings shown by ``print``."""
        return f"inter_weight={self.inter_weight}, density={self.density}"


def community_links(assignment: Tensor, edge_index: Tensor) -> Tensor:
    """Links between communities :math:`Q = R^T A R`, (K, K), from (N, K) and (2, E)."""
    neighbours = torch.zeros_like(assignment).index_add(
        0, edge_index[0], assignment.index_select(0, edge_index[1])
    )
    return assignment.T @ neighbours
