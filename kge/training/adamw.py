"""Torch's AdamW in a form that PyKEEN can make anew."""

from __future__ import annotations

from typing import Any

import torch


class AdamW(torch.optim.AdamW):
    """AdamW that takes back all settings it states.

    Before training PyKEEN makes the optimizer anew from the settings of its parameters. Those of
    torch's AdamW hold ``decoupled_weight_decay``, always true, which its constructor does not take.
    In PyKEEN's pipeline give the class itself: ``optimizer=AdamW``.

    Args:
        params: as for :class:`torch.optim.AdamW`.
        decoupled_weight_decay: true, by definition.
        kwargs: as for :class:`torch.optim.AdamW`.
    """

    def __init__(self, params: Any, *, decoupled_weight_decay: bool = True, **kwargs: Any) -> None:
        if not decoupled_weight_decay:
            raise ValueError("AdamW without decoupled weight decay is Adam: use that")
        super().__init__(params, **kwargs)
