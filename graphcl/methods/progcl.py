"""ProGCL: GCA whose negatives count by the probability of being true ones."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch_geometric.data import Data

from graphcl.losses.pool import CandidatePool
from graphcl.losses.progcl import Mode, ProGCLLoss
from graphcl.methods.gca import GCA
from graphcl.weights.progcl_weight import Intra


class ProGCL(GCA):
    """ProGCL (Xia et al., 2022, arXiv 2110.02027).

    GCA's views and encoder with :class:`~graphcl.losses.ProGCLLoss`: from ``epoch_start`` on, hard
    negatives are weighed by the probability that they are true (``weight``), or mixed into new
    ones (``mix``). The release fits its mixture once and keeps the weights of that epoch, in one
    direction, for good; here the mixture is fitted again every ``refresh`` epochs and weights
    follow the embeddings in both directions. ``mode="official"`` reproduces the release.

    Args:
        in_channels: F.
        hidden: width of the embeddings.
        scheme: centrality of the views, as in :class:`GCA`.
        tau: temperature.
        mode: ``weight``, ``mix`` or ``official``.
        epoch_start: first epoch that uses the mixture.
        refresh: epochs from one fit to the next.
        weight_init: initial share of false negatives in the fit.
        sel_num: mixed negatives per node (``mix``).
        intra: ``inter`` or ``own``, see :class:`~graphcl.weights.ProGCLWeight`.
        **options: as in :class:`GCA` and :class:`GRACE`.

    Raises:
        ValueError: settings out of range.
    """

    paper: ClassVar[str] = "ProGCL, Xia et al., 2022, arXiv 2110.02027"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 128,
        *,
        scheme: str = "eigenvector",
        tau: float = 0.4,
        mode: Mode = "weight",
        epoch_start: int = 400,
        refresh: int = 20,
        weight_init: float = 0.05,
        sel_num: int = 1000,
        intra: Intra = "inter",
        **options: Any,
    ) -> None:
        loss = ProGCLLoss(
            tau,
            mode=mode,
            epoch_start=epoch_start,
            refresh=refresh,
            weight_init=weight_init,
            sel_num=sel_num,
            intra=intra,
        )
        super().__init__(in_channels, hidden, scheme=scheme, tau=tau, loss=loss, **options)

    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        """See :meth:`GCA.seed_loss`; the mixture is fitted to the first batch of an epoch.

        Raises:
            ValueError: ``mode="official"``, whose weights would be those of other nodes.
        """
        assert isinstance(self.loss, ProGCLLoss)
        if self.loss.mode == "official":
            raise ValueError(
                "mode='official' keeps the weights of one batch for the nodes of all others: train "
                "on the full graph, or with mode='weight'"
            )
        return super().seed_loss(batch, pool)

    def after_step(self, step: int, total: int) -> None:
        """Count the epochs of the schedule."""
        assert isinstance(self.loss, ProGCLLoss)
        self.loss.epoch.fill_((step + 1) // self.steps_per_epoch)
