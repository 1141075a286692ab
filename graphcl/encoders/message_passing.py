"""Stacks of message-passing layers: GCN, GAT and GraphSAGE, over a dense feature matrix."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GATConv, GCNConv, Linear, SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from graphcl.encoders.activations import activation as make_activation
from graphcl.encoders.adjacency import can_multiply, sparse_adjacency
from graphcl.encoders.heads import reset_layers
from graphcl.kernels.sparse_product import sparse_product


def grace_channels(num_hidden: int, layers: int = 2) -> list[int]:
    """Layer widths of GRACE: ``2 * num_hidden`` everywhere, ``num_hidden`` at the end.

    Example:
        >>> grace_channels(128)
        [256, 128]
    """
    if num_hidden < 1 or layers < 1:
        raise ValueError(f"num_hidden={num_hidden}, layers={layers}: give positive numbers")
    return [2 * num_hidden] * (layers - 1) + [num_hidden]


class MessagePassingEncoder(nn.Module):
    """Layers ``activation(norm(conv(x)))`` one after another; parent of the encoders below.

    ``convs``, ``norms`` and ``activations`` are lists of equal length. An encoder says which
    convolutions it has (``make_convs``) and in which form they take the graph (``prepare``).

    Args:
        in_channels: Width of the features.
        channels: Output width of each layer.
        activation: Name for ``activation``; a PReLU has one slope per layer.
        norm: "batch" for batch normalisation before every activation, or None.
        last_activation: Normalise and activate the last layer too; linear otherwise.
        dropout: Dropout probability between layers, in training.
        share_activation: Use one activation module in all layers, so that a PReLU has one slope.
        **conv_options: What the convolutions of the encoder take beyond widths.

    Raises:
        ValueError: If ``channels`` is empty, a width is not positive, or an option is unknown.
    """

    takes_sparse_features = False
    """Whether features in CSR layout are multiplied as they are; otherwise they are made dense."""

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        *,
        activation: str = "relu",
        norm: str | None = None,
        last_activation: bool = True,
        dropout: float = 0.0,
        share_activation: bool = False,
        **conv_options: Any,
    ) -> None:
        super().__init__()
        if not channels or min(in_channels, *channels) < 1:
            raise ValueError(
                f"in_channels={in_channels}, channels={channels}: give positive widths"
            )
        if norm not in (None, "batch"):
            raise ValueError(f"unknown norm {norm!r}: choose None or 'batch'")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} is not in [0, 1)")
        self.in_channels = in_channels
        self.channels = tuple(channels)
        self.out_channels = channels[-1]
        self.dropout = dropout
        widths = list(zip([in_channels, *channels], channels, strict=False))
        self.convs = nn.ModuleList(self.make_convs(widths, **conv_options))
        active = len(widths) if last_activation else len(widths) - 1
        shared = make_activation(activation)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width) if norm == "batch" and layer < active else nn.Identity()
            for layer, width in enumerate(channels)
        )
        self.activations = nn.ModuleList(
            nn.Identity()
            if layer >= active
            else (shared if share_activation else make_activation(activation))
            for layer in range(len(channels))
        )

    def make_convs(self, widths: list[tuple[int, int]]) -> list[nn.Module]:
        """One convolution per pair (input width, output width)."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw all weights anew, and forget running statistics."""
        for layers in (self.convs, self.norms, self.activations):
            reset_layers(layers)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Encode nodes (N, F) of a graph with edges (2, E) into (N, out_channels).

        Features may be dense or in CSR layout; see ``graphcl.views.features.compact_features``.

        Features of another dtype than the encoder's are converted to it.

        Raises:
            ValueError: If the features are not (N, in_channels), edges are not integers or name a
                node outside 0..N-1, or edge weights are given to an encoder that has no use for
                them.
        """
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}: give (N, {self.in_channels}), the width that the "
                "encoder was made for"
            )
        weight = next(self.parameters(), x)  # weights swapped for plain tensors are no parameters
        x = x.to(weight.dtype)
        if edge_index.is_floating_point():
            raise ValueError(f"edge_index has dtype {edge_index.dtype}: give integers")
        if edge_index.numel():
            low, high = (int(end) for end in edge_index.aminmax())
            if low < 0 or high >= x.size(0):
                raise ValueError(f"edge_index has node ids {low} to {high}, x has {x.size(0)} rows")
        if x.layout == torch.sparse_csr and not self.takes_sparse_features:
            x = x.to_dense()
        graph = self.prepare(x, edge_index, edge_weight)
        last = len(self.convs) - 1
        for layer, conv in enumerate(self.convs):
            x = self.activations[layer](self.norms[layer](conv(x, *graph)))
            if layer < last:
                x = functional.dropout(x, self.dropout, self.training)
        return x

    def prepare(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Bring the graph, once for all layers, into the form that the convolutions take."""
        if edge_weight is not None:
            raise ValueError(f"{type(self).__name__} has no use for edge weights: leave them out")
        return (edge_index,)


