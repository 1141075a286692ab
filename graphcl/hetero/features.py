"""Features of each node type, brought to one width; masking of single entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn.module_dict import ModuleDict

from graphcl.kernels.sparse_product import sparse_product
from graphcl.metapaths.neighbours import csr_matrix
from graphcl.views.coins import flip_coins


def type_widths(data: HeteroData) -> dict[str, int]:
    """Width of the features of each node type; of its one-hot rows where it has none."""
    return {kind: node_features(data, kind).shape[1] for kind in data.node_types}


def node_features(data: HeteroData, kind: str) -> Tensor:
    """Features (N, F) of a node type, dense or CSR; one-hot rows in CSR where there are none.

    Raises:
        ValueError: the features are not (N, F), dense or CSR, not finite, or not float32 or
            float64.
    """
    x = data[kind].x if "x" in data[kind] else None
    if x is None:
        nodes = int(data[kind].num_nodes or 0)
        steps = torch.arange(nodes + 1)
        return csr_matrix(steps, steps[:-1], torch.ones(nodes), (nodes, nodes))
    if x.dim() != 2 or x.layout not in (torch.strided, torch.sparse_csr):
        raise ValueError(
            f"features of {kind!r} are {tuple(x.shape)} in layout {x.layout}; give (N, F), dense "
            "or in CSR layout"
        )
    values = x.values() if x.layout == torch.sparse_csr else x
    if values.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"features of {kind!r} are {values.dtype}; give float32 (half precision: train with "
            "precision='bf16-mixed')"
        )
    if not bool(values.isfinite().all()):
        raise ValueError(f"features of {kind!r} hold NaN or infinity")
    features: Tensor = x
    return features


@dataclass(frozen=True)
class Rows:
    """Features of one node type, with what a product with sparse ones needs.

    Attributes:
        x: (N, F), dense or CSR.
        transpose: (F, N) CSR where ``x`` is CSR.
        order: entry of ``x`` that each entry of the transpose is.
    """

    x: Tensor
    transpose: Tensor | None = None
    order: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor) -> Rows:
        """Of features (N, F)."""
        if x.layout != torch.sparse_csr:
            return cls(x)
        column = x.col_indices().long()
        rows = torch.arange(x.shape[0], device=x.device)
        row = rows.repeat_interleave(x.crow_indices().long().diff())
        order = torch.argsort(column, stable=True)
        ptr = torch.zeros(x.shape[1] + 1, dtype=torch.long, device=x.device)
        torch.cumsum(torch.bincount(column, minlength=x.shape[1]), 0, out=ptr[1:])
        across = csr_matrix(ptr, row[order], x.values()[order], (x.shape[1], x.shape[0]))
        same = csr_matrix(x.crow_indices(), column, x.values(), (x.shape[0], x.shape[1]))
        return cls(same, across, order)

    def to(self, device: torch.device | str) -> Rows:
        """The same rows on a device."""
        parts = (self.x, self.transpose, self.order)
        return Rows(*(part if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]

    def masked(self, rate: float) -> Rows:
        """The rows with a share of their nonzero entries set to zero, each by its own coin.

        The layout and the shape stay; torch's global generator decides.
        """
        if self.transpose is None or self.order is None:
            dropped = flip_coins(rate, self.x.numel(), device=self.x.device).view_as(self.x)
            return Rows(self.x.masked_fill(dropped, 0))
        dropped = flip_coins(rate, self.order.numel(), device=self.order.device)
        values = self.x.values().masked_fill(dropped, 0)
        return Rows(
            _with_values(self.x, values),
            _with_values(self.transpose, values[self.order]),
            self.order,
        )


def _with_values(matrix: Tensor, values: Tensor) -> Tensor:
    shape = (matrix.shape[0], matrix.shape[1])
    return csr_matrix(matrix.crow_indices(), matrix.col_indices(), values, shape)


class TypeTransform(nn.Module):
    """``ELU(dropout(x W_t + b_t))`` for each node type t.

    Args:
        in_channels: width of the features of each type.
        hidden: common width.
        dropout: of the outputs, before the activation.
    """

    def __init__(self, in_channels: Mapping[str, int], hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        for kind, width in in_channels.items():
            if width < 1:
                raise ValueError(f"node type {kind!r} has features of width {width}")
        try:
            self.linears = ModuleDict({k: nn.Linear(w, hidden) for k, w in in_channels.items()})
        except KeyError as error:  # "training" and other attributes of modules
            raise ValueError(f"rename a node type: {error.args[0]}") from error
        if len(self.linears) < len(in_channels):  # ModuleDict writes "c#" for "c."
            raise ValueError(
                f"rename node types whose names PyG stores as one: {sorted(in_channels)} become "
                f"{sorted(self.linears.keys())}"
            )
        self.dropout, self.activation = nn.Dropout(dropout), nn.ELU()
        for linear in self.linears.values():
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_normal_(linear.weight, gain=1.414)

    def forward(self, kind: str, rows: Rows) -> Tensor:
        """Rows (N, hidden) of one type from its features."""
        linear = self.linears[kind]
        assert isinstance(linear, nn.Linear)
        dtype = linear.weight.dtype
        if rows.transpose is None:
            h = linear(rows.x.to(dtype))
        else:
            h = sparse_product(rows.x, linear.weight.T, rows.transpose).to(dtype) + linear.bias
        out: Tensor = self.activation(self.dropout(h))
        return out
