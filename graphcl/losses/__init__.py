"""Contrastive losses: thin modules over :mod:`graphcl.kernels`."""

from graphcl.losses.adameow import AdaMEOWLoss
from graphcl.losses.bootstrap import BootstrapLoss
from graphcl.losses.candidates import Candidates
from graphcl.losses.cross_view import HeCoLoss
from graphcl.losses.deca import DeCA
from graphcl.losses.infomax import discriminator_loss
from graphcl.losses.infonce import InfoNCE
from graphcl.losses.meow import MEOWLoss, PrototypeLoss
from graphcl.losses.pamc import Approximation, PamC
from graphcl.losses.pool import CandidatePool, CandidateQueue
from graphcl.losses.pot import DrawnView, POTRegularizer
from graphcl.losses.progcl import ProGCLLoss
from graphcl.losses.resc import ReSC

__all__ = [
    "AdaMEOWLoss",
    "Approximation",
    "BootstrapLoss",
    "CandidatePool",
    "CandidateQueue",
    "Candidates",
    "DeCA",
    "DrawnView",
    "HeCoLoss",
    "InfoNCE",
    "MEOWLoss",
    "POTRegularizer",
    "PamC",
    "ProGCLLoss",
    "PrototypeLoss",
    "ReSC",
    "discriminator_loss",
]
