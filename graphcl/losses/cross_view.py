"""HeCo's loss: two views of a node, several positives each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import two_sided_logsumexp
from graphcl.kernels.segments import segment_logsumexp
from graphcl.kernels.unit_rows import unit_rows
from graphcl.losses.pair_products import pair_products
from graphcl.losses.precision import widened
from graphcl.losses.temperature import check_tau


class HeCoLoss(nn.Module):
    r"""Cross-view contrast with several positives (Wang et al., 2021, arXiv 2105.09111).

    .. math:: \ell_i(a, b) = -\log \frac{\sum_{j \in P_i} e^{\cos(a_i, b_j) / \tau}}
                                       {\sum_j e^{\cos(a_i, b_j) / \tau}}, \qquad
              L = \text{mean}_i\; \lambda\, \ell_i(a, b) + (1 - \lambda)\, \ell_i(b, a).

    Time O(N^2 D), memory O(N D + pairs): similarities of positive pairs are taken pair by pair,
    the sums over all candidates in tiles.

    Args:
        tau: temperature.
        balance: :math:`\lambda`.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.

    Relations: with each node its own only positive and ``balance=0.5``, the symmetric
    :class:`~graphcl.losses.InfoNCE` without intra-view negatives.

    Example:
        >>> z, own = torch.eye(3), torch.arange(3).repeat(2, 1)
        >>> round(float(HeCoLoss(tau=1e6)(z, z, own)), 4)  # log(3)
        1.0986
    """

    def __init__(self, tau: float = 0.5, balance: float = 0.5, impl: Impl = "auto") -> None:
        super().__init__()
        check_tau(tau)
        if not 0 <= balance <= 1:
            raise ValueError(f"balance must be within 0..1, got {balance}")
        self.tau, self.balance = tau, balance
        self.impl: Impl = impl

    def forward(self, a: Tensor, b: Tensor, positives: Tensor) -> Tensor:
        """The mean loss, a scalar.

        Args:
            a: (N, D) nodes in the first view (HeCo: the meta-path view).
            b: (N, D) the same nodes in the second view.
            positives: (2, P) int64 pairs (i, j) with j among the positives of i; each node has
                at least one. A pair that is repeated counts as often.

        Raises:
            ValueError: shapes that do not fit, or a node without a positive.
        """
        if a.shape != b.shape or a.dim() != 2 or not len(a):
            raise ValueError(
                f"both views must be (N, D), got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        if positives.dim() != 2 or positives.shape[0] != 2 or positives.is_floating_point():
            raise ValueError(f"positives must be integers (2, P), got {tuple(positives.shape)}")
        positives = positives.long()
        node = positives[0]
        if positives.numel() and not 0 <= int(positives.min()) <= int(positives.max()) < len(a):
            raise ValueError(
                f"positives name nodes {int(positives.min())} to {int(positives.max())}, but there "
                f"are {len(a)}"
            )
        if bool((torch.bincount(node, minlength=len(a)) == 0).any()):
            raise ValueError(f"each of the {len(a)} nodes needs a positive (itself, say)")
        with torch.autocast(a.device.type, enabled=False):
            a, b = widened(a, b)
            a, b = unit_rows(a), unit_rows(b)
            all_b, all_a = two_sided_logsumexp(a, b, tau=self.tau, impl=self.impl)
            losses = []
            for anchor, candidate, total in ((a, b, all_b), (b, a, all_a)):
                logits = pair_products(anchor, positives, candidate) / self.tau
                wanted = segment_logsumexp(logits, node, num_segments=len(a))
                losses.append((total - wanted).mean())
            return self.balance * losses[0] + (1 - self.balance) * losses[1]
