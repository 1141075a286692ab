"""Features of each node type, brought to one width; masking of single entries."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphcl.metapaths.neighbours import csr_matrix
from graphcl.views.coins import flip_coins


def type_widths(data: HeteroData) -> dict[str, int]:
    """Width of the features of each node type; of its one-hot rows where it has none."""
    return {kind: node_features(data, kind).shape[1] for kind in data.node_types}


def node_features(data: HeteroData, kind: str) -> Tensor:
    """Features (N, F) of a node type, dense or CSR; one-hot rows in CSR where there are none.

    Raises:
        ValueError: the features are not finite, or not float32 or float64.
    """
    x = data[kind].x if "x" in data[kind] else None
    if x is None:
        nodes = int(data[kind].num_nodes or 0)
        steps = torch.arange(nodes + 1)
        return csr_matrix(steps, steps[:-1], torch.ones(nodes), (nodes, nodes))
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
        self.linears = nn.ModuleDict({k: nn.Linear(w, hidden) for k, w in in_channels.items()})
        self.dropout, self.activation = nn.Dropout(dropout), nn.ELU()
        for linear in self.linears.values():
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_normal_(linear.weight, gain=1.414)

    def forward(self, kind: str, x: Tensor) -> Tensor:
        """Rows (N, hidden) of one type from features (N, F), dense or CSR."""
        linear = self.linears[kind]
        assert isinstance(linear, nn.Linear)
        if x.layout == torch.sparse_csr:
            with torch.autocast(x.device.type, enabled=False):
                h = x @ linear.weight.T + linear.bias
        else:
            h = linear(x)
        out: Tensor = self.activation(self.dropout(h))
        return out


def mask_entries(x: Tensor, rate: float) -> Tensor:
    """Features with a share of their nonzero entries set to zero, each by a coin of its own.

    Args:
        x: (N, F), dense or CSR; the result has the layout and the shape of the input.
        rate: probability of an entry; torch's global generator decides.
    """
    if x.layout != torch.sparse_csr:
        dropped = flip_coins(rate, x.numel(), device=x.device).view_as(x)
        return x.masked_fill(dropped, 0)
    values = x.values()
    dropped = flip_coins(rate, values.numel(), device=x.device)
    shape = (x.shape[0], x.shape[1])
    return csr_matrix(x.crow_indices(), x.col_indices(), values.masked_fill(dropped, 0), shape)
