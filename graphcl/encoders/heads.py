"""Heads on top of the node embeddings, used in training only."""

import torch
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Two linear layers with an ELU between, of GRACE (Zhu et al., 2020, arXiv:2006.04131).

    Maps (N, channels) to (N, channels); the contrastive loss is taken on the result.

    Args:
        channels: Width of the embeddings.
        hidden: Width of the hidden layer.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden), nn.ELU(), nn.Linear(hidden, channels)
        )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset_layers(self.layers)

    def forward(self, z: Tensor) -> Tensor:
        """Project embeddings (N, channels)."""
        out: Tensor = self.layers(z)
        return out

    @torch.no_grad()
    def span(self) -> Tensor | None:
        """Orthonormal basis of all possible outputs, (channels, hidden + 1), as a constant.

        Outputs lie in the span of the last layer's weights and bias. When the hidden layer is
        narrower than the output, ``head(z) @ head.span()`` has fewer columns and the same inner
        products, hence the same cosine losses and, the basis being constant, the same gradients:
        those of such a loss lie in the span too.

        Returns:
            None when the hidden layer is not narrower.
        """
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        if last.in_features + 1 >= last.out_features:
            return None
        columns = torch.cat([last.weight, last.bias[:, None]], 1)
        basis: Tensor = torch.linalg.qr(columns).Q
        return basis


class MLPPredictor(nn.Module):
    """Two linear layers with a PReLU between, of BGRL (Thakoor et al., 2022, arXiv:2102.06514).

    Maps online embeddings (N, channels) to predictions (N, channels) of the target embeddings.

    Args:
        channels: Width of the embeddings.
        hidden: Width of the hidden layer.
    """

    def __init__(self, channels: int, hidden: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden), nn.PReLU(), nn.Linear(hidden, channels)
        )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset_layers(self.layers)

    def forward(self, z: Tensor) -> Tensor:
        """Predict from embeddings (N, channels)."""
        out: Tensor = self.layers(z)
        return out


def reset_layers(layers: nn.Module) -> None:
    """Reset every distinct child that has parameters of its own."""
    for layer in layers.children():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()  # type: ignore[operator]
