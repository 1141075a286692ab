"""What a link training has come to after an epoch, kept in one file."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphcl.data.cache import UNREADABLE
from graphcl.data.files import replacing
from graphcl.kernels.kept import dense_parts

_NAMED = 4
"""Differences that a message names; another model brings dozens."""


class LinkCheckpoint:
    """The state of a run between two epochs, written completely or not at all.

    Args:
        path: the file.
        run: what makes the run this one, settings and checksums.
    """

    def __init__(self, path: str | os.PathLike[str], run: Mapping[str, Any]) -> None:
        self.path = Path(path)
        # As JSON has them: numbers of NumPy would not be read again.
        self.run: dict[str, Any] = json.loads(json.dumps(run, default=float))

    def read(self) -> dict[str, Any] | None:
        """The state, or ``None`` where there is none yet.

        Raises:
            ValueError: the file is something else, or belongs to another run.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            run, state = content["run"], content["state"]
        except (*UNREADABLE, LookupError, TypeError) as err:
            raise ValueError(
                f"{self.path} is no checkpoint of a link training ({err}); give another file, or "
                "remove this one"
            ) from err
        differing = [
            f"{key}: {run.get(key)!r} there, {self.run.get(key)!r} now"
            for key in {**run, **self.run}
            if run.get(key) != self.run.get(key)
        ]
        if differing:
            further = len(differing) - _NAMED
            named = [*differing[:_NAMED], *([f"{further} more"] if further > 0 else [])]
            raise ValueError(
                f"{self.path} is of another run ({'; '.join(named)}); give another file, or "
                "remove this one"
            )
        return dict(state)

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace what is kept."""
        with replacing(self.path) as file:
            torch.save({"run": self.run, "state": dict(state)}, file)


def checksum(tensors: Iterable[Tensor]) -> int:
    """CRC-32 of dense and CSR tensors, by their values."""
    found = 0
    for tensor in tensors:
        for part in dense_parts(tensor.detach()):
            content = part.cpu().contiguous().flatten().view(torch.uint8)
            found = zlib.crc32(content.numpy().data, found)
    return found


def draw_states(device: torch.device) -> dict[str, Tensor]:
    """Torch's global generators that a run on ``device`` draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_draw_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Continue the draws of :func:`draw_states`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
