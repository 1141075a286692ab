"""What a model that has diverged raises, wherever its scores are looked at."""

from __future__ import annotations

from graphcl.ranking import NonFiniteScores


class DivergedModel(NonFiniteScores, RuntimeError):
    """A model scores NaN or infinity, so that its ranks mean nothing.

    It is a ``RuntimeError`` as well, which PyKEEN's hyper-parameter search takes for a failed
    trial.
    """
