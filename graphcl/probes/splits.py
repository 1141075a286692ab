"""Named node splits that assert what they claim.

The protocols are not interchangeable: the same embedding scores several points apart under
different ones, and swapped validation and test sets have gone unnoticed in published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphcl.probes.labels import node_labels, public_masks, stored_split

PROTOCOLS = ("public", "ogb", "wikics20", "random10", "bgrl20", "labels_per_class")

# (nodes, classes) -> train, validation, test of the Planetoid public split, Yang et al., 2016.
_PLANETOID_SIZES = {
    (2708, 7): (140, 500, 1000),
    (3327, 6): (120, 500, 1000),
    (19717, 3): (60, 500, 1000),
}


@dataclass(frozen=True, eq=False)
class Split:
    """Train, validation and test nodes of a named protocol, checked on construction.

    The constructor checks what the indices alone can tell: dtype, no repeats, no overlap, and the
    sizes that the protocol fixes. :meth:`verify` checks the rest against the data.

    Args:
        protocol: One of :data:`PROTOCOLS`.
        train: Node indices, int64, 1-D.
        validation: Node indices; empty for ``bgrl20`` and for no other protocol.
        test: Node indices.
        seed: Seed of a drawn split, or None where nothing was drawn.

    Raises:
        ValueError: If a check fails; the message names the offending counts.
    """

    protocol: str
    train: Tensor
    validation: Tensor
    test: Tensor
    seed: int | None = None

    def __post_init__(self) -> None:
        _check_protocol(self.protocol)
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, index in parts.items():
            if index.dim() != 1 or index.dtype != torch.int64:
                raise ValueError(
                    f"{name} must be an int64 vector, got {index.dtype} {tuple(index.shape)}"
                )
            if len(index) and int(index.min()) < 0:
                raise ValueError(f"{name} holds {int((index < 0).sum())} negative indices")
            repeats = len(index) - len(torch.unique(index))
            if repeats:
                raise ValueError(f"{name} names {repeats} of its {len(index)} nodes again")
        for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = int(torch.isin(parts[a], parts[b]).sum())
            if shared:
                raise ValueError(f"{a} and {b} share {shared} nodes")
        self._check_sizes()

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of train, validation and test nodes."""
        return len(self.train), len(self.validation), len(self.test)

    def _check_sizes(self) -> None:
        train, validation, test = self.sizes
        n = train + validation + test
        wrong = ""
        if not train or not test or (not validation and self.protocol != "bgrl20"):
            wrong = "no part may be empty (validation is, for bgrl20 alone)"
        elif self.protocol == "random10" and (train, validation) != (n // 10, n // 10):
            wrong = f"of {n} nodes it takes {(n // 10, n // 10, n - 2 * (n // 10))} (10/10/80 %)"
        elif self.protocol == "bgrl20" and (train, validation) != (n // 5, 0):
            wrong = f"of {n} nodes it takes {(n // 5, 0, n - n // 5)} (20/0/80 %)"
        elif self.protocol == "labels_per_class" and (validation, test) != (1000, 1000):
            wrong = "it takes 1000 validation and 1000 test nodes"
        elif self.protocol == "wikics20" and self.seed is None:
            wrong = "give the seed, it says which of the 20 splits this is"
        elif self.protocol == "wikics20" and not train < validation < test:
            wrong = "its sizes increase from train over validation to test"
        elif self.protocol == "public" and (validation, test) == (1000, 500):
            wrong = "Planetoid's has 500 validation and 1000 test nodes: they are swapped"
        if wrong:
            raise ValueError(
                f"split {self.protocol!r} with {train} train, {validation} validation, {test} test "
                f"nodes: {wrong}"
            )

    def verify(self, data: Any, *, count: int | None = None) -> Split:
        """Check the split against the data and return it.

        Checks that indices are in range and labelled; that drawn 10/10/80 and 20/80 splits use
        every labelled node; that ``public``, ``ogb`` and ``wikics20`` equal the masks part by part,
        and that Cora, CiteSeer and PubMed have Planetoid's sizes; that ``labels_per_class`` has no
        class with more than ``count`` labels in train.

        Args:
            data: PyG ``Data``, or the node store that holds ``y``.
            count: Labels per class, for ``labels_per_class``.

        Raises:
            ValueError: If a check fails; the message names the offending counts.
        """
        y = node_labels(data)
        for name in ("train", "validation", "test"):
            index = getattr(self, name)
            if len(index) and int(index.max()) >= len(y):
                raise ValueError(f"{name} names node {int(index.max())}, there are {len(y)} nodes")
            unlabelled = int((y[index] < 0).sum())
            if unlabelled:
                raise ValueError(f"{name} holds {unlabelled} nodes without a label (y < 0)")
        if self.protocol in ("random10", "bgrl20"):
            labelled = int((y >= 0).sum())
            if sum(self.sizes) != labelled:
                raise ValueError(
                    f"split {self.protocol!r} uses {sum(self.sizes)} of {labelled} labelled nodes"
                )
        elif self.protocol in ("public", "ogb", "wikics20"):
            self._verify_masks(data, y)
        elif count is not None:
            per_class = torch.bincount(y[self.train])
            if int(per_class.max()) > count:
                raise ValueError(
                    f"train holds {per_class.tolist()} labels per class, expected {count} each"
                )
        return self

    def _verify_masks(self, data: Any, y: Tensor) -> None:
        masks = public_masks(data, self.protocol, self.seed, y)
        for name, mask in zip(("train", "validation", "test"), masks, strict=True):
            index = getattr(self, name)
            inside = int(mask[index].sum())
            if inside != len(index) or inside != int(mask.sum()):
                raise ValueError(
                    f"split {self.protocol!r}: {inside} of {len(index)} {name} nodes are among the "
                    f"{int(mask.sum())} nodes of the data's {name} mask; they must be the same"
                )
        expected = _PLANETOID_SIZES.get((len(y), len(torch.unique(y[y >= 0]))))
        if self.protocol == "public" and expected not in (None, self.sizes):
            raise ValueError(
                f"the public split of this Planetoid graph has sizes {expected}, the masks give "
                f"{self.sizes}: masks swapped, or not loaded with split='public'"
            )


def make_split(data: Any, protocol: str, *, seed: int = 0, count: int | None = None) -> Split:
    """Build and verify the split of a named protocol.

    - ``public``: the Planetoid masks of the data (``train_mask``, ``val_mask``, ``test_mask``).
    - ``ogb``: OGB's official split, in the same masks.
    - ``wikics20``: public split number ``seed % 20``: that column of ``train_mask`` and
      ``val_mask``, with the one ``test_mask``. Average over seeds 0 to 19 for the protocol.
    - ``random10``: 10 % train, 10 % validation (both rounded down), the rest test.
    - ``bgrl20``: 20 % train (rounded down), the rest test; selection by cross-validation in train.
    - ``labels_per_class``: ``count`` train labels per class, 1000 validation and 1000 test nodes:
      ``data.splits[count]``, a dict of index tensors ``train``, ``val``, ``test``, where the data
      hold it, otherwise drawn by seed. A node that a stored train list repeats is kept once.

    Nodes with ``y < 0`` are unlabelled and never drawn.

    Args:
        data: PyG ``Data``, a ``HeteroData`` with labels on one node type, or that type's store.
        protocol: One of :data:`PROTOCOLS`.
        seed: Seed of the draw, or the public split's number for ``wikics20``.
        count: Labels per class, for ``labels_per_class`` alone.

    Raises:
        ValueError: If the protocol is unknown, or the data do not fit it.

    Example:
        >>> from torch_geometric.data import Data
        >>> make_split(Data(y=torch.arange(50) % 5), "random10").sizes
        (5, 5, 40)
    """
    _check_protocol(protocol)
    if (protocol == "labels_per_class") != (count is not None):
        raise ValueError(
            f"count={count} with protocol {protocol!r}: count is the number of labels per class, "
            "needed by 'labels_per_class' (usually 20, 40 or 60) and by no other protocol"
        )
    y = node_labels(data)
    if protocol in ("public", "ogb", "wikics20"):
        used = seed if protocol == "wikics20" else None
        masks = public_masks(data, protocol, used, y)
        train, validation, test = (mask.nonzero().flatten() for mask in masks)
        return Split(protocol, train, validation, test, used).verify(data)
    if count is not None:
        stored = stored_split(data, count, y)
        parts = _draw_per_class(y, count, seed) if stored is None else stored
        return Split(protocol, *parts, seed if stored is None else None).verify(data, count=count)
    nodes = _shuffle((y >= 0).nonzero().flatten(), torch.Generator().manual_seed(seed))
    n = len(nodes)
    a, b = (n // 10, 2 * (n // 10)) if protocol == "random10" else (n // 5, n // 5)
    return Split(protocol, nodes[:a], nodes[a:b], nodes[b:], seed).verify(data)


def _check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}, known are {', '.join(PROTOCOLS)}")


def _draw_per_class(y: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    nodes = _shuffle((y >= 0).nonzero().flatten(), torch.Generator().manual_seed(seed))
    per_class = torch.bincount(y[nodes])
    scarce = {c: int(k) for c, k in enumerate(per_class) if 0 < k < count}
    if scarce:
        raise ValueError(f"classes with fewer than {count} labelled nodes: {scarce}")
    train = torch.cat([nodes[y[nodes] == c][:count] for c in torch.unique(y[nodes])])
    rest = nodes[~torch.isin(nodes, train)]
    if len(rest) < 2000:
        raise ValueError(
            f"{len(rest)} labelled nodes remain beside {len(train)} train nodes, but "
            "'labels_per_class' takes 1000 validation and 1000 test nodes"
        )
    return train, rest[:1000], rest[1000:2000]


def _shuffle(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator)]
