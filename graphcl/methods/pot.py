"""Provable training of a contrastive host."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from graphcl.encoders.evaluating import evaluating
from graphcl.losses.pot import DrawnView, POTRegularizer
from graphcl.methods.grace import GRACE
from graphcl.methods.method import GraphMethod
from graphcl.pot.layers import gcn_layers
from graphcl.pot.scores import contrast_weights
from graphcl.views.budgeted import drop_edges_within
from graphcl.views.features import mask_features


class Compactness(NamedTuple):
    """How well each node stands out, the mean of both directions: (N,) each.

    ``sampled`` is the smallest value over drawn views, ``certified`` a lower bound over all of the
    budget, so that the true smallest value lies between the two.
    """

    sampled: Tensor
    certified: Tensor


class POT(GraphMethod):
    """A method of the GRACE family with POT (Yu et al., 2023, arXiv 2309.13944).

    The host draws its views and makes its loss as always; what its encoder was given and gave back
    for the two views is noted on the way and goes to the regulariser. Set ``edge_budget`` on the
    host, so that its views keep to the budget the bounds are for.

    Args:
        host: a :class:`GRACE` or a method derived from it, with a GCN encoder.
        regularizer: default ``POTRegularizer()``.

    Raises:
        ValueError: another host, or an encoder without known bounds.

    Example:
        >>> method = POT(GRACE(8, hidden=4, edge_budget="mean"))
        >>> ring = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
        >>> method(torch.rand(3, 8), ring).shape
        torch.Size([])
    """

    paper: ClassVar[str] = "POT, Yu et al., 2023, arXiv 2309.13944"

    def __init__(self, host: GraphMethod, regularizer: POTRegularizer | None = None) -> None:
        super().__init__()
        if not isinstance(host, GRACE):
            raise ValueError(
                f"POT needs a host of the GRACE family, which contrasts two views of one encoder; "
                f"got {type(host).__name__}"
            )
        gcn_layers(host.encoder)
        self.host = host
        self.regularizer = POTRegularizer() if regularizer is None else regularizer
        if host.edge_budget is None and self.regularizer.score != "official":
            warnings.warn(
                f"the views of this {type(host).__name__} keep to no budget, so that POT's bounds "
                "say nothing about them: set edge_budget='mean' and mask_feature=(0.0, 0.0)",
                stacklevel=2,
            )

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.encode`."""
        return self.host.encode(x, edge_index)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        views: list[DrawnView] = []

        def note(_: Any, given: tuple[Any, ...], z: Tensor) -> None:
            views.append(DrawnView(given[0], given[1], z))

        hook = self.host.encoder.register_forward_hook(note)
        try:
            loss = self.host(x, edge_index)
        finally:
            hook.remove()
        if len(views) != 2:
            raise ValueError(
                f"POT needs a host that encodes two views a step; {type(self.host).__name__} "
                f"encoded {len(views)}"
            )
        total: Tensor = self.regularizer(
            loss,
            self.host.encoder,
            x,
            edge_index,
            views,
            self.host.budgets(x, edge_index),
            columns=self.host.column_budget or 0,
        )
        return total

    def after_step(self, step: int, total: int) -> None:
        """Let host and regulariser count."""
        self.host.after_step(step, total)
        self.regularizer.after_step(step, total)

    def compactness(self, x: Tensor, edge_index: Tensor, *, samples: int = 16) -> Compactness:
        """Sampled and certified compactness of every node, against one drawn pair of views.

        One view is held fixed while the other ranges over the budget of the host: over ``samples``
        drawn views, or over all of them by bounds. Draws from torch's global random generator.
        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        host, columns = self.host, self.host.column_budget or 0
        with evaluating(self):
            budgets = host.budgets(x, edge_index)
            fixed = [host.encode(*host.view(x, edge_index, which)) for which in (0, 1)]
            views = [DrawnView(x, edge_index, z) for z in fixed]
            bound = POTRegularizer("certified", block=self.regularizer.block)
            certified = bound.scores(host.encoder, x, edge_index, views, budgets, columns=columns)
            least = []
            for which in (0, 1):
                weights = contrast_weights(fixed[1 - which])
                rate = host.edge_rate(x, edge_index, which)
                values = []
                for _ in range(samples):
                    edges = drop_edges_within(edge_index, rate, budgets[which])
                    features = x
                    if columns:
                        mask = host.mask_rate(x, edge_index, which)
                        features = mask_features(x, mask, at_most=columns)
                    values.append((host.encode(features, edges) * weights).sum(1))
                least.append(torch.stack(values).amin(0))
            return Compactness((least[0] + least[1]) / 2, (certified[0] + certified[1]) / 2)
