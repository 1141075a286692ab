import dataclasses
import re
import subprocess
import sys

import pytest
from torch_geometric.datasets import Amazon, CitationFull, Coauthor, KarateClub, Planetoid

from graphcl.data import DatasetInfo, dataset_info, dataset_names
from graphcl.data.hetero_graphs import HETERO_FILES
from graphcl.data.loading import BUILTIN_GRAPHS, PLAIN_FILES
from graphcl.data.pyg_datasets import PYG_SOURCES


def _documented_counts(text: str) -> dict[str, tuple[int, ...]]:
    """Rows of the table in the docstring of a PyG dataset, by the first cell in lower case."""
    rows = {}
    for block in text.split("* - ")[1:]:
        cells = [cell.strip() for cell in re.split(r"\n\s+- ", block)]
        if re.fullmatch(r"[\d,]+", cells[-1]):
            numbers = tuple(int(c.replace(",", "")) for c in cells if re.fullmatch(r"[\d,]+", c))
            rows[cells[0].lower()] = numbers
    return rows


@pytest.mark.parametrize(
    ("name", "dataset_class", "row"),
    [
        ("cora", Planetoid, "cora"),
        ("citeseer", Planetoid, "citeseer"),
        ("pubmed", Planetoid, "pubmed"),
        ("amazon-photo", Amazon, "photo"),
        ("amazon-computers", Amazon, "computers"),
        ("coauthor-cs", Coauthor, "cs"),
        ("coauthor-physics", Coauthor, "physics"),
        ("dblp-citation", CitationFull, "dblp"),
        ("cora-ml", CitationFull, "cora_ml"),
        ("karate", KarateClub, "34"),
    ],
)
def test_counts_are_those_in_pyg_tables(name: str, dataset_class: type, row: str) -> None:
    info = dataset_info(name)
    expected = _documented_counts(dataset_class.__doc__ or "")[row]
    assert (info.nodes, info.edges, info.features, info.classes) == expected


def test_every_dataset_has_exactly_one_reader() -> None:
    ogb = [name for name in dataset_names() if dataset_info(name).family == "ogb"]
    # ogbl-ddi also comes as one file.
    readers = [
        *BUILTIN_GRAPHS,
        *PYG_SOURCES,
        *PLAIN_FILES,
        *HETERO_FILES,
        *(set(ogb) - PLAIN_FILES.keys()),
    ]
    assert sorted(readers) == sorted(dataset_names())
    assert {n for n in dataset_names() if not dataset_info(n).needs_files} == set(BUILTIN_GRAPHS)


def test_default_protocols() -> None:
    default = {n: dataset_info(n).protocols[:1] for n in dataset_names()}
    assert {n for n, p in default.items() if p == ("public",)} == {
        "cora",
        "citeseer",
        "pubmed",
        "pyg-dblp",
        "pyg-imdb",
    }
    assert {n for n, p in default.items() if p == ("labels_per_class",)} == set(HETERO_FILES)
    assert {n for n, p in default.items() if p == ("wikics20",)} == {"wikics"}
    assert {n for n, p in default.items() if p == ()} == {
        "usair",
        "ns",
        "power",
        "ogbl-ddi",
        "ogbl-ppa",
        "ogbl-collab",
        "ogbl-citation2",
    }
    known = {("public",), ("wikics20",), ("random10",), ("labels_per_class",), ("ogb",), ()}
    assert set(default.values()) == known
    assert all(bool(dataset_info(n).protocols) == bool(dataset_info(n).classes) for n in default)


def test_names_ignore_case_and_surrounding_space() -> None:
    assert dataset_info(" Amazon-PHOTO ") is dataset_info("amazon-photo")


def test_unknown_name_lists_known_names_and_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'citeseer'") as caught:
        dataset_info("CiteSer")
    assert all(name in str(caught.value) for name in dataset_names())


@pytest.mark.parametrize("name", ["acm3025", "ogbl-biokg", "", "zzzzzz"])
def test_datasets_of_other_kinds_are_unknown_here(name: str) -> None:
    with pytest.raises(ValueError, match="Known datasets: digits, karate, cora"):
        dataset_info(name)


def test_a_name_must_be_a_string() -> None:
    with pytest.raises(TypeError, match="must be a string, got None"):
        dataset_info(None)  # type: ignore[arg-type]


def test_info_is_frozen() -> None:
    info = dataset_info("cora")
    assert isinstance(info, DatasetInfo)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.nodes = 1  # type: ignore[misc]


def test_import_is_light_and_load_dataset_is_found_on_demand() -> None:
    program = (
        "import sys, graphcl.data as d\n"
        "heavy = {'torch', 'torch_geometric', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'load_dataset' in dir(d) and d.dataset_info('cora').nodes == 2708\n"
        "try: d.nonsense\n"
        "except AttributeError as error: assert 'nonsense' in str(error)\n"
        "else: raise SystemExit('no AttributeError')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
