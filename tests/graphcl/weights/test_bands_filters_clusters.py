"""Ambiguous band, similarity filter, same-cluster exclusion, weights by other vectors."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import Exclude, negative_logsumexp
from graphcl.losses import InfoNCE
from graphcl.weights import (
    AmbiguousBand,
    Debiased,
    HardTilt,
    OtherSimilarityWeight,
    SameCluster,
    SimilarityFilter,
    ViewSums,
)

TAU = 0.5
Views = tuple[Tensor, Tensor]
LABEL = torch.tensor([0, 0, 1, 1, 1, 2, -1, 4, -1, 6, 6])


def banded(a: float, b: float) -> Callable[..., Tensor]:
    """SimANS' sampling probabilities times the number of negatives."""

    def negatives(s: Tensor, keep: Tensor, positive: Tensor) -> Tensor:
        weight = (-a * (s - positive[:, None] - b).square()).exp() * keep
        weight = (weight / weight.sum(1, keepdim=True) * keep.sum(1, keepdim=True)).detach()
        return (weight * (s / TAU).exp()).sum(1)

    return negatives


@pytest.mark.parametrize(("a", "b"), [(4.0, 0.0), (1.0, -0.3)])
@pytest.mark.parametrize("intra", [True, False])
def test_band_equals_sampling_probabilities(
    views: Views, dense_loss: Any, agree: Any, a: float, b: float, intra: bool
) -> None:
    ours = InfoNCE(TAU, intra_view=intra, weight=AmbiguousBand(a, b))(*views)
    agree(ours, dense_loss(*views, TAU, banded(a, b), intra_view=intra), views)


def test_a_flat_band_is_infonce(views: Views) -> None:
    torch.testing.assert_close(
        InfoNCE(TAU, weight=AmbiguousBand(0.0))(*views), InfoNCE(TAU)(*views)
    )


@pytest.mark.parametrize("threshold", [-math.inf, -2.0, -0.5, 0.0, 0.5, 1.5, math.inf])
def test_filter_leaves_out_what_is_too_similar(
    views: Views, dense_loss: Any, agree: Any, threshold: float
) -> None:
    def negatives(s: Tensor, keep: Tensor, positive: Tensor) -> Tensor:
        return ((s / TAU).exp() * (keep & (s <= threshold))).sum(1)

    ours = InfoNCE(TAU, weight=SimilarityFilter(threshold))(*views)
    agree(ours, dense_loss(*views, TAU, negatives), views)


def test_filter_below_another_weighting(views: Views, dense_loss: Any, agree: Any) -> None:
    def negatives(s: Tensor, keep: Tensor, positive: Tensor) -> Tensor:
        total = ((s / TAU).exp() * (keep & (s <= 0.6))).sum(1)
        return (total - 0.02 * keep.sum(1) * (positive / TAU).exp()) / 0.98

    ours = InfoNCE(TAU, weight=Debiased(0.02, SimilarityFilter(0.6)))(*views)
    agree(ours, dense_loss(*views, TAU, negatives), views)


def test_clusters_are_the_excluded_groups(views: Views, dense_loss: Any, agree: Any) -> None:
    def negatives(s: Tensor, keep: Tensor, positive: Tensor) -> Tensor:
        return ((s / TAU).exp() * keep).sum(1)

    hidden = (LABEL[:, None] == LABEL) & (LABEL >= 0)
    agree(
        InfoNCE(TAU, weight=SameCluster(LABEL))(*views),
        dense_loss(*views, TAU, negatives, hidden=hidden),
        views,
    )
    ours = InfoNCE(TAU, weight=SameCluster(LABEL))(*views, exclude=Exclude.diagonal(1))
    wanted = Exclude.same_group(LABEL, LABEL) | Exclude.diagonal(1)
    torch.testing.assert_close(ours, InfoNCE(TAU)(*views, exclude=wanted))


def test_weight_by_other_vectors_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    queries, keys, a, b = (
        torch.randn(n, d, generator=generator, dtype=torch.float64)
        for n, d in ((7, 3), (9, 3), (7, 5), (9, 5))
    )
    queries.requires_grad_()
    weight = OtherSimilarityWeight(torch.sin, a, b, extent=(-1.0, 1.0))
    for impl in ("chunked", "reference"):
        got = negative_logsumexp(queries, keys, tau=TAU, log_weight=weight, impl=impl)  # type: ignore
        want = (queries @ keys.T / TAU + (a @ b.T).sin()).logsumexp(1)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            *(torch.autograd.grad(one.sum(), queries)[0] for one in (got, want))
        )


@pytest.mark.parametrize(
    "weight",
    [
        HardTilt(1.0),
        HardTilt(1.0, detach=True),
        Debiased(0.1),
        AmbiguousBand(2.0),
        SimilarityFilter(0.5),
        SameCluster(torch.arange(2500) % 9),
    ],
    ids=lambda weight: type(weight).__name__,
)
def test_nothing_of_size_n_by_n(weight: Any, largest: Any) -> None:
    z = torch.randn(2, 2500, 3).requires_grad_()
    with largest:
        InfoNCE(TAU, weight=weight)(z[0], z[1]).backward()
    assert largest.entries <= 1024 * 1024  # one tile
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    "weight", [HardTilt(1.0), Debiased(0.1), AmbiguousBand(2.0), SameCluster(LABEL)]
)
def test_float32_and_swapped_views(views: Views, weight: Any) -> None:
    loss = InfoNCE(TAU, weight=weight)
    z1, z2 = (z.detach() for z in views)
    torch.testing.assert_close(loss(z1, z2), loss(z2, z1))
    torch.testing.assert_close(loss(z1.float(), z2.float()), loss(z1, z2).float())
    one = InfoNCE(TAU, weight=weight, symmetric=False)
    torch.testing.assert_close((one(z1, z2) + one(z2, z1)) / 2, loss(z1, z2))


def test_bad_settings_are_named() -> None:
    z = F.normalize(torch.randn(4, 2))
    for call, words in (
        (lambda: AmbiguousBand(-1.0), "sharpness"),
        (lambda: AmbiguousBand(1.0, float("inf")), "offset"),
        (lambda: SimilarityFilter(float("nan")), "threshold"),
        (lambda: SameCluster(torch.rand(4)), "integer label"),
        (lambda: InfoNCE(weight=SameCluster(torch.arange(3)))(z, z), "3 and 3 labels"),
        (lambda: OtherSimilarityWeight(torch.sin, z, z[:, 1:]), r"\(4, 1\)"),
        (
            lambda: ViewSums(z, z, 0.5).inter(OtherSimilarityWeight(torch.sin, z, z[1:])),
            "4 and 3 vectors",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_threshold_of_one_leaves_out_no_equal_row() -> None:
    """Cosines of equal rows round to just above one."""
    z = torch.randn(60, 16, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    unit = F.normalize(z)
    assert bool(((unit @ unit.T) > 1).any())
    found = InfoNCE(0.1, weight=SimilarityFilter(1.0))(z, z)
    torch.testing.assert_close(found, InfoNCE(0.1)(z, z))