class FeatureLinear(Linear):
    """PyG's linear layer, for sparse features too: then a sparse product, in full precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (N, in_channels), dense or in CSR layout, to (N, out_channels)."""
        if x.layout != torch.sparse_csr:
            out: Tensor = super().forward(x)
            return out
        return sparse_product(x, self.weight.t())


class GCNLayer(GCNConv):
    """``Â x W + b`` for an Â that is handed in ready-made, and features that may be sparse."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, normalize=False)
        self.lin = FeatureLinear(in_channels, out_channels, bias=False, weight_initializer="glorot")


class GCNEncoder(MessagePassingEncoder):
    """Graph convolutional network (Kipf and Welling, 2017, arXiv:1609.02907).

    Layer: ``activation(norm(Â x W + b))`` with ``Â = D^-1/2 (A + I) D^-1/2``. The defaults with
    ``grace_channels`` widths are GRACE's encoder, which activates the last layer too; BGRL's has
    ``activation="prelu", norm="batch"``. Arguments are those of ``MessagePassingEncoder``.

    Example:
        >>> encoder = GCNEncoder(3, grace_channels(4))
        >>> encoder(torch.ones(2, 3), torch.tensor([[0, 1], [1, 0]])).shape
        torch.Size([2, 4])
    """

    takes_sparse_features = True

    def make_convs(self, widths: list[tuple[int, int]]) -> list[nn.Module]:
        """Convolutions that take Â ready-made: ``prepare`` computes it once for all layers."""
        return [GCNLayer(width, out) for width, out in widths]

    def prepare(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Â as a sparse matrix, or as edges and weights where that product does not exist."""
        nodes = x.size(0)
        edge_index, weight = gcn_norm(edge_index, edge_weight, nodes, dtype=x.dtype)
        if can_multiply(x, weight):
            return (sparse_adjacency(edge_index, weight, nodes),)
        return edge_index, weight


class GATEncoder(MessagePassingEncoder):
    """Graph attention network (Veličković et al., 2018, arXiv:1710.10903).

    The heads of the hidden layers are concatenated, those of the last layer averaged. Arguments
    are those of ``MessagePassingEncoder`` and ``heads``, the number of attention heads (4), which
    has to divide the hidden widths.
    """

    def make_convs(self, widths: list[tuple[int, int]], heads: int = 4) -> list[nn.Module]:
        """Attention layers of ``heads`` heads."""
        *hidden, (width, out) = widths
        if heads < 1 or any(wide % heads for _, wide in hidden):
            hidden_widths = [wide for _, wide in hidden]
            raise ValueError(f"heads={heads}: give a divisor of the hidden widths {hidden_widths}")
        convs = [GATConv(narrow, wide // heads, heads=heads) for narrow, wide in hidden]
        return [*convs, GATConv(width, out, heads=heads, concat=False)]


class SAGEEncoder(MessagePassingEncoder):
    """GraphSAGE with mean aggregation (Hamilton et al., 2017, arXiv:1706.02216).

    Arguments are those of ``MessagePassingEncoder``.
    """

    def make_convs(self, widths: list[tuple[int, int]]) -> list[nn.Module]:
        """Mean aggregators."""
        return [SAGEConv(width, out) for width, out in widths]

    def prepare(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The adjacency as a sparse matrix where that product exists."""
        graph = super().prepare(x, edge_index, edge_weight)
        if can_multiply(x, None):
            ones = torch.ones(edge_index.size(1), dtype=x.dtype, device=x.device)
            return (sparse_adjacency(edge_index, ones, x.size(0)),)
        return graph


ENCODERS: dict[str, type[MessagePassingEncoder]] = {
    "gcn": GCNEncoder,
    "gat": GATEncoder,
    "sage": SAGEEncoder,
}


def encoder(
    name: str, in_channels: int, channels: Sequence[int], **options: Any
) -> MessagePassingEncoder:
    """New encoder by name: "gcn", "gat" or "sage", with the keywords of its class.

    Raises:
        ValueError: If the name is unknown, or as the class does.
    """
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}: choose from {', '.join(ENCODERS)}")
    return ENCODERS[name](in_channels, channels, **options)
