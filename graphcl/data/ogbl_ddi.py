"""OGB's drug interactions (ogbl-ddi) with their official split, from one array file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.ranking.ogb_files import DAMAGED

_PARTS = ("train", "valid", "test", "valid_neg", "test_neg")


def read_ogbl_ddi(path: Path) -> Data:
    """The graph and split of ogbl-ddi (Hu et al., 2020, arXiv 2005.00687).

    Args:
        path: an npz file with the arrays ``num_nodes`` and, as node pairs, ``train``, ``valid``,
            ``test``, ``valid_neg`` and ``test_neg``.

    Returns:
        ``edge_index`` (2, 2 E) holds the training pairs in both directions; ``train_pairs``,
        ``valid_pairs``, ``test_pairs``, ``valid_neg_pairs`` and ``test_neg_pairs`` are (2, number);
        ``metric`` is OGB's. There are no features.

    Raises:
        ValueError: arrays are absent or are not node pairs.
    """
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in ("num_nodes", *_PARTS) if name in stored}
    except (ValueError, *DAMAGED) as error:
        raise ValueError(f"{path} is no npz file, or damaged: {error}") from error
    absent = [name for name in ("num_nodes", *_PARTS) if name not in arrays]
    if absent:
        raise ValueError(f"{path.name} lacks the arrays {', '.join(absent)}")
    nodes = int(arrays["num_nodes"])
    pairs = {name: _pairs(arrays[name], f"{name} of {path.name}", nodes) for name in _PARTS}
    train = pairs["train"]
    return Data(
        edge_index=torch.cat([train, train.flip(0)], dim=1),
        num_nodes=nodes,
        metric="hits@20",
        **{f"{name}_pairs": one for name, one in pairs.items()},
    )


def _pairs(array: np.ndarray, name: str, nodes: int) -> Tensor:
    if array.ndim != 2 or 2 not in array.shape:
        raise ValueError(f"{name} must hold node pairs, got shape {array.shape}")
    pairs = torch.from_numpy(array.astype(np.int64))
    pairs = pairs if array.shape[1] != 2 else pairs.T
    if pairs.numel() and not 0 <= int(pairs.min()) <= int(pairs.max()) < nodes:
        raise ValueError(f"{name} has node ids outside 0..{nodes - 1}")
    return pairs.contiguous()
