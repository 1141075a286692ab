"""Contrastive losses: thin modules over :mod:`graphcl.kernels`."""

from graphcl.losses.bootstrap import BootstrapLoss
from graphcl.losses.infomax import discriminator_loss
from graphcl.losses.infonce import InfoNCE

__all__ = ["BootstrapLoss", "InfoNCE", "discriminator_loss"]
