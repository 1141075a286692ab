"""What a graph's data know about labels: classes, public masks, stored lists of nodes."""

from typing import Any

import torch
from torch import Tensor


def check_labels(labels: Tensor, num_nodes: int) -> Tensor:
    """Return labels as an int64 vector of length ``num_nodes``; a single column is flattened.

    Raises:
        ValueError: If shape, length or dtype do not fit one integer class per node.
    """
    y = labels.detach()
    if y.dim() == 2 and y.size(1) == 1:
        y = y.flatten()
    if y.dim() != 1 or len(y) != num_nodes:
        raise ValueError(
            f"labels must hold one class per node, shape ({num_nodes},), got {tuple(labels.shape)}"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"labels must be integer class numbers, got {y.dtype}")
    return y.long()


def node_labels(data: Any) -> Tensor:
    """Labels of the data's one labelled node type, an int64 vector on the CPU.

    Raises:
        ValueError: If no node type, or more than one, holds ``y``, or ``y`` is not a class number
            per node.
    """
    y = getattr(_store(data), "y", None)
    if y is None:
        raise ValueError("data hold no labels y, a split needs them")
    return check_labels(y, len(y)).cpu()


def public_masks(data: Any, protocol: str, seed: int | None, y: Tensor) -> list[Tensor]:
    """Train, validation and test mask of a public protocol, without unlabelled nodes."""
    masks = []
    for name in ("train_mask", "val_mask", "test_mask"):
        mask = getattr(_store(data), name, None)
        if mask is None:
            raise ValueError(f"data have no {name}, which protocol {protocol!r} needs")
        columns = protocol == "wikics20" and name != "test_mask"
        wanted = (len(y), 20) if columns else (len(y),)
        if tuple(mask.shape) != wanted or mask.dtype != torch.bool:
            raise ValueError(
                f"{name} must be bool of shape {wanted} for protocol {protocol!r}, got "
                f"{mask.dtype} {tuple(mask.shape)}"
            )
        masks.append((mask[:, (seed or 0) % 20] if columns else mask).cpu() & (y >= 0))
    return masks


def stored_split(data: Any, count: int, y: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Train, validation and test of ``data.splits[count]``, or None where the data hold no splits.

    Raises:
        ValueError: If the count is not among them, or train has not ``count`` labels of each class.
    """
    stored = _stored_lists(data, count)
    if stored is None:
        return None
    train, validation, test = (stored[k].flatten().cpu().long() for k in ("train", "val", "test"))
    if len(train) and int(train.max()) >= len(y):
        raise ValueError(f"data.splits[{count}] names node {int(train.max())} of {len(y)} nodes")
    # Counted before repeats are merged: published lists (IMDB) do name a training node twice.
    classes, per_class = torch.unique(y[train], return_counts=True)
    all_classes = torch.unique(y[y >= 0])
    if not torch.equal(classes, all_classes) or bool((per_class != count).any()):
        raise ValueError(
            f"data.splits[{count}]['train'] holds {per_class.tolist()} labels of classes "
            f"{classes.tolist()}, expected {count} of each of {all_classes.tolist()}"
        )
    return torch.unique(train), validation, test


def _store(data: Any) -> Any:
    """The one store that holds labels: the data, or a node type of heterogeneous data."""
    if not hasattr(data, "node_types"):
        return data
    labelled = [t for t in data.node_types if getattr(data[t], "y", None) is not None]
    if len(labelled) != 1:
        raise ValueError(f"labels on node types {labelled}: pass one store, such as data['paper']")
    return data[labelled[0]]


def _stored_lists(data: Any, count: int) -> Any:
    for holder in (_store(data), data):
        splits = getattr(holder, "splits", None)
        if splits is not None:
            if count not in splits:
                raise ValueError(f"data.splits holds counts {sorted(splits)}, not {count}")
            return splits[count]
    return None
