"""Contrastive losses: thin modules over :mod:`graphcl.kernels`."""

from graphcl.losses.adameow import AdaMEOWLoss
from graphcl.losses.bootstrap import BootstrapLoss
from graphcl.losses.cross_view import HeCoLoss
from graphcl.losses.deca import DeCA
from graphcl.losses.infomax import discriminator_loss
from graphcl.losses.infonce import InfoNCE
from graphcl.losses.meow import MEOWLoss, PrototypeLoss
from graphcl.losses.resc import ReSC

__all__ = [
    "AdaMEOWLoss",
    "BootstrapLoss",
    "DeCA",
    "HeCoLoss",
    "InfoNCE",
    "MEOWLoss",
    "PrototypeLoss",
    "ReSC",
    "discriminator_loss",
]
