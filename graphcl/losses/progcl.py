"""ProGCL's loss: InfoNCE whose negatives are weighed, or mixed, from some epoch on."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from graphcl.kernels.implementation import Impl
from graphcl.kernels.weights import TileWeight
from graphcl.losses.infonce import InfoNCE
from graphcl.weights.beta_mixture import BetaMixture
from graphcl.weights.progcl_mix import ProGCLMix
from graphcl.weights.progcl_weight import Intra, ProGCLWeight
from graphcl.weights.view_sums import ViewSums
from graphcl.weights.weighting import Weighting

Mode = Literal["weight", "mix", "official"]


class ProGCLLoss(InfoNCE):
    """Loss of ProGCL (Xia et al., 2022, arXiv 2110.02027) with its schedule.

    InfoNCE until ``epoch_start``; from then on a Beta mixture tells true from false negatives by
    their similarity and is fitted again every ``refresh`` epochs, to the similarities of all nodes
    of view 1 with ``columns`` random nodes of view 2 (``official``: once, the other way round).
    Epoch and mixture are buffers: a run that is continued from a checkpoint goes on as if it had
    not stopped. Whoever trains sets :attr:`epoch`.

    Args:
        tau: temperature.
        mode: ``weight`` (:class:`~graphcl.weights.ProGCLWeight`), ``mix``
            (:class:`~graphcl.weights.ProGCLMix`), or ``official``: the release's weights, which
            are computed once, at ``epoch_start``, and kept for both directions: those of the
            second, from view 2 to view 1, which overwrite the first's.
        epoch_start: first epoch that uses the mixture.
        refresh: epochs from one fit to the next.
        weight_init: initial share of false negatives.
        iterations: of the fit.
        columns: number of random nodes.
        sel_num: mixed negatives per anchor (``mix``).
        intra: see :class:`~graphcl.weights.ProGCLWeight`.
        impl: see :func:`~graphcl.kernels.negative_logsumexp`.

    Raises:
        ValueError: settings out of range.
    """

    epoch: Tensor
    fitted: Tensor
    anchors: Tensor
    candidates: Tensor

    def __init__(
        self,
        tau: float = 0.4,
        *,
        mode: Mode = "weight",
        epoch_start: int = 400,
        refresh: int = 20,
        weight_init: float = 0.05,
        iterations: int = 10,
        columns: int = 100,
        sel_num: int = 1000,
        intra: Intra = "inter",
        impl: Impl = "auto",
    ) -> None:
        mixture = BetaMixture(weight_init)
        weight = ProGCLMix(mixture, sel_num) if mode == "mix" else ProGCLWeight(mixture, intra)
        super().__init__(tau, weight=weight, impl=impl)
        if mode not in ("weight", "mix", "official"):
            raise ValueError(f"unknown mode {mode!r}; choose weight, mix or official")
        for name, value, least in (
            ("epoch_start", epoch_start, 0),
            ("refresh", refresh, 1),
            ("iterations", iterations, 1),
            ("columns", columns, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.mode, self.epoch_start, self.refresh = mode, epoch_start, refresh
        self.iterations, self.columns = iterations, columns
        self.mixture = mixture
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        self.register_buffer("fitted", torch.full((), -1, dtype=torch.long))
        for name in ("anchors", "candidates"):
            self.register_buffer(name, torch.empty(0, 0))

    def choose_weight(self, sums: ViewSums) -> TileWeight | Weighting | None:
        """No weights before ``epoch_start``, then those of a mixture that is fitted when due."""
        epoch, fitted = int(self.epoch), int(self.fitted)
        if epoch < self.epoch_start:
            return None
        again = self.training and self.mode != "official" and epoch - fitted >= self.refresh
        if fitted < 0 or again:
            views = sums.z1.detach(), sums.z2.detach()
            self._fit(*(reversed(views) if self.mode == "official" else views))
        if isinstance(self.weight, ProGCLWeight) and self.mode == "official":
            self.weight.frozen = (self.anchors, self.candidates)
        return self.weight

    @torch.no_grad()
    def _fit(self, a: Tensor, b: Tensor) -> None:
        """Fit the mixture to similarities of unit rows of the views, positives left out."""
        nodes = len(a)
        chosen = torch.randperm(nodes, device=a.device)[: self.columns]
        similarity = a @ b[chosen].T
        negative = torch.arange(nodes, device=a.device)[:, None] != chosen
        values = ((similarity[negative] + 1) / 2).clamp(0, 1)
        self.mixture.fit(values, self.iterations)
        self.fitted.copy_(self.epoch)
        if self.mode == "official":
            self.anchors, self.candidates = a, b

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The kept embeddings have the size of a graph, which a fresh module does not know.
        for name in ("anchors", "candidates"):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.empty_like(saved, device=self.epoch.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Settings shown by ``print``."""
        return f"{super().extra_repr()}, mode={self.mode}, epoch_start={self.epoch_start}"
