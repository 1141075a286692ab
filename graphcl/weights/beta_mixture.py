"""Mixture of two Beta distributions, which tells true from false negatives by similarity."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Observations stay this far from 0 and 1, where densities may be infinite.
_EDGE = 1e-6
_SMALLEST = 1e-12
_CELLS = 2**16


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

    def posterior(self, values: Tensor) -> Tensor:
        """Probability of component 0, of the shape and dtype of ``values`` in [0, 1]."""
        u = values.clamp(_EDGE, 1 - _EDGE)
        return self._log_odds(u.log(), torch.log1p(-u)).sigmoid()

    def _log_odds(self, log_u: Tensor, log_rest: Tensor) -> Tensor:
        a, b, c = (float(v[0] - v[1]) for v in (self.alpha, self.beta, self._constant()))
        return a * log_u + b * log_rest + c

    def log_weight(self, similarity: Tensor) -> Tensor:
        r"""Log of ProGCL's weight :math:`p_{neg}(u) u` with :math:`u = (s + 1) / 2`.

        Args:
            similarity: cosines s, of any shape.

        Returns:
            The same shape, no less than :attr:`extent` allows.
        """
        u = ((similarity + 1) / 2).clamp(_EDGE, 1 - _EDGE)
        log_u = u.log()
        odds = self._log_odds(log_u, torch.log1p(-u))
        return (nn.functional.logsigmoid(odds) + log_u).clamp_min(self.extent[0])

    def table(self) -> Callable[[Tensor], Tensor]:
        """:meth:`log_weight` of the present fit, several times faster for float32 similarities.

        It is computed at 65 537 similarities and linear between them: off by less than 1e-4 for
        weights above 1e-8 and cosines up to 0.995. For float64 it is the function itself.
        """
        grid = torch.linspace(-1, 1, _CELLS + 1, dtype=torch.float64, device=self.alpha.device)
        exact = self.log_weight(grid)
        value, rise = exact.float(), torch.cat([exact.diff(), exact.new_zeros(1)]).float()

        def look_up(similarity: Tensor) -> Tensor:
            if similarity.dtype == torch.float64:
                return self.log_weight(similarity)
            place = (similarity * (_CELLS / 2)).add_(_CELLS / 2).clamp_(0, _CELLS)
            # A NaN has no cell, but stays a NaN.
            cell = place.int().clamp_(0, _CELLS)
            place.sub_(cell)
            flat = cell.view(-1)
            found = rise.index_select(0, flat).view_as(place).mul_(place)
            return found.add_(value.index_select(0, flat).view_as(place))

        return look_up

    extent = (math.log(_SMALLEST), 0.0)
    """Bounds of :meth:`log_weight`: a weight of 1e-12 counts as none beside a mean of one."""
