"""Two small views, and the negatives of every anchor written out as dense matrices."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

N, D = 11, 4


@pytest.fixture
def views() -> tuple[Tensor, Tensor]:
    """Two views of N nodes in float64, not normalised, with gradients."""
    drawn = torch.randn(2, N, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return drawn[0].clone().requires_grad_(), drawn[1].clone().requires_grad_()


Correct = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def dense_loss() -> Callable[..., Tensor]:
    """Function that computes a two-view loss from dense matrices.

    ``negatives(similarity (N, C), keep (N, C), positive (N,))`` gives what the candidates of both
    views add to each denominator.
    """

    def loss(
        z1: Tensor,
        z2: Tensor,
        tau: float,
        negatives: Correct,
        *,
        intra_view: bool = True,
        decoupled: bool = False,
        hidden: Tensor | None = None,
    ) -> Tensor:
        a, b = F.normalize(z1), F.normalize(z2)
        positive = (a * b).sum(1)
        apart = ~torch.eye(len(a), dtype=torch.bool)
        keep = apart if hidden is None else apart & ~hidden
        total = torch.zeros((), dtype=z1.dtype)
        for own, other in ((a, b), (b, a)):
            pools = [own @ other.T, own @ own.T] if intra_view else [own @ other.T]
            below = negatives(torch.cat(pools, 1), torch.cat([keep] * len(pools), 1), positive)
            if not decoupled:
                below = below + (positive / tau).exp()
            total = total + (below.log() - positive / tau).mean() / 2
        return total

    return loss


@pytest.fixture
def agree() -> Callable[..., None]:
    """Function that compares two losses and their gradients."""

    def compare(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
        torch.testing.assert_close(ours, theirs)
        for got, want in zip(
            *(torch.autograd.grad(one, inputs) for one in (ours, theirs)), strict=True
        ):
            torch.testing.assert_close(got, want)

    return compare
