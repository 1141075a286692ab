"""InfoNCE between two views of the same nodes, exact and in linear memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphcl.kernels.exclusions import Exclude, check_exclusions
from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.kernels.unit_rows import unit_rows
from graphcl.kernels.weights import TileWeight
from graphcl.losses.candidates import Candidates
from graphcl.losses.precision import widened
from graphcl.losses.temperature import check_tau
from graphcl.weights.view_sums import ViewSums, log_add
from graphcl.weights.weighting import Weighting


class InfoNCE(nn.Module):
    r"""InfoNCE over two views, as in GRACE (Zhu et al., 2020, arXiv 2006.04131).

    With unit rows :math:`a_i, b_i` of the two views, :math:`s_{ij} = a_i \cdot b_j / \tau` and
    :math:`r_{ij} = a_i \cdot a_j / \tau`,

    .. math::
        \ell_i = -s_{ii} + \log\Big(e^{s_{ii}} + \sum_{j \ne i} w_{ij} e^{s_{ij}}
                 + \sum_{j \ne i} w_{ij} e^{r_{ij}}\Big),

    averaged over nodes and over both directions. Time O(N^2 D), memory O(N D): no (N, N) matrix is
    formed in either pass.

    Args:
        tau: temperature.
        intra_view: count the nodes of the anchor's own view as negatives (GRACE); without it the
            loss is the inter-view NT-Xent.
        symmetric: average over both directions; otherwise view 1 is the anchor.
        decoupled: leave the positive out of the denominator (Yeh et al., 2022, arXiv 2110.06848);
            the mean is over nodes that have a negative.
        weight: weights :math:`w_{ij}` of the negatives (anchor i, candidate j), used in both views,
            or a :class:`~graphcl.weights.Weighting`; a positive pair always weighs 1.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.
        normalize: divide rows by their L2 norm (rows of zero norm stay zero).

    Shape:
        ``z1`` (N, D) and ``z2`` (N, D) -> scalar in float64 for float64 inputs, float32 otherwise.

    Relations:
        ``weight=None, decoupled=False`` is GRACE's loss; ``intra_view=False`` is gCooL's node term;
        for ``tau`` to infinity it tends to ``log(2 N - 1)``.

    Example:
        >>> z = torch.eye(4)
        >>> round(float(InfoNCE(tau=1e6)(z, z)), 4)  # log(2 * 4 - 1)
        1.9459
    """

    def __init__(
        self,
        tau: float = 0.5,
        intra_view: bool = True,
        symmetric: bool = True,
        decoupled: bool = False,
        weight: TileWeight | Weighting | None = None,
        impl: Impl = "auto",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        check_tau(tau)
        self.tau, self.impl = tau, impl
        self.intra_view, self.symmetric, self.decoupled = intra_view, symmetric, decoupled
        self.weight, self.normalize = weight, normalize

    def forward(
        self,
        z1: Tensor,
        z2: Tensor,
        *,
        exclude: Exclude | None = None,
        ids: Tensor | None = None,
        beyond: Candidates | None = None,
        keys: Candidates | None = None,
    ) -> Tensor:
        """The mean loss.

        Args:
            z1: (N, D) nodes in view 1.
            z2: (N, D) the same nodes in view 2.
            exclude: further pairs of nodes that are no negatives in either view (false negatives,
                repeated nodes of a batch); the positive pair always stays.
            ids: (N,) int64 global ids: rows of one node are no negatives of each other. Needed with
                ``beyond``; without ids, every row is a node of its own.
            beyond: negatives that are no anchors (a queue, other processes' batches), under the
                same rules as the nodes of the batch: those of the other view, and with
                ``intra_view`` those of the anchor's own view.
            keys: the same nodes as another encoder sees them (MoCo's momentum copy): they take the
                place of ``z1`` and ``z2`` as positives and as negatives.

        Raises:
            ValueError: shapes differ, fewer than two nodes, arguments that do not go together, or
                what the kernel refuses.
        """
        if z1.shape != z2.shape or z1.dim() != 2:
            raise ValueError(
                f"views must both be (N, D), got {tuple(z1.shape)} and {tuple(z2.shape)}"
            )
        if z1.shape[0] < 2:
            raise ValueError(f"InfoNCE needs at least two nodes, got {z1.shape[0]}")
        if isinstance(self.weight, Weighting) and (beyond is not None or keys is not None):
            raise ValueError(
                f"{type(self.weight).__name__} weighs whole sums of two views and takes no "
                "candidates beyond them: train without a queue, in one process"
            )
        if keys is not None and keys.z1.shape != z1.shape:
            raise ValueError(
                f"keys must be the nodes of the views, {tuple(z1.shape)}, got "
                f"{tuple(keys.z1.shape)}: other nodes go to beyond="
            )
        check_exclusions(exclude)
        if keys is not None and exclude is not None:
            raise ValueError("exclude names rows of z1 and z2, which are no candidates with keys=")
        if ids is not None:
            if ids.shape != z1.shape[:1] or ids.is_floating_point():
                raise ValueError(
                    f"ids must be {z1.shape[0]} integers, got {tuple(ids.shape)} of {ids.dtype}"
                )
            if len(ids.unique()) < len(ids):  # distinct nodes need no exclusion
                same = Exclude.same_group(ids, ids)
                exclude = same if exclude is None else same | exclude
        elif beyond is not None or keys is not None:
            raise ValueError("candidates beyond the batch need the ids of its nodes: pass ids=")
        # Similarities are summed in float32 or float64 whatever autocast says.
        with torch.autocast(z1.device.type, enabled=False):
            z1, z2 = widened(z1, z2)
            if self.normalize:
                z1, z2 = unit_rows(z1), unit_rows(z2)
            if keys is not None and ids is not None:
                return self._from_keys(z1, z2, ids, keys, beyond)
            sums = ViewSums(z1, z2, self.tau, self.intra_view, self.symmetric, exclude, self.impl)
            positive = sums.positive / self.tau
            forward, backward = self._denominators(sums, positive)
            if beyond is not None and ids is not None:
                first = self._beyond(z1, ids, beyond, 1)
                second = self._beyond(z2, ids, beyond, 2) if self.symmetric else first
                forward, backward = log_add((forward, backward), (first, second))
            if self.decoupled:
                loss = self._mean(forward - positive)
                return (loss + self._mean(backward - positive)) / 2 if self.symmetric else loss
            loss = forward - positive
            if self.symmetric:
                loss = (loss + backward - positive) / 2
            return loss.mean()

    @staticmethod
    def _mean(each: Tensor) -> Tensor:
        """Mean over nodes with a negative; one without has nothing to be pushed from."""
        some = each != -torch.inf
        return torch.where(some, each, 0.0).sum() / some.sum().clamp_min(1)

    def choose_weight(self, sums: ViewSums) -> TileWeight | Weighting | None:
        """The weights of this step, :attr:`weight`; a loss with a schedule chooses here."""
        return self.weight

    def _denominators(self, sums: ViewSums, positive: Tensor) -> tuple[Tensor, Tensor]:
        """Logs of the whole denominators for anchors of view 1 and of view 2."""
        weight = self.choose_weight(sums)
        if weight is None and sums.exclude is None and not self.decoupled:
            # The positive lies on the diagonal: it is summed in place, like any other pair.
            inter = sums.inter(with_positive=True)
            return log_add(inter, sums.intra()) if self.intra_view else inter
        if isinstance(weight, Weighting):
            negatives = weight.log_negatives(sums)
        else:
            negatives = sums.negatives(weight)
        return negatives if self.decoupled else log_add(negatives, (positive, positive))

    def _from_keys(
        self, z1: Tensor, z2: Tensor, ids: Tensor, keys: Candidates, beyond: Candidates | None
    ) -> Tensor:
        """The mean loss with positives and negatives of another encoder."""
        every = keys if beyond is None else Candidates.cat([keys, beyond])
        losses = []
        for view, anchors, own in ((1, z1, keys.z2), (2, z2, keys.z1)):
            own = own.to(anchors.dtype)
            positive = (anchors * (unit_rows(own) if self.normalize else own)).sum(1) / self.tau
            whole = self._beyond(anchors, ids, every, view)
            if not self.decoupled:
                whole = torch.logaddexp(whole, positive)
            losses.append(self._mean(whole - positive))
        return (losses[0] + losses[1]) / 2 if self.symmetric else losses[0]

    def _beyond(self, anchors: Tensor, ids: Tensor, beyond: Candidates, view: int) -> Tensor:
        """Log-sum over candidates outside of the batch for anchors of one view."""
        other, own = (beyond.z2, beyond.z1) if view == 1 else (beyond.z1, beyond.z2)
        keys, key_ids = other.to(anchors.dtype), beyond.ids
        if self.intra_view:
            keys, key_ids = torch.cat([keys, own.to(anchors.dtype)]), key_ids.repeat(2)
        return negative_logsumexp(
            anchors,
            unit_rows(keys) if self.normalize else keys,
            tau=self.tau,
            log_weight=None if isinstance(self.weight, Weighting) else self.weight,
            exclude=Exclude.same_group(ids, key_ids),
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        """Settings shown by ``print``."""
        return (
            f"tau={self.tau}, intra_view={self.intra_view}, symmetric={self.symmetric}, "
            f"decoupled={self.decoupled}"
        )
