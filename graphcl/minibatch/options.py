"""How a run cuts its graph into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Loader = Literal["full", "neighbor", "cluster"]
Partition = Literal["auto", "metis", "louvain", "bandwidth"]


@dataclass(frozen=True)
class Batching:
    """Where batches come from, and what competes with their anchors.

    Args:
        loader: ``full`` (one step on the whole graph per epoch), ``neighbor`` (random seeds and
            their sampled neighbourhoods) or ``cluster`` (the subgraph of one or more clusters,
            Chiang et al., 2019, arXiv 1905.07953).
        batch_size: most seeds of a batch on each process; batches are cut evenly.
        fan_out: neighbours sampled per node, one number per hop from the seeds outwards; -1 takes
            all. For ``neighbor``.
        queue: keys of earlier batches that compete as well; 0 for none.
        momentum: of the slow copy of the encoder that keys come from, with a queue; see
            :class:`~graphcl.losses.CandidatePool`.
        partition: for ``cluster``, see :func:`~graphcl.minibatch.partition_nodes`.
        clusters: for ``cluster``, number of parts; 0 makes about four to a batch.
        hard_every: for ``neighbor``, put nodes of one cluster of the embeddings into the same
            batches and cluster anew every so many epochs (NGAME, Dahiya et al., 2023, arXiv
            2207.04452); 0 draws seeds at random.

    Raises:
        ValueError: settings out of range or without effect.
    """

    loader: Loader = "full"
    batch_size: int = 1024
    fan_out: tuple[int, ...] = (10, 10)
    queue: int = 0
    momentum: float = 0.99
    partition: Partition = "auto"
    clusters: int = 0
    hard_every: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fan_out", tuple(self.fan_out))
        if self.loader not in ("full", "neighbor", "cluster"):
            raise ValueError(f"unknown loader {self.loader!r}; choose from full, neighbor, cluster")
        if self.partition not in ("auto", "metis", "louvain", "bandwidth"):
            raise ValueError(
                f"unknown partition {self.partition!r}; choose from auto, metis, louvain, bandwidth"
            )
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}")
        if not self.fan_out or any(k == 0 or k < -1 for k in self.fan_out):
            raise ValueError(
                f"fan_out needs one positive number (or -1 for all) per hop, got {self.fan_out}"
            )
        for name in ("queue", "clusters", "hard_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"momentum (graphcl train --key-momentum) must lie in [0, 1), got {self.momentum}"
            )
        if self.loader == "full" and self.queue:
            raise ValueError(
                f"a queue of {self.queue} has no effect on the full graph, where every node is a "
                "candidate already: set queue to 0 or choose another loader"
            )
        if self.momentum != Batching.momentum and not self.queue:
            raise ValueError(
                f"momentum={self.momentum} (graphcl train --key-momentum) is of the keys of a "
                "queue, and there is none: set queue"
            )
        if self.loader != "neighbor" and self.hard_every:
            raise ValueError(
                f"hard_every={self.hard_every} orders the seeds of loader 'neighbor', not of "
                f"{self.loader!r}: set hard_every to 0 or choose loader 'neighbor'"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``config.json``."""
        return asdict(self)


def parse_fan_out(text: str) -> Sequence[int]:
    """Read "10,5" as (10, 5).

    Raises:
        ValueError: not whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"fan-out takes numbers separated by commas, such as 10,5; got {text!r}"
        ) from None
