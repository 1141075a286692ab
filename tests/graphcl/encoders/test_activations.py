import pytest
import torch
from torch import nn
from torch.nn import functional

from graphcl.encoders.activations import ACTIVATIONS, activation

FORMULAS = {
    "relu": functional.relu,
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "rrelu": functional.rrelu,  # without the training flag: the mean slope
    "elu": functional.elu,
    "leaky_relu": functional.leaky_relu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_value(name: str) -> None:
    x = torch.linspace(-3, 3, 13)
    module = activation(name).train()
    assert torch.allclose(module(x), FORMULAS[name](x))
    assert torch.equal(module(x), module(x))


def test_all_names_are_tested() -> None:
    assert set(FORMULAS) == set(ACTIVATIONS)


def test_width_is_the_number_of_prelu_slopes() -> None:
    assert activation("prelu").weight.shape == (1,)
    assert activation("prelu", 5).weight.shape == (5,)
    assert isinstance(activation("relu", 5), nn.ReLU)


def test_every_call_gives_a_new_module() -> None:
    assert activation("prelu") is not activation("prelu")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'swish'.*relu, prelu, .*identity"):
        activation("swish")
