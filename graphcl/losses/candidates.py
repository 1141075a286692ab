"""Candidates from outside of a batch: a queue of earlier keys, and other processes' nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphcl.kernels.processes import gather_rows, process_count


@dataclass(frozen=True)
class Candidates:
    """Nodes in both views that compete with an anchor's positive.

    Args:
        z1: (M, D) in view 1.
        z2: (M, D) in view 2.
        ids: (M,) int64 global node ids; a candidate never competes with an anchor of its own id.

    Raises:
        ValueError: shapes that do not fit.
    """

    z1: Tensor
    z2: Tensor
    ids: Tensor

    def __post_init__(self) -> None:
        if self.z1.dim() != 2 or self.z1.shape != self.z2.shape:
            raise ValueError(
                f"candidates must be (M, D) in both views, got {tuple(self.z1.shape)} and "
                f"{tuple(self.z2.shape)}"
            )
        if self.ids.shape != self.z1.shape[:1] or self.ids.dtype != torch.int64:
            raise ValueError(
                f"ids must be {self.z1.shape[0]} int64 numbers, got {tuple(self.ids.shape)} of "
                f"{self.ids.dtype}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def cat(parts: Sequence[Candidates]) -> Candidates:
        """All candidates of one or more sets."""
        return Candidates(
            torch.cat([part.z1 for part in parts]),
            torch.cat([part.z2 for part in parts]),
            torch.cat([part.ids for part in parts]),
        )


class CandidateQueue:
    """Ring buffer of the last ``size`` keys with their ids, as constants for the gradient.

    Keys of earlier batches serve as further candidates (MoCo, He et al., 2020, arXiv 1911.05722;
    cross-batch memory, Wang et al., 2020, arXiv 1912.06798). They are as old as the queue is long:
    a low learning rate keeps them close to what the encoder says now.

    Args:
        size: Q, the most keys that are kept; memory 2 Q D.

    Example:
        >>> queue = CandidateQueue(3)
        >>> for node in range(5):
        ...     queue.push(Candidates(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([node])))
        >>> sorted(queue.candidates().ids.tolist())
        [2, 3, 4]
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a queue needs room for at least one key, got size={size}")
        self.size = size
        self._kept: Candidates | None = None
        self._next = 0

    def __len__(self) -> int:
        return 0 if self._kept is None else len(self._kept)

    def candidates(self) -> Candidates | None:
        """A copy of what is kept, ``None`` while it is empty."""
        if self._kept is None:
            return None
        return Candidates(*(part.clone() for part in self._parts(self._kept)))

    def push(self, keys: Candidates) -> None:
        """Add keys in place of the oldest ones; of more than ``size``, the last are kept."""
        fresh = [part[-self.size :].detach().clone() for part in self._parts(keys)]
        if self._kept is None or len(self) < self.size:
            held = [] if self._kept is None else [self._kept]
            joined = Candidates.cat([*held, Candidates(*fresh)])
            self._kept = Candidates(*(part[-self.size :] for part in self._parts(joined)))
            self._next = 0
            return
        places = (self._next + torch.arange(len(fresh[2]))) % self.size
        for kept, new in zip(self._parts(self._kept), fresh, strict=True):
            kept[places.to(kept.device)] = new.to(kept)
        self._next = (self._next + len(fresh[2])) % self.size

    def state_dict(self) -> dict[str, Any]:
        """Keys, ids and the place of the oldest, for a checkpoint."""
        kept = () if self._kept is None else self._parts(self._kept)
        return {"kept": list(kept), "next": self._next}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Continue with what :meth:`state_dict` gave."""
        kept = [part.to(device) for part in state["kept"]]
        self._kept = Candidates(*kept) if kept else None
        self._next = state["next"]

    @staticmethod
    def _parts(keys: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        return keys.z1, keys.z2, keys.ids


class CandidatePool:
    """Where a batch's anchors find candidates beyond the batch.

    Args:
        queue: keys of earlier batches; without it, there are none.

    With several processes, the batches of all of them are candidates for each (with gradients, see
    :func:`~graphcl.kernels.processes.gather_rows`) and enter every queue.
    """

    def __init__(self, queue: CandidateQueue | None = None) -> None:
        self.queue = queue

    def beyond(self, batch: Candidates) -> Candidates | None:
        """Candidates outside of this process's batch, ``None`` if there are none.

        The batch itself then enters the queue. A collective: every process calls it each step.
        """
        found = []
        everyone = batch
        if process_count() > 1:
            width = batch.z1.shape[1]
            ids, own = gather_rows(batch.ids)
            rows, _ = gather_rows(torch.cat([batch.z1, batch.z2], 1))
            everyone = Candidates(rows[:, :width], rows[:, width:], ids)
            other = torch.ones_like(ids, dtype=torch.bool)
            other[own] = False
            found.append(Candidates(rows[other, :width], rows[other, width:], ids[other]))
        if self.queue is not None:
            earlier = self.queue.candidates()
            if earlier is not None:
                found.append(earlier)
            self.queue.push(everyone)
        return Candidates.cat(found) if found else None
