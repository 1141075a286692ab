"""Activations by name."""

from collections.abc import Callable

from torch import nn

# Mean of the uniform slope in [1/8, 1/3] that a randomised leaky ReLU draws.
RRELU_SLOPE = (1 / 8 + 1 / 3) / 2

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "rrelu": lambda: nn.LeakyReLU(RRELU_SLOPE),
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


def activation(name: str, width: int | None = None) -> nn.Module:
    """New activation module by name.

    "rrelu" is the randomised leaky ReLU at its mean slope 11/48, without noise: this is what the
    GCA release computes, and it keeps training reproducible and the slope known.

    Args:
        name: One of relu, prelu, rrelu, elu, leaky_relu, gelu, tanh, identity.
        width: Number of slopes of "prelu", one per channel; a single one if None. The others
            ignore it.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> activation("prelu", width=4).weight.shape
        torch.Size([4])
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: choose from {', '.join(ACTIVATIONS)}")
    if name == "prelu" and width is not None:
        return nn.PReLU(width)
    return ACTIVATIONS[name]()
