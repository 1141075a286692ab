"""Where a batch finds candidates beyond itself: earlier batches and other processes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphcl.kernels.processes import gather_rows, process_count
from graphcl.losses.candidates import Candidates


class CandidateQueue:
    """Ring buffer of the last ``size`` keys with their ids, as constants for the gradient.

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
        kept = [part.to(device, copy=True) for part in state["kept"]]
        self._kept = Candidates(*kept) if kept else None
        self._next = state["next"]

    @staticmethod
    def _parts(keys: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        return keys.z1, keys.z2, keys.ids


class CandidatePool:
    """Candidates beyond a batch: keys of earlier batches and the batches of other processes.

    With a queue, the keys come from a copy of the encoder that follows it slowly (MoCo, He et al.,
    2020, arXiv 1911.05722): the positive of an anchor, its negatives in the batch, and those in the
    queue. Were they the encoder's own, all nodes could move away from the old keys together, with
    their positives, which lowers the loss and tells nothing apart.

    With several processes, the batches of all of them are candidates for each (without a queue,
    with gradients: see :func:`~graphcl.kernels.processes.gather_rows`) and enter every queue.

    Args:
        queue: room for keys of earlier batches; without it, there are none.
        momentum: share of the copy that stays in every step; 0 copies the encoder.

    Raises:
        ValueError: momentum out of range.
    """

    def __init__(self, queue: CandidateQueue | None = None, momentum: float = 0.99) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.queue, self.momentum = queue, momentum
        self._target: nn.ModuleList | None = None
        self._stored: dict[str, Any] | None = None

    def keys(
        self,
        modules: Sequence[nn.Module],
        views: Sequence[tuple[Tensor, Tensor]],
        ids: Tensor,
    ) -> Candidates | None:
        """What the slow copy says of the first nodes of two views; ``None`` without a queue.

        Called once a step: the copy first moves towards ``modules``.

        Args:
            modules: encoder of (x, edge_index) and head.
            views: (x, edge_index) of each view.
            ids: (B,) global ids of the first nodes.
        """
        if self.queue is None:
            return None
        encoder, head = self._follow(nn.ModuleList(modules))
        with torch.no_grad():
            rows = [head(encoder(*view)[: len(ids)]) for view in views]
        return Candidates(rows[0], rows[1], ids)

    def beyond(self, batch: Candidates) -> Candidates | None:
        """Candidates outside of this process's batch, ``None`` if there are none.

        The batch, keys where there are any, then enters the queue. A collective: every process
        calls it each step.
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

    def state_dict(self) -> dict[str, Any]:
        """Queue and slow copy, for a checkpoint; empty without a queue."""
        if self.queue is None:
            return {}
        copied = self._stored if self._target is None else self._target.state_dict()
        return {"queue": self.queue.state_dict(), "target": copied}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Continue with what :meth:`state_dict` gave."""
        if self.queue is not None:
            self.queue.load_state_dict(state["queue"], device)
            self._target, self._stored = None, copy.deepcopy(state["target"])

    @torch.no_grad()
    def _follow(self, modules: nn.ModuleList) -> nn.ModuleList:
        if self._target is None:
            self._target = copy.deepcopy(modules).requires_grad_(False)
            if self._stored is None:
                return self._target
            self._target.load_state_dict(self._stored)
        for slow, fast in zip(self._target.parameters(), modules.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)
        for kept, current in zip(self._target.buffers(), modules.buffers(), strict=True):
            kept.copy_(current)
        return self._target
