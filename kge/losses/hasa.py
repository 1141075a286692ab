"""HaSa's contrastive loss as a PyKEEN loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pykeen.losses import SetwiseLoss, UnsupportedLabelSmoothingError
from torch import Tensor

from kge.losses.negative_mass import (
    Columns,
    Floor,
    contrast,
    log_negative_mass,
    official_log_negative_mass,
)

Reverse = Literal["joint", "plain", "corrected"]
_CHOICES = {
    "floor": ("relative", "cosine", "zero"),
    "reverse": ("joint", "plain", "corrected"),
    "compat": (None, "official"),
}


class HaSaLoss(SetwiseLoss):
    r"""Hard negatives, less the true answers hidden among them (``loss="hasa"``).

    HaSa (Zhang et al., 2024, arXiv:2305.10563). For a positive of score :math:`s^+`,
    :math:`a = (s^+ - γ)/τ`, the loss is :math:`-\log(e^a / (e^a + g))`, averaged over the batch,
    with the mass g of :func:`~kge.losses.negative_mass.log_negative_mass`.

    Relations: ``beta=0, tau_plus=0`` is PyKEEN's ``InfoNCELoss``; ``tau_plus=0`` or no structural
    column is hard InfoNCE; ``beta`` to infinity leaves the hardest negative, N times.

    A loss in PyKEEN sees scores, not triples. Which columns are structural candidates is therefore
    a convention, kept by :class:`~kge.sampling.hasa.HaSaNegativeSampler`: the last
    ``num_structural`` ones. With it, even columns replace the tail and odd ones the head.

    Args:
        beta: tilt towards hard negatives, in units of 1 / score.
        tau_plus: share of true answers among the proposed negatives. ``"estimated"`` lets the
            bound ``HaSaNegativeSampler`` measure it once, before training, and keeps the value in
            the state dict of the model. The released constants are 2e-5 (WN18RR) and 1e-4
            (FB15k-237).
        num_structural: how many of the last columns are structural candidates; by default as many
            as the bound ``HaSaNegativeSampler`` offers, and none with any other sampler.
        temperature: τ. 1 for unbounded scores; about 0.05 for cosine scores.
        margin: γ, subtracted from positive scores.
        floor: of the corrected mass: ``"relative"``, ``"cosine"`` or ``"zero"``.
        reverse: what becomes of the columns that replace the head. ``"joint"``: all columns are
            negatives of one sum. ``"corrected"``: tail and head columns make two losses of the
            same form, which are added. ``"plain"``: likewise, but the head columns enter by
            InfoNCE without weights and correction (HaSa+). The last two need an even number of
            columns in the order of ``HaSaNegativeSampler(sides="both")``.
        compat: ``"official"`` computes what the released code does, for comparison: see
            :func:`~kge.losses.negative_mass.official_log_negative_mass`. It takes the margin (1
            there) and ``tau_plus``; ``beta`` and ``temperature`` must be 1, ``floor`` ``"zero"``.
        width: of the embeddings, for ``compat="official"`` only.
        reduction: ``"mean"`` or ``"sum"`` over the batch.

    Raises:
        ValueError: a number out of range or an unknown choice.

    Example:
        >>> import torch
        >>> loss = HaSaLoss(beta=0.0, tau_plus=0.0)
        >>> round(float(loss.process_slcwa_scores(torch.zeros(1, 1), torch.zeros(1, 3))), 4)
        1.3863
    """

    hpo_default: ClassVar[Mapping[str, Any]] = {
        "beta": {"type": float, "low": 0.0, "high": 2.0},
        "tau_plus": {"type": float, "low": 1e-5, "high": 0.1, "log": True},
        "temperature": {"type": float, "low": 0.05, "high": 2.0, "log": True},
    }

    tau_plus_estimate: Tensor

    def __init__(
        self,
        *,
        beta: float = 1.0,
        tau_plus: float | Literal["estimated"] = "estimated",
        num_structural: int | None = None,
        temperature: float = 1.0,
        margin: float = 0.0,
        floor: Floor | None = None,
        reverse: Reverse = "joint",
        compat: Literal["official"] | None = None,
        width: int = 500,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        _check(beta >= 0 and math.isfinite(beta), "beta must be a finite number from 0", beta)
        _check(
            tau_plus == "estimated" or (not isinstance(tau_plus, str) and 0 <= tau_plus < 1),
            "tau_plus must lie in [0, 1) or be 'estimated'",
            tau_plus,
        )
        _check(
            num_structural is None or num_structural >= 0,
            "num_structural must be a count",
            num_structural,
        )
        _check(temperature > 0, "temperature must be positive", temperature)
        _check(margin >= 0, "margin must not be negative", margin)
        _check(width > 0, "width must be positive", width)
        if floor is None:
            floor = "zero" if compat == "official" else "relative"
        for name, value in (("floor", floor), ("reverse", reverse), ("compat", compat)):
            _check(value in _CHOICES[name], f"{name} must be one of {_CHOICES[name]}", value)
        if compat == "official" and (beta, temperature, floor) != (1, 1, "zero"):
            raise ValueError(
                "compat='official' needs beta=1, temperature=1 and floor='zero', got "
                f"{beta}, {temperature}, {floor!r}"
            )
        self.beta = beta
        self.tau_plus = tau_plus
        self.wanted_structural = self.num_structural = num_structural
        self.temperature = temperature
        self.margin = margin
        self.floor: Floor = floor
        self.reverse = reverse
        self.compat = compat
        self.width = width
        # A buffer, so that a run that resumes from a checkpoint trains with the same value.
        self.register_buffer("tau_plus_estimate", torch.tensor(torch.nan))

    @property
    def needs_estimate(self) -> bool:
        """Whether ``tau_plus`` is still to be measured."""
        return self.tau_plus == "estimated" and bool(self.tau_plus_estimate.isnan())

    def process_slcwa_scores(
        self,
        positive_scores: Tensor,
        negative_scores: Tensor,
        label_smoothing: float | None = None,
        batch_filter: Tensor | None = None,
        num_entities: int | None = None,
        pos_weights: Tensor | None = None,
        neg_weights: Tensor | None = None,
    ) -> Tensor:
        """Loss of (B, 1) positives against (B, n) negatives, or those that ``batch_filter`` kept.

        Raises:
            ValueError: columns that do not fit ``num_structural`` or ``reverse``, or ``tau_plus``
                is still to be estimated.
            UnsupportedLabelSmoothingError: label smoothing was asked for.
            NoSampleWeightSupportError: weights were given.
        """
        self._refuse(label_smoothing, pos_weights, neg_weights)
        columns = _dense(negative_scores, batch_filter)
        positive = positive_scores.reshape(-1)
        number = columns.scores.shape[1]
        structural = self.num_structural or 0
        if structural >= number:
            raise ValueError(
                f"num_structural={structural} leaves no negative of {number} columns: raise "
                "num_negs_per_pos of the sampler"
            )
        if self.reverse == "joint":
            return self._reduction_method(self._loss(positive, columns, number - structural))
        if number % 2:
            raise ValueError(
                f"reverse={self.reverse!r} tells tail columns (even) from head columns (odd) and "
                f"needs an even number of columns, got {number}: see num_negs_per_pos"
            )
        split = number - structural
        tail = self._loss(positive, _every_second(columns, 0), (split + 1) // 2)
        head = self._loss(positive, _every_second(columns, 1), split // 2, self.reverse == "plain")
        return self._reduction_method(tail + head)

    def process_lcwa_scores(
        self,
        predictions: Tensor,
        labels: Tensor,
        label_smoothing: float | None = None,
        num_entities: int | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Loss of (B, E) scores of all entities, (B, E) labels saying which are true.

        The negatives of a row are all entities that are not labelled; there are no structural
        candidates, so nothing is corrected. Each row counts the mean over its positives.
        """
        self._refuse(label_smoothing, weights)
        if self.compat == "official":
            raise ValueError("compat='official' is defined for sampled negatives only (sLCWA)")
        true = labels > 0.5
        mass = log_negative_mass(
            Columns(predictions, ~true), None, beta=self.beta, tau=self.temperature
        )
        losses = contrast(mass[:, None].expand_as(predictions), self._logit(predictions))
        count = true.sum(1).clamp(min=1)
        return self._reduction_method(torch.where(true, losses, 0.0).sum(1) / count)

    def _loss(self, positive: Tensor, columns: Columns, split: int, plain: bool = False) -> Tensor:
        """Loss of each row, its first ``split`` columns negative and the others structural."""
        negative = Columns(columns.scores[:, :split], columns.mask[:, :split])
        structural = Columns(columns.scores[:, split:], columns.mask[:, split:])
        if plain:
            mass = log_negative_mass(negative, None, tau=self.temperature)
        elif self.compat == "official":
            mass = official_log_negative_mass(
                positive.detach(),
                negative,
                structural,
                tau_plus=self._share(structural),
                width=self.width,
            )
        else:
            mass = log_negative_mass(
                negative,
                structural,
                beta=self.beta,
                tau_plus=self._share(structural),
                tau=self.temperature,
                floor=self.floor,
            )
        return contrast(mass, self._logit(positive))

    def _logit(self, positive: Tensor) -> Tensor:
        return (positive - self.margin) / self.temperature

    def _share(self, structural: Columns) -> float:
        """tau_plus as a number; nothing needs it where there is no structural column."""
        if structural.scores.shape[1] == 0:
            return 0.0
        if self.tau_plus != "estimated":
            return float(self.tau_plus)
        if self.needs_estimate:
            raise ValueError(
                "tau_plus='estimated' is measured by a HaSaNegativeSampler that is bound to the "
                "model (training_kwargs=dict(callbacks='bindmodel')); give tau_plus a number, "
                "such as 1e-4, to train without it"
            )
        return float(self.tau_plus_estimate)

    def _refuse(self, label_smoothing: float | None, *weights: Tensor | None) -> None:
        if label_smoothing:
            raise UnsupportedLabelSmoothingError(self)
        for weight in weights:
            self._raise_on_weights(weight)


def _dense(scores: Tensor, batch_filter: Tensor | None) -> Columns:
    """PyKEEN hands on (n,) scores of the kept places if there is a filter, else (B, n)."""
    if batch_filter is None:
        return Columns(scores, torch.ones_like(scores, dtype=torch.bool))
    dense = scores.new_zeros(batch_filter.shape).masked_scatter(batch_filter, scores)
    return Columns(dense, batch_filter)


def _every_second(columns: Columns, start: int) -> Columns:
    return Columns(columns.scores[:, start::2], columns.mask[:, start::2])


def _check(sound: bool, rule: str, value: object) -> None:
    if not sound:
        raise ValueError(f"{rule}, got {value!r}")
