"""Load a benchmark graph by name."""

from collections.abc import Callable
from pathlib import Path

from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import to_undirected

from graphcl.data.builtin_graphs import digits_graph, karate_graph
from graphcl.data.hetero_graphs import HETERO_FILES, read_hetero
from graphcl.data.ogb import find_ogb, read_ogb
from graphcl.data.ogbl_ddi import read_ogbl_ddi
from graphcl.data.plain_graphs import read_attributed_npz, read_edge_list
from graphcl.data.pyg_datasets import PYG_SOURCES, read_pyg_dataset
from graphcl.data.raw_files import RawFiles, absent_files_error, find_raw_files
from graphcl.data.registry import DatasetInfo, dataset_info
from graphcl.data.roots import data_root
from graphcl.data.validation import (
    check_counts,
    check_hetero_counts,
    validate_graph,
    validate_hetero,
)

BUILTIN_GRAPHS: dict[str, Callable[[], Data]] = {"digits": digits_graph, "karate": karate_graph}

PLAIN_FILES: dict[str, RawFiles] = {
    "usps": RawFiles("GraphClustering/usps", ("usps.npz",)),
    "acm-cluster": RawFiles("GraphClustering/acm", ("acm.npz",)),
    "citeseer-cluster": RawFiles("GraphClustering/citeseer", ("citeseer.npz",)),
    "usair": RawFiles("LinkPrediction/USAir", ("edges.txt",)),
    "ns": RawFiles("LinkPrediction/NS", ("edges.txt",)),
    "power": RawFiles("LinkPrediction/Power", ("edges.txt",)),
    "ogbl-ddi": RawFiles("LinkPrediction/ogbl-ddi", ("ogbl_ddi.npz",)),
}

# Citations, which OGB has in one direction.
_ONE_WAY = ("ogbn-arxiv", "ogbl-citation2")


def load_dataset(name: str, root: str | Path | None = None) -> Data | HeteroData:
    """Load a benchmark graph by name, checked against its published counts.

    Raw files are looked for under ``root``, in PyG's layout (``Planetoid/Cora/raw/ind.cora.x``,
    ``Amazon/Photo/raw/...``, ``WikiCS/raw/data.json``) and ``GraphClustering/usps/usps.npz``,
    ``LinkPrediction/USAir/edges.txt``, ``Hetero/acm/pa.txt``, and OGB's in OGB's layout
    (``ogbn_arxiv/raw``). Nothing is written there: processed files and, where no raw file exists,
    PyG's and OGB's downloads go to the cache (environment variable ``GRAPHCL_CACHE`` or
    ``~/.cache/graphcl-kge``). ``digits`` and ``karate`` need neither files nor network.

    Args:
        name: One of :func:`~graphcl.data.dataset_names`, upper and lower case alike.
        root: Folder of the raw files; by default the environment variable ``GRAPHCL_DATA``, then
            ``~/.cache/graphcl-kge``.

    Returns:
        A graph with ``edge_index`` (2, E) int64, both directions stored, and ``name``; where the
        dataset has them, ``x`` (N, F) float32, ``y`` (N,) int64 with ``num_classes``, and the
        public ``train_mask``, ``val_mask``, ``test_mask`` (WikiCS: 20 columns of training,
        validation and stopping masks). The graph is undirected without self loops, except that
        PyG's WikiCS and OGB's graphs keep their own. OGB's link data sets hold their training edges
        and the official pairs, see :func:`graphcl.data.ogb.read_ogb`. The heterogeneous ones
        (``acm``, ``pyg-dblp``, ...) are ``HeteroData`` with ``x`` for the types that have features
        and ``y`` for one type; see :func:`~graphcl.data.hetero_graphs.read_hetero` for their
        splits.

    Raises:
        ValueError: If the name is unknown, the files are damaged or the graph is not the published
            one.
        FileNotFoundError: If raw files are missing and cannot be downloaded.

    Example:
        >>> data = load_dataset("karate")
        >>> data.num_nodes, data.num_edges, data.num_classes
        (34, 156, 4)
    """
    info = dataset_info(name)
    data = _read(info, root)
    data.name = info.name
    if isinstance(data, HeteroData):
        target = validate_hetero(data, info.name)
        check_hetero_counts(data, target, info)
        data[target].num_classes = info.classes
        return data
    validate_graph(data, info.name)
    check_counts(data, info)
    if info.name in _ONE_WAY:
        data.edge_index = to_undirected(data.edge_index, num_nodes=data.num_nodes)
    if data.y is not None:
        data.num_classes = info.classes
    return data


def _read(info: DatasetInfo, root: str | Path | None) -> Data | HeteroData:
    if info.name in BUILTIN_GRAPHS:
        return BUILTIN_GRAPHS[info.name]()
    if info.name in PYG_SOURCES:
        return read_pyg_dataset(info.name, data_root(root))
    if info.family == "ogb":
        return _read_ogb(info, data_root(root))
    return _read_plain(info, data_root(root))


def _read_ogb(info: DatasetInfo, root: Path) -> Data | HeteroData:
    """OGB's own files where they are, else a plain file with the same split, else a download."""
    plain = PLAIN_FILES.get(info.name)
    if plain is None or find_ogb(info.name, root) is not None:
        return read_ogb(info, root)
    if find_raw_files(info.name, plain, root) is not None:
        return _read_plain(info, root)
    try:
        return read_ogb(info, root)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        own = f"{error}; or put {', '.join(plain.names)} into {root / plain.folder}"
        raise FileNotFoundError(own) from error


def _read_plain(info: DatasetInfo, root: Path) -> Data | HeteroData:
    hetero = HETERO_FILES.get(info.name)
    raw = PLAIN_FILES[info.name] if hetero is None else hetero.raw
    folder = find_raw_files(info.name, raw, root)
    if folder is None:
        reason = (
            f"no download is known. Put them into the first of these folders. Source: {info.source}"
        )
        raise absent_files_error(info.name, raw, root, reason)
    if hetero is not None:
        return read_hetero(hetero, folder)
    path = folder / raw.names[0]
    if info.name == "ogbl-ddi":
        return read_ogbl_ddi(path)
    if info.family == "link-prediction":
        return read_edge_list(path, num_nodes=info.nodes)
    return read_attributed_npz(path)
