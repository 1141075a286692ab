"""AdaMEOW: MEOW's views with learned weights of the negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from graphcl.hetero.inputs import HeteroInputs
from graphcl.losses.adameow import AdaMEOWLoss, Mode
from graphcl.metapaths.composition import PathLike
from graphcl.methods.meow import MetaPathViews


class AdaMEOW(MetaPathViews):
    """AdaMEOW (Yu et al., arXiv 2212.13847) on a ``HeteroData``.

    Each fine row is drawn to its coarse row; how hard it is pushed from another's is learned, by a
    small network of the two fine and coarse rows. There are neither clusterings nor prototypes.

    Args:
        in_channels: width of the features of each node type, :meth:`input_channels` of a graph.
        metapaths: such as ``["PAP", "PSP"]``.
        hidden: width D of the embeddings.
        tau: temperature.
        pair_hidden: hidden units of the network of pairs.
        mode: ``paper`` normalises the weights of a row to mean 1, ``official`` does not and has no
            lower bound; see :class:`~graphcl.losses.AdaMEOWLoss`.
        options: of :class:`~graphcl.methods.meow.MetaPathViews`.
    """

    paper: ClassVar[str] = "AdaMEOW, Yu et al., 2024, arXiv 2212.13847"

    def __init__(
        self,
        in_channels: Mapping[str, int],
        metapaths: Sequence[PathLike] = ("PAP", "PSP"),
        hidden: int = 64,
        *,
        tau: float = 0.9,
        pair_hidden: int = 16,
        mode: Mode = "paper",
        **options: Any,
    ) -> None:
        super().__init__(in_channels, metapaths, hidden, **options)
        self.loss = AdaMEOWLoss(self.head.out_features, pair_hidden, tau=tau, mode=mode)

    def forward(self, graph: HeteroInputs) -> Tensor:
        """See :meth:`HeteroMethod.forward`."""
        fine, coarse = (self.project(view) for view in self.views(graph))
        loss: Tensor = self.loss(fine, coarse)
        return loss
