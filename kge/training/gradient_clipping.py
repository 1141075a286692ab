"""Clipping of gradients, which PyKEEN offers and fails at."""

from __future__ import annotations

import math
from typing import Any

from pykeen.training.callbacks import TrainingCallback
from torch.nn.utils import clip_grad_norm_, clip_grad_value_


class ClipGradients(TrainingCallback):
    """Clips gradients between the backward pass and the optimizer's step.

    PyKEEN 1.11.1 has ``gradient_clipping_max_norm`` and ``gradient_clipping_max_abs_value``, but
    never tells the callbacks behind them which model they serve ("Callback was never initialized").
    This one is given as a callback, ``training_kwargs=dict(callbacks=ClipGradients(max_norm=1))``,
    of which PyKEEN calls ``post_batch`` before that of the optimizer.

    Args:
        max_norm: of all gradients together; None for no limit.
        norm_type: order of that norm.
        max_abs_value: of each entry; None for no limit.

    Raises:
        ValueError: a limit that is not positive.
    """

    def __init__(
        self,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        max_abs_value: float | None = None,
    ) -> None:
        super().__init__()
        limits = {"max_norm": max_norm, "norm_type": norm_type, "max_abs_value": max_abs_value}
        for name, limit in limits.items():
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be positive, got {limit}")
        self.max_norm, self.norm_type, self.max_abs_value = max_norm, norm_type, max_abs_value

    def post_batch(self, epoch: int, batch: Any, **kwargs: Any) -> None:
        """Called by PyKEEN when the gradients of a batch are complete."""
        parameters = [one for one in self.model.get_grad_params() if one.grad is not None]
        if any(one.grad.is_sparse for one in parameters if one.grad is not None):
            raise ValueError("gradients of rows cannot be clipped: leave out row_gradients")
        if self.max_norm is not None:
            norm = clip_grad_norm_(parameters, self.max_norm, self.norm_type)
            if not math.isfinite(norm):
                raise FloatingPointError(
                    f"the norm of the gradients is {float(norm)} in epoch {epoch}: training has "
                    "diverged; lower the learning rate"
                )
        if self.max_abs_value is not None:
            clip_grad_value_(parameters, self.max_abs_value)
