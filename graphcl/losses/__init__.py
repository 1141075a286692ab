"""Contrastive losses: thin modules over :mod:`graphcl.kernels`."""

from graphcl.losses.bootstrap import BootstrapLoss
from graphcl.losses.candidates import Candidates
from graphcl.losses.deca import DeCA
from graphcl.losses.infomax import discriminator_loss
from graphcl.losses.infonce import InfoNCE
from graphcl.losses.pamc import PamC
from graphcl.losses.pool import CandidatePool, CandidateQueue
from graphcl.losses.pot import POTRegularizer
from graphcl.losses.progcl import ProGCLLoss
from graphcl.losses.resc import ReSC

__all__ = [
    "BootstrapLoss",
    "CandidatePool",
    "CandidateQueue",
    "Candidates",
    "DeCA",
    "InfoNCE",
    "POTRegularizer",
    "PamC",
    "ProGCLLoss",
    "ReSC",
    "discriminator_loss",
]
