import pytest
import torch
from torch import nn
from torch.nn import functional

from graphcl.encoders.heads import MLPPredictor, ProjectionHead


def test_projection_head_formula() -> None:
    head, z = ProjectionHead(6, 9), torch.randn(5, 6)
    first, last = (layer for layer in head.modules() if isinstance(layer, nn.Linear))
    assert first.weight.shape == (9, 6)
    expected = functional.elu(z @ first.weight.T + first.bias) @ last.weight.T + last.bias
    assert torch.allclose(head(z), expected, atol=1e-6)


def test_predictor_formula() -> None:
    head, z = MLPPredictor(6), torch.randn(5, 6)
    first, last = (layer for layer in head.modules() if isinstance(layer, nn.Linear))
    assert first.weight.shape == (512, 6)
    hidden = z @ first.weight.T + first.bias
    hidden = torch.where(hidden > 0, hidden, 0.25 * hidden)
    assert torch.allclose(head(z), hidden @ last.weight.T + last.bias, atol=1e-6)


@pytest.mark.parametrize("head", [ProjectionHead(4, 3), MLPPredictor(4, 3)])
def test_reset_draws_everything_anew(head: ProjectionHead | MLPPredictor) -> None:
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(7)
    head.reset_parameters()
    assert not any((parameter == 7).any() for parameter in head.parameters())
    slopes = [m.weight.item() for m in head.modules() if isinstance(m, nn.PReLU)]
    assert slopes == [0.25] * len(slopes)


@pytest.mark.parametrize("head", [ProjectionHead(4, 3), MLPPredictor(4, 3)])
def test_gradient_reaches_every_weight(head: ProjectionHead | MLPPredictor) -> None:
    head(torch.randn(8, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
