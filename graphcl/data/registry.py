"""What is known about each dataset: counts, tasks, evaluation protocols, origin."""

import difflib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about one dataset.

    Attributes:
        name: The name :func:`~graphcl.data.load_dataset` takes, in lower case.
        family: Where the dataset comes from: ``builtin``, ``planetoid``, ``amazon``, ``coauthor``,
            ``citation-full``, ``wikics``, ``graph-clustering``, ``link-prediction``,
            ``ogb``, ``hetero`` or ``pyg-hetero``. For the last two, nodes, features and classes are
            those of the labelled node type.
        task: What the dataset is mostly used for.
        nodes: Number of nodes.
        edges: Number of stored directed edges, both directions of an undirected edge counted. Of
            ogbn-arxiv and ogbl-citation2, which are made undirected, the number in OGB's files.
        features: Feature width, 0 if the nodes have none.
        classes: Number of classes, 0 if the nodes have no labels.
        protocols: Evaluation protocols that apply, the default first. Empty without labels.
        needs_files: Whether raw files are read (and may have to be downloaded).
        description: One line for people.
        source: Origin and licence.
    """

    name: str
    family: str
    task: Literal["classify", "cluster", "links"]
    nodes: int
    edges: int
    features: int
    classes: int
    protocols: tuple[str, ...]
    needs_files: bool
    description: str
    source: str

    @property
    def downloads(self) -> bool:
        """Whether raw files that are absent can be downloaded by PyG's or OGB's loaders."""
        return self.needs_files and self.family not in _LOCAL


_LOCAL = ("graph-clustering", "link-prediction", "hetero")
"""Families whose files must be at hand."""

# Name, nodes, stored directed edges, features, classes, description.
_Row = tuple[str, int, int, int, int, str]

_RANDOM = ("random10", "bgrl20")
_PUBLIC = ("public", *_RANDOM)


def _family(
    family: str,
    task: Literal["classify", "cluster", "links"],
    protocols: tuple[str, ...],
    source: str,
    *rows: _Row,
) -> list[DatasetInfo]:
    return [
        DatasetInfo(
            name=name,
            family=family,
            task=task,
            nodes=nodes,
            edges=edges,
            features=features,
            classes=classes,
            protocols=protocols,
            needs_files=family != "builtin",
            description=description,
            source=source,
        )
        for name, nodes, edges, features, classes, description in rows
    ]


_ALL = [
    *_family(
        "builtin",
        "classify",
        _RANDOM,
        "scikit-learn's copy of the UCI handwritten digits test set (CC BY 4.0)",
        ("digits", 1797, 24678, 64, 10, "images of digits, symmetric 10-nearest-neighbour graph"),
    ),
    *_family(
        "builtin",
        "classify",
        _RANDOM,
        "Zachary, 1977; labels of Kipf and Welling, 2017 (PyTorch Geometric, MIT)",
        ("karate", 34, 156, 34, 4, "friendships in a karate club, identity features"),
    ),
    *_family(
        "planetoid",
        "classify",
        _PUBLIC,
        "Yang et al., 2016, arXiv:1603.08861; kimiyoung/planetoid (MIT)",
        ("cora", 2708, 10556, 1433, 7, "machine learning papers, citations, binary word counts"),
        ("citeseer", 3327, 9104, 3703, 6, "computer science papers, citations, binary word counts"),
        ("pubmed", 19717, 88648, 500, 3, "diabetes papers, citations, tf-idf of words"),
    ),
    *_family(
        "amazon",
        "classify",
        _RANDOM,
        "Shchur et al., 2018, arXiv:1811.05868; shchur/gnn-benchmark (MIT)",
        ("amazon-photo", 7650, 238162, 745, 8, "photo goods bought together, words of reviews"),
        ("amazon-computers", 13752, 491722, 767, 10, "computers bought together, words of reviews"),
    ),
    *_family(
        "coauthor",
        "classify",
        _RANDOM,
        "Shchur et al., 2018, arXiv:1811.05868; shchur/gnn-benchmark (MIT)",
        ("coauthor-cs", 18333, 163788, 6805, 15, "authors in computer science, joint papers"),
        ("coauthor-physics", 34493, 495924, 8415, 5, "authors in physics, joint papers"),
    ),
    *_family(
        "wikics",
        "classify",
        ("wikics20", *_RANDOM),
        "Mernyei and Cangea, 2020, arXiv:2007.02901; pmernyei/wiki-cs-dataset (MIT)",
        # 216123 node pairs, 520 of them self loops, which PyG keeps and stores once.
        ("wikics", 11701, 431726, 300, 10, "computer science articles, hyperlinks, word vectors"),
    ),
    *_family(
        "citation-full",
        "classify",
        _RANDOM,
        "Bojchevski and Günnemann, 2018, arXiv:1707.03815; abojchevski/graph2gauss (MIT)",
        ("dblp-citation", 17716, 105734, 1639, 4, "DBLP papers, citations, words"),
        ("cora-ml", 2995, 16316, 2879, 7, "machine learning papers, citations, words"),
    ),
    *_family(
        "graph-clustering",
        "cluster",
        _RANDOM,
        "Bo et al., 2020, arXiv:2002.01633; graphs and labels of bdy9527/SDCN (Apache-2.0)",
        ("usps", 9298, 42904, 256, 10, "images of digits, symmetric 3-nearest-neighbour graph"),
        ("acm-cluster", 3025, 26256, 1870, 3, "ACM papers joined by a common author, keywords"),
        ("citeseer-cluster", 3327, 9104, 3703, 6, "CiteSeer as the clustering papers order it"),
    ),
    *_family(
        "link-prediction",
        "links",
        (),
        "Zhang and Chen, 2018 (SEAL), arXiv:1802.09691; muhanzhang/SEAL (MIT)",
        ("usair", 332, 4252, 0, 0, "airlines of the United States"),
        ("ns", 1589, 5484, 0, 0, "joint papers of network scientists"),
        ("power", 4941, 13188, 0, 0, "power grid of the western United States"),
    ),
    *_family(
        "hetero",
        "classify",
        ("labels_per_class", *_RANDOM),
        "Wang et al., 2021 (HeCo), arXiv:2105.09111; Yu et al., 2023 (MEOW), arXiv:2212.13847",
        ("acm", 4019, 34852, 1902, 3, "papers, authors, subjects"),
        ("dblp", 4057, 239566, 334, 4, "authors, papers, conferences, terms"),
        ("imdb", 4275, 74880, 5927, 3, "movies, actors, directors, keywords"),
        ("freebase", 3492, 151034, 0, 3, "movies, directors, actors, writers; no features"),
        ("aminer", 6564, 153676, 0, 4, "papers, authors, references; no features"),
    ),
    *_family(
        "pyg-hetero",
        "classify",
        _PUBLIC,
        "Fu et al., 2020 (MAGNN), arXiv:2002.01680, as PyTorch Geometric has them",
        ("pyg-dblp", 4057, 239566, 334, 4, "DBLP of PyG: authors, papers, terms, conferences"),
        ("pyg-imdb", 4278, 34212, 3066, 3, "IMDB of PyG: movies, directors, actors"),
    ),
    *_family(
        "ogb",
        "classify",
        ("ogb", *_RANDOM),
        "Hu et al., 2020 (OGB), arXiv:2005.00687 (ODC-BY); official split",
        # Citations, counted in the one direction in which OGB has them.
        ("ogbn-arxiv", 169343, 1166243, 128, 40, "papers on arXiv, citations, word vectors"),
    ),
    *_family(
        "ogb",
        "classify",
        ("ogb", *_RANDOM),
        "Hu et al., 2020 (OGB), arXiv:2005.00687 (Amazon licence); official split",
        ("ogbn-products", 2449029, 123718280, 100, 47, "goods bought together, words"),
    ),
    *_family(
        "ogb",
        "links",
        (),
        "Hu et al., 2020 (OGB), arXiv:2005.00687 (CC-0); edges in training only, official split",
        ("ogbl-ddi", 4267, 2135822, 0, 0, "interactions of drugs"),
        ("ogbl-ppa", 576289, 42463862, 58, 0, "associations of proteins, species"),
    ),
    *_family(
        "ogb",
        "links",
        (),
        "Hu et al., 2020 (OGB), arXiv:2005.00687 (ODC-BY); edges in training only, official split",
        ("ogbl-collab", 235868, 2358104, 128, 0, "joint papers by year, word vectors"),
        ("ogbl-citation2", 2927963, 30387995, 128, 0, "papers, citations, word vectors"),
    ),
]

#: Facts by name, in the order in which they are listed to people.
DATASETS: dict[str, DatasetInfo] = {info.name: info for info in _ALL}


def dataset_names() -> tuple[str, ...]:
    """Names that :func:`~graphcl.data.load_dataset` knows."""
    return tuple(DATASETS)


def dataset_info(name: str) -> DatasetInfo:
    """Facts about the dataset called ``name``, upper and lower case alike.

    Raises:
        ValueError: If no dataset has this name. The message lists those that exist.

    Example:
        >>> dataset_info("Cora").protocols
        ('public', 'random10', 'bgrl20')
    """
    if not isinstance(name, str):
        raise TypeError(f"a dataset name must be a string, got {name!r}")
    wanted = name.strip().lower()
    if wanted in DATASETS:
        return DATASETS[wanted]
    near = difflib.get_close_matches(wanted, DATASETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown dataset {name!r}.{hint} Known datasets: {', '.join(DATASETS)}")
