"""Checks every loaded graph must pass."""

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from graphcl.data.registry import DatasetInfo

_MASKS = ("train_mask", "val_mask", "test_mask", "stopping_mask")


def validate_graph(data: Data, name: str) -> None:
    """Check that a graph is well formed.

    Raises:
        ValueError: If features are not finite float32 rows, one per node; if an edge names a node
            that does not exist; if labels are not int64 in 0..C-1, one per node; or if a mask is
            not boolean with one row per node. The message names the dataset and the value.
    """
    n = data.num_nodes
    if not n:
        raise ValueError(f"dataset {name!r} has no nodes")
    if data.x is not None:
        _expect(name, "x", data.x, torch.float32, n)
        finite = torch.isfinite(data.x).all(dim=1)
        if not finite.all():
            node = int((~finite).nonzero()[0])
            raise ValueError(f"dataset {name!r}: features of node {node} are not finite")
    edges = data.edge_index
    if edges is None or edges.dtype != torch.int64 or edges.dim() != 2 or edges.size(0) != 2:
        raise ValueError(f"dataset {name!r}: edge_index must be int64 of shape (2, E)")
    if edges.numel():
        first, last = int(edges.min()), int(edges.max())
        if first < 0 or last >= n:
            raise ValueError(
                f"dataset {name!r}: edges name nodes {first}..{last}, but the nodes are 0..{n - 1}"
            )
    if data.y is not None:
        _expect(name, "y", data.y, torch.int64, n)
        if data.y.dim() != 1 or int(data.y.min()) < 0:
            raise ValueError(
                f"dataset {name!r}: y must hold one label per node, from 0 up; got shape "
                f"{tuple(data.y.shape)} with smallest label {int(data.y.min())}"
            )
    for mask in _MASKS:
        if mask in data:
            _expect(name, mask, data[mask], torch.bool, n)


def check_counts(data: Data, info: DatasetInfo) -> None:
    """Check that a graph has the counts its registry entry states.

    Raises:
        ValueError: If a count differs. The message lists every count that does.
    """
    found = {
        "nodes": data.num_nodes,
        "edges": data.num_edges,
        "features": 0 if data.x is None else data.x.size(1),
        "classes": 0 if data.y is None else int(data.y.max()) + 1,
    }
    _compare(found, info)


def _compare(found: dict[str, int], info: DatasetInfo) -> None:
    differing = [
        f"{count} {value} instead of {getattr(info, count)}"
        for count, value in found.items()
        if value != getattr(info, count)
    ]
    if differing:
        raise ValueError(
            f"dataset {info.name!r} is not the published one: {', '.join(differing)}. "
            f"Its raw files are another version, or damaged"
        )


def validate_hetero(data: HeteroData, name: str) -> str:
    """Check that a heterogeneous graph is well formed; its labelled node type.

    Raises:
        ValueError: If features are not finite float32 rows, an edge names a node that does not
            exist, or there is not one node type with one int64 label from 0 up per node.
    """
    for kind in data.node_types:
        store = data[kind]
        if "x" in store:
            _expect(name, f"x of {kind}", store.x, torch.float32, store.num_nodes)
            if not bool(torch.isfinite(store.x).all()):
                raise ValueError(f"dataset {name!r}: features of {kind!r} are not finite")
    for edge_type in data.edge_types:
        edges = data[edge_type].edge_index
        sizes = [data[kind].num_nodes for kind in (edge_type[0], edge_type[2])]
        if edges.numel() and (
            int(edges.min()) < 0 or bool((edges.amax(1) >= torch.tensor(sizes)).any())
        ):
            raise ValueError(
                f"dataset {name!r}: edges {edge_type} name nodes up to {edges.amax(1).tolist()}, "
                f"but there are {sizes}"
            )
    labelled = [kind for kind in data.node_types if "y" in data[kind]]
    if len(labelled) != 1:
        raise ValueError(f"dataset {name!r} has labels on node types {labelled} instead of one")
    y = data[labelled[0]].y
    _expect(name, "y", y, torch.int64, data[labelled[0]].num_nodes)
    if y.dim() != 1 or int(y.min()) < 0:
        raise ValueError(f"dataset {name!r}: y must hold one label per node, from 0 up")
    return str(labelled[0])


def check_hetero_counts(data: HeteroData, target: str, info: DatasetInfo) -> None:
    """Check nodes, features and classes of the labelled type, and the edges of all types.

    Raises:
        ValueError: If a count differs. The message lists every count that does.
    """
    store = data[target]
    found = {
        "nodes": store.num_nodes,
        "edges": data.num_edges,
        "features": store.x.size(1) if "x" in store else 0,
        "classes": int(store.y.max()) + 1,
    }
    _compare(found, info)


def _expect(name: str, attribute: str, value: Tensor, dtype: torch.dtype, rows: int) -> None:
    if value.dtype != dtype or value.dim() == 0 or value.size(0) != rows:
        raise ValueError(
            f"dataset {name!r}: {attribute} must be {dtype} with {rows} rows, got {value.dtype} "
            f"of shape {tuple(value.shape)}"
        )
