"""Mixture of two Beta distributions, which tells true from false negatives by similarity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Observations stay this far from 0 and 1, where densities may be infinite.
_EDGE = 1e-6
_SMALLEST = 1e-12


class BetaMixture(nn.Module):
    r"""Two Beta components on [0, 1], fitted by expectation maximisation with moment matching.

    ProGCL (Xia et al., 2022, arXiv 2110.02027) fits it to similarities mapped to [0, 1] by
    :math:`u = (s + 1) / 2`; component 0, with the lower mean, are the true negatives. Parameters
    are buffers: they belong to a checkpoint and get no gradient.

    Args:
        weight_init: initial share of component 1, the false negatives.

    Example:
        >>> mixture = BetaMixture()
        >>> low, high = torch.full((900,), 0.2), torch.full((100,), 0.8)
        >>> _ = mixture.fit(torch.cat([low, high]) + 0.05 * torch.rand(1000))
        >>> mixture.posterior(torch.tensor([0.2, 0.8])).round()
        tensor([1., 0.])
    """

    alpha: Tensor
    beta: Tensor
    share: Tensor

    def __init__(self, weight_init: float = 0.05) -> None:
        super().__init__()
        if not 0 < weight_init < 1:
            raise ValueError(f"weight_init must lie between 0 and 1, got {weight_init}")
        self.weight_init = weight_init
        for name in ("alpha", "beta", "share"):
            self.register_buffer(name, torch.empty(2, dtype=torch.float64))
        self.reset()

    def reset(self) -> None:
        """Return to the initial components, Beta(1, 2) and Beta(2, 1)."""
        for buffer, value in (
            (self.alpha, (1.0, 2.0)),
            (self.beta, (2.0, 1.0)),
            (self.share, (1 - self.weight_init, self.weight_init)),
        ):
            buffer.copy_(torch.tensor(value))

    @torch.no_grad()
    def fit(self, values: Tensor, iterations: int = 10) -> list[float]:
        """Fit to observations from the initial components, all at once in float64.

        Moment matching is not maximum likelihood: an iteration that would lower the likelihood is
        not made and ends the fit.

        Args:
            values: (M,) observations in [0, 1].
            iterations: at most so many.

        Returns:
            Mean log-likelihood before the first and after every iteration made; never falling.

        Raises:
            ValueError: no observations, or some that are not in [0, 1].
        """
        if values.dim() != 1 or values.numel() == 0:
            raise ValueError(f"values must be (M,) with M > 0, got {tuple(values.shape)}")
        low, high = (float(end) for end in values.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"values must lie in [0, 1], got {low} to {high}")
        self.reset()
        u = values.to(self.alpha).clamp(_EDGE, 1 - _EDGE)
        logs = (u.log(), torch.log1p(-u))
        joint = self._joint(*logs)
        history = [float(joint.logsumexp(0).mean())]
        for _ in range(iterations):
            before = self.alpha.clone(), self.beta.clone(), self.share.clone()
            self._match(u, joint.softmax(0))
            joint = self._joint(*logs)
            likelihood = float(joint.logsumexp(0).mean())
            if not likelihood >= history[-1]:
                for buffer, value in zip((self.alpha, self.beta, self.share), before, strict=True):
                    buffer.copy_(value)
                break
            history.append(likelihood)
        mean = self.alpha / (self.alpha + self.beta)
        if mean[0] > mean[1]:
            for buffer in (self.alpha, self.beta, self.share):
                buffer.copy_(buffer.flip(0))
        return history

    def _match(self, u: Tensor, responsibility: Tensor) -> None:
        """Set shares, means and variances to those of the observations (M,) by weights (2, M)."""
        total = responsibility.sum(1).clamp_min(_SMALLEST)
        mean = (responsibility @ u / total).clamp(_EDGE, 1 - _EDGE)
        spread = mean * (1 - mean)
        square = (responsibility * (u - mean[:, None]).square()).sum(1) / total
        # A Beta distribution has a variance between 0 and mean (1 - mean).
        variance = torch.minimum(square.clamp_min(1e-8), spread * (1 - _EDGE))
        precision = spread / variance - 1
        self.alpha.copy_(mean * precision)
        self.beta.copy_((1 - mean) * precision)
        self.share.copy_((total / total.sum()).clamp_min(_SMALLEST))

    def _joint(self, log_u: Tensor, log_rest: Tensor) -> Tensor:
        """Log of share times density, (2, M), from log u and log (1 - u)."""
        a, b = self.alpha[:, None], self.beta[:, None]
        return (a - 1) * log_u + (b - 1) * log_rest + self._constant()[:, None]

    def _constant(self) -> Tensor:
        """Log of share over Beta function, (2,)."""
        a, b = self.alpha, self.beta
        return self.share.log() - (a.lgamma() + b.lgamma() - (a + b).lgamma())

    @torch.no_grad()
    def posterior(self, values: Tensor) -> Tensor:
        """Probability of component 0, of the shape and dtype of ``values`` in [0, 1]."""
        u = values.clamp(_EDGE, 1 - _EDGE)
        # In place where it can be: memory that is new costs as much as the functions.
        a, b, c = (float(v[0] - v[1]) for v in (self.alpha, self.beta, self._constant()))
        odds = u.log().mul_(a)
        return odds.add_(u.neg_().log1p_(), alpha=b).add_(c).sigmoid_()

    @torch.no_grad()
    def weight(self, similarity: Tensor) -> Tensor:
        r"""ProGCL's weight :math:`p_{neg}(u) u` with :math:`u = (s + 1) / 2`, a constant.

        Args:
            similarity: cosines s, of any shape; what rounding adds beyond -1 and 1 does no harm.

        Returns:
            The same shape, from 1e-12 to 1. The least counts as none beside a mean of one, unless
            the temperature is so low (below 0.05) that exponentials of similarities outweigh it.
        """
        u = similarity.add(1).div_(2).clamp_(_EDGE, 1 - _EDGE)
        return self.posterior(u).mul_(u).clamp_min_(_SMALLEST)

    def log_weight(self, similarity: Tensor) -> Tensor:
        """Logarithm of :meth:`weight`, within :attr:`extent`."""
        return self.weight(similarity).log_()

    extent = (math.log(_SMALLEST), 0.0)
    """Bounds of :meth:`log_weight`."""
