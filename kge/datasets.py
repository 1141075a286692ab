"""Knowledge graphs by name or directory, numbered so that no test triple is dropped."""

from __future__ import annotations

from pathlib import Path

# Before ours: importing it asks this package for UnionDataset (see kge.registration), which then
# must not be half loaded.
import pykeen.datasets  # noqa: F401

from kge.dataset_folders import data_root, dataset_folders, find_folder
from kge.ogb_counts import is_ogb
from kge.ogb_dataset import OGBDataset
from kge.split_report import SplitReport
from kge.triple_files import MalformedFile
from kge.union_dataset import UnionDataset, Unseen

__all__ = [
    "MalformedFile",
    "OGBDataset",
    "SplitReport",
    "UnionDataset",
    "data_root",
    "dataset_folders",
    "find_folder",
    "load_dataset",
]


def load_dataset(
    name: str | Path,
    root: str | Path | None = None,
    *,
    unseen: Unseen = "keep",
    create_inverse_triples: bool = False,
) -> UnionDataset:
    """Knowledge graph with the entities of all three splits; see :class:`UnionDataset`.

    ``ogbl-biokg`` and ``ogbl-wikikg2`` come with OGB's own split and candidates, see
    :class:`OGBDataset`.

    In PyKEEN's pipeline it is ``dataset=load_dataset("wn18rr")``; graphs other than OGB's also by
    name, ``dataset="union", dataset_kwargs=dict(name="wn18rr")``.

    Args:
        name: name, see ``kge datasets``, or a folder with ``train.txt``, ``valid.txt``,
            ``test.txt`` and, if there are texts, ``entities.tsv`` and ``relations.tsv``.
        root: folder of raw data, default ``$GRAPHCL_DATA`` and the cache.
        unseen: ``keep`` the triples of entities or relations that training lacks, or ``drop`` them
            as PyKEEN does.
        create_inverse_triples: also train on the inverse of every triple.

    Raises:
        FileNotFoundError: no such name or folder.
        ValueError: an empty split or an unknown ``unseen``; as
            :class:`~kge.triple_files.MalformedFile` a line that is no triple, with its number.

    Example:
        >>> graph = load_dataset("umls")
        >>> graph.num_entities, graph.training.num_triples, graph.testing.num_triples
        (135, 5216, 661)
    """
    kind = OGBDataset if is_ogb(name) else UnionDataset
    return kind(name, root, unseen, create_inverse_triples)
