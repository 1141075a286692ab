"""Handing the model in training to the negative sampler, which PyKEEN does not do."""

from __future__ import annotations

from functools import wraps
from typing import Any

from pykeen.training import SLCWATrainingLoop
from pykeen.training.callbacks import TrainingCallback
from pykeen.training.training_loop import TrainingLoop
from torch.utils.data import DataLoader

_MARK = "_binds_negative_sampler"


class BindModelCallback(TrainingCallback):
    """Binds the sampler to the training loop (``training_kwargs=dict(callbacks="bindmodel")``).

    PyKEEN builds the sampler inside the data loader, without the model, and more than once. This
    callback has each new sampler that has a method ``bind(loop)`` called with the loop. Unlike a
    subclass of the loop it works in ``hpo_pipeline`` too, which replaces the sampler of any
    training loop but its own. Loops and samplers that need no model are left as they are.

    Example:
        >>> from pykeen.pipeline import pipeline
        >>> pipeline(  # doctest: +SKIP
        ...     dataset="nations", model="distmult", negative_sampler="hasa", loss="hasa",
        ...     training_kwargs=dict(callbacks="bindmodel"),
        ... )
    """

    def register_training_loop(self, training_loop: TrainingLoop[Any]) -> None:
        """Called by PyKEEN before it builds a data loader."""
        super().register_training_loop(training_loop)
        create = training_loop._create_training_data_loader
        if getattr(create, _MARK, False):
            return

        @wraps(create)
        def create_and_bind(*args: Any, **kwargs: Any) -> DataLoader[Any]:
            return bind_sampler(training_loop, create(*args, **kwargs))

        setattr(create_and_bind, _MARK, True)
        # This loop alone: other loops of its class keep their method.
        training_loop._create_training_data_loader = create_and_bind  # type: ignore[method-assign]


class BoundSLCWATrainingLoop(SLCWATrainingLoop):
    """PyKEEN's sLCWA loop that binds its sampler without a callback; not for ``hpo_pipeline``."""

    def _create_training_data_loader(self, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        loader = super()._create_training_data_loader(*args, **kwargs)
        return bind_sampler(self, loader)


def bind_sampler(loop: TrainingLoop[Any], loader: DataLoader[Any]) -> DataLoader[Any]:
    """Call ``bind(loop)`` of the loader's negative sampler, if it has such a method.

    Raises:
        ValueError: the loader draws in worker processes, which would mine with a stale copy of
            the model.
    """
    sampler = getattr(loader.dataset, "negative_sampler", None)
    if sampler is not None and hasattr(sampler, "bind"):
        if loader.num_workers and getattr(sampler, "needs_model", True):
            raise ValueError(
                f"{type(sampler).__name__} mines with the live model and needs num_workers=0, got "
                f"{loader.num_workers}: worker processes would keep a copy that does not learn"
            )
        sampler.bind(loop)
    return loader
