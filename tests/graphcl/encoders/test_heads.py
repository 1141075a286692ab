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


@pytest.mark.parametrize("rank_deficient", [False, True])
def test_span_keeps_inner_products_and_gradients(rank_deficient: bool) -> None:
    head = ProjectionHead(12, 3).double()
    if rank_deficient:
        with torch.no_grad():
            head.layers[-1].weight[:, 1] = head.layers[-1].weight[:, 0]
    basis = head.span()
    assert basis.shape == (12, 4)
    assert not basis.requires_grad
    torch.testing.assert_close(basis.T @ basis, torch.eye(4, dtype=torch.float64))
    z = torch.randn(9, 12, dtype=torch.float64)

    def loss(h: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize(h)
        return (unit @ unit.T / 0.3).logsumexp(1).mean()

    found = []
    for narrow in (False, True):
        head.zero_grad()
        h = head(z)
        value = loss(h @ basis if narrow else h)
        value.backward()
        found.append([value.detach(), *(p.grad.clone() for p in head.parameters())])
    for wide, slim in zip(*found, strict=True):
        torch.testing.assert_close(slim, wide)


def test_span_is_absent_when_the_head_is_not_narrow() -> None:
    assert ProjectionHead(4, 3).span() is None
    assert ProjectionHead(4, 8).span() is None
