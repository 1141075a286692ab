"""PamC: contrast of clusters in place of all pairs of nodes."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from graphcl.kernels.exclusions import Exclude
from graphcl.kernels.implementation import Impl
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.kernels.segments import segment_logsumexp
from graphcl.kernels.unit_rows import unit_rows
from graphcl.kernels.weights import KeyWeight
from graphcl.losses.meta_nodes import MetaNodes, check_memberships, meta_nodes, predicted_gap
from graphcl.losses.pair_products import pair_products
from graphcl.losses.precision import widened
from graphcl.losses.temperature import check_tau

_FLOOR = 1e-10
"""What the release adds inside its logarithms."""
_RELEASED = {"weight": "none", "assign": "hard", "intra": False, "similarity": "cos"}


class Approximation(NamedTuple):
    """The negative term over all pairs of nodes, and what stands for it.

    Args:
        exact: over all pairs, O(N^2 D) time and O(N D) memory.
        proxy: over meta-nodes, with log(N / K') added where clusters are not weighted by size, so
            that both count N candidates.
        predicted: ``exact - proxy`` to second order for the default settings, see
            :func:`~graphcl.losses.meta_nodes.predicted_gap`.
    """

    exact: float
    proxy: float
    predicted: float

    @property
    def error(self) -> float:
        """What the proxy falls short by."""
        return self.exact - self.proxy


class PamC(nn.Module):
    r"""Proxy approximated meta-node contrast (Kulatilleke et al., 2022, arXiv 2209.14067).

    Time O(P D + N K D + K^2 D) for P positive pairs, memory O(P + N (D + K)).

    Rows are scaled to unit length, :math:`s_{ij} = z_i \cdot z_j / \tau`; node i has weighted
    positives :math:`\gamma_{ij}`, and the negative term :math:`\frac1N \sum_i \log \sum_j
    e^{s_{ij}}` is taken over the clusters instead of the nodes,

    .. math::
        -\frac1N \sum_i \log \sum_{j \ne i} \gamma_{ij} e^{s_{ij}} +
        \begin{cases} \sum_a \frac{n_a}{N} \log \sum_b n_b e^{S_{ab}} & \text{size} \\
        \frac1K \sum_a \log \sum_b e^{S_{ab}} & \text{none} \end{cases}

    with sizes :math:`n` and the product :math:`S_{ab}` of the mean rows of clusters a and b. The
    first form, the default, is what the approximation means: it equals the exact term when the rows
    of a cluster are all alike and otherwise lies below it by about :math:`(1 - \|\mu\|^2) / \tau^2`
    (:meth:`approximation`). The release drops the sizes, takes cosines, and leaves out the block of
    a cluster with itself (``weight="none", similarity="cos", intra=False``), and then the term
    approximates the exact one for balanced clusters alone.

    The paper multiplies by a temperature and the package divides: ``tau`` here is the inverse of
    the paper's (its 0.25, 0.5 and 1.5 are ``tau`` = 4, 2 and 2/3).

    Args:
        tau: temperature, logits are similarities divided by it.
        weight: ``size``, the default, or ``none``.
        assign: ``hard``, the default: a node belongs to its most likely cluster, which gets no
            gradient; or ``soft``: meta-nodes and sizes by membership, with gradients.
        intra: count a cluster among its own negatives, the default. They are mostly false
            negatives, but they are part of the exact term.
        similarity: of meta-nodes, ``mean``, the default, or ``cos``.
        mode: ``paper``, or ``official`` for the released loss to the letter: meta-nodes of unscaled
            rows, similarities of a node and of a cluster with itself set to 0 instead of left out,
            and 1e-10 inside the logarithms. Empty clusters, NaN in the release, are left out.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.

    Example:
        >>> z, label = torch.eye(2).repeat(3, 1), torch.tensor([0, 1] * 3)
        >>> pairs = torch.tensor([[0, 2, 1, 3], [2, 0, 3, 1]])
        >>> loss = PamC(tau=1.0, intra=False)
        >>> round(float(loss(z, pairs, torch.ones(4), label)), 4)  # -(4 / 6) + log(3 e^0)
        0.4319
    """

    def __init__(
        self,
        tau: float = 2.0,
        *,
        weight: Literal["size", "none"] | None = None,
        assign: Literal["hard", "soft"] | None = None,
        intra: bool | None = None,
        similarity: Literal["mean", "cos"] | None = None,
        mode: Literal["paper", "official"] = "paper",
        impl: Impl = "auto",
    ) -> None:
        super().__init__()
        check_tau(tau)
        for name, value, known in (
            ("mode", mode, ("paper", "official")),
            ("weight", weight, ("size", "none", None)),
            ("assign", assign, ("hard", "soft", None)),
            ("intra", intra, (True, False, None)),
            ("similarity", similarity, ("mean", "cos", None)),
        ):
            if value not in known:
                choices = ", ".join(str(one) for one in known if one is not None)
                raise ValueError(f"unknown {name} {value!r}; choose from {choices}")
            if mode == "official" and value not in (_RELEASED.get(name), mode, None):
                raise ValueError(
                    f"mode='official' is the released loss, with {name}={_RELEASED[name]!r}; got "
                    f"{value!r}"
                )
        official = mode == "official"
        self.tau, self.mode, self.impl = tau, mode, impl
        self.weight = weight or ("none" if official else "size")
        self.assign = assign or "hard"
        self.intra = not official if intra is None else intra
        self.similarity: Literal["mean", "cos"] = similarity or ("cos" if official else "mean")

    def forward(self, z: Tensor, pairs: Tensor, strength: Tensor, assignment: Tensor) -> Tensor:
        """The loss, a scalar in float64 for float64 rows and in float32 otherwise.

        Args:
            z: (N, D) nodes.
            pairs: (2, P) int64, node and positive; each pair once, pairs of a node with itself are
                allowed and left out (``official``: have similarity 0). A node without positives
                adds nothing.
            strength: (P,) weights of the pairs, not negative.
            assignment: (N, K) memberships with rows that sum to one, or, with ``assign="hard"``,
                (N,) int64 clusters.

        Raises:
            ValueError: shapes, ids or weights that do not fit.
        """
        return self.positive(z, pairs, strength) + self.negative(z, assignment)

    def positive(self, z: Tensor, pairs: Tensor, strength: Tensor) -> Tensor:
        """The first term; arguments as in :meth:`forward`."""
        if strength.shape != pairs.shape[1:]:
            raise ValueError(
                f"strength must be ({pairs.shape[-1]},), one per pair, got {tuple(strength.shape)}"
            )
        wrong = ~((strength >= 0) & (strength < torch.inf))
        if bool(wrong.any()):
            raise ValueError(
                f"strength must be finite and not negative, got {float(strength[wrong][0])}"
            )
        with torch.autocast(z.device.type, enabled=False):
            unit = unit_rows(_wide(z))
            score = pair_products(unit, pairs) / self.tau
            own = pairs[0] == pairs[1]
            score = score.masked_fill(own, 0.0 if self.mode == "official" else -torch.inf)
            total = segment_logsumexp(
                score + strength.to(score.dtype).log(), pairs[0], num_segments=z.shape[0]
            )
            if self.mode == "official":
                return -_floored(total).mean()
            return -torch.where(total == -torch.inf, 0.0, total).mean()

    def negative(self, z: Tensor, assignment: Tensor) -> Tensor:
        """The second term; arguments as in :meth:`forward`.

        Without ``intra`` a single cluster gives 0.
        """
        with torch.autocast(z.device.type, enabled=False):
            nodes = self._meta_nodes(_wide(z), assignment)
            log_sum = self._log_sum(nodes)
            if self.weight == "none":
                return log_sum.mean()
            return (nodes.size / nodes.size.sum() * log_sum).sum()

    @torch.no_grad()
    def approximation(self, z: Tensor, assignment: Tensor) -> Approximation:
        """Compare the negative term over meta-nodes with the one over all pairs of nodes.

        The exact term leaves out what the settings leave out: pairs inside a cluster without
        ``intra``, the similarity of a node with itself in the ``official`` mode.
        """
        with torch.autocast(z.device.type, enabled=False):
            z = _wide(z)
            unit = unit_rows(z)
            label = _labels(assignment)
            exclude = Exclude.same_group(label, label)
            if self.mode == "official":
                exclude = Exclude.diagonal()
            total = negative_logsumexp(
                unit,
                unit,
                tau=self.tau,
                exclude=None if self.intra else exclude,
                impl=self.impl,
            )
            if self.mode == "official":
                total = torch.logaddexp(total, torch.zeros_like(total))
            exact = torch.where(total == -torch.inf, 0.0, total).mean()
            nodes = self._meta_nodes(z, assignment)
            proxy = self.negative(z, assignment)
            if self.weight == "none" and (self.intra or len(nodes.size) > 1):
                proxy = proxy + math.log(z.shape[0] / len(nodes.size))
            return Approximation(float(exact), float(proxy), predicted_gap(unit, label, self.tau))

    def _meta_nodes(self, z: Tensor, assignment: Tensor) -> MetaNodes:
        rows = z if self.mode == "official" else unit_rows(z)
        if self.assign == "soft":
            if assignment.dim() != 2:
                raise ValueError(
                    f"assign='soft' needs memberships (N, K), got {tuple(assignment.shape)}"
                )
            return meta_nodes(rows, assignment.to(rows.dtype))
        return meta_nodes(
            rows,
            _labels(assignment),
            assignment.shape[1] if assignment.dim() == 2 else None,
        )

    def _log_sum(self, nodes: MetaNodes) -> Tensor:
        """Log-sum over the other clusters for each cluster, (K',); 0 where there is no other."""
        rows = nodes.rows(self.similarity)
        total = negative_logsumexp(
            rows,
            rows,
            tau=self.tau,
            log_weight=KeyWeight(nodes.size.log()) if self.weight == "size" else None,
            exclude=None if self.intra else Exclude.diagonal(),
            impl=self.impl,
        )
        if self.mode == "official":
            return _floored(torch.logaddexp(total, torch.zeros_like(total)))
        return torch.where(total == -torch.inf, 0.0, total)

    def extra_repr(self) -> str:
        """Settings shown by ``print``."""
        return (
            f"tau={self.tau}, weight={self.weight}, assign={self.assign}, intra={self.intra}, "
            f"similarity={self.similarity}, mode={self.mode}"
        )


def _labels(assignment: Tensor) -> Tensor:
    """Most likely cluster (N,) of memberships; labels as they are."""
    if assignment.dim() == 2:
        check_memberships(assignment)
        return assignment.detach().to(torch.promote_types(assignment.dtype, torch.uint8)).argmax(1)
    if assignment.is_floating_point() or assignment.dtype == torch.bool:
        raise ValueError(f"clusters are given by integers, got {assignment.dtype}")
    return assignment.long()


def _wide(z: Tensor) -> Tensor:
    if z.dim() != 2 or not z.is_floating_point() or not len(z):
        raise ValueError(f"z must be floating-point rows (N, D), got {z.dtype} {tuple(z.shape)}")
    return widened(z)[0]


def _floored(log_value: Tensor) -> Tensor:
    """``log(exp(log_value) + 1e-10)``."""
    return torch.logaddexp(log_value, torch.full_like(log_value, math.log(_FLOOR)))
