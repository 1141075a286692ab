"""Knowledge graphs from files: union of entities, PyKEEN's convention, errors that name lines."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

Splits = dict[str, str]

_SMALL: Splits = {
    "train": "a\tlikes\tb\nb\tlikes\tc\na\tknows\tc\n",
    "valid": "a\tlikes\tc\n",
    "test": "b\tknows\tc\nz\tlikes\ta\n",
}


def _write(folder: Path, splits: Splits | None = None, **more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**_SMALL, **(splits or {})}.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    for name, text in more.items():
        (folder / f"{name}.tsv").write_bytes(text.encode())
    return folder


def _labels(factory) -> set[tuple[str, str, str]]:
    return {tuple(row) for row in factory.label_triples(factory.mapped_triples).tolist()}


class TestConventions:
    def test_union_keeps_every_triple(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        graph = load_dataset(_write(tmp_path))
        assert graph.entity_to_id == {"a": 0, "b": 1, "c": 2, "z": 3}
        assert graph.relation_to_id == {"knows": 0, "likes": 1}
        assert _labels(graph.testing) == {("b", "knows", "c"), ("z", "likes", "a")}
        assert graph.report.unseen == {"train": 0, "valid": 0, "test": 1}
        assert graph.convention == "entities of all splits (4), no triple dropped"
        for factory in (graph.training, graph.validation, graph.testing):
            assert factory.num_entities == 4
            assert factory.num_relations == 2

    def test_drop_is_what_pykeen_does(self, tmp_path: Path) -> None:
        from pykeen.triples import TriplesFactory

        from kge.datasets import load_dataset

        graph = load_dataset(_write(tmp_path), unseen="drop")
        training = TriplesFactory.from_path(tmp_path / "train.txt")
        testing = TriplesFactory.from_path(
            tmp_path / "test.txt",
            entity_to_id=training.entity_to_id,
            relation_to_id=training.relation_to_id,
        )
        assert graph.training == training
        assert graph.testing == testing
        assert len(graph.testing.mapped_triples) == 1
        assert graph.report.dropped == {"train": 0, "valid": 0, "test": 1}
        assert "PyKEEN's own: dropped 0 of valid, 1 of test" in graph.convention

    def test_relation_unseen_in_training(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        folder = _write(tmp_path, {"valid": "a\thates\tb\na\tlikes\tc\n"})
        assert load_dataset(folder).num_relations == 3
        assert load_dataset(folder, unseen="drop").report.dropped["valid"] == 1

    @pytest.mark.parametrize("name", ["Nations", "kinships", "UMLS"])
    def test_bundled_graphs_are_pykeens(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pykeen.datasets import dataset_resolver

        from kge.datasets import load_dataset

        monkeypatch.setenv("GRAPHCL_DATA", str(tmp_path))
        ours, theirs = load_dataset(name), dataset_resolver.make(name)
        for split in ("training", "validation", "testing"):
            assert getattr(ours, split) == getattr(theirs, split)
            mine, other = getattr(ours, split), getattr(theirs, split)
            assert torch.equal(mine.mapped_triples, other.mapped_triples)

    @pytest.mark.real_data
    @pytest.mark.spec(36)
    def test_wn18rr_keeps_what_pykeen_drops(self, data_root: Path) -> None:
        from pykeen.triples import TriplesFactory

        from kge.datasets import load_dataset

        graph = load_dataset("wn18rr", data_root)
        splits = (graph.training, graph.validation, graph.testing)
        assert [factory.num_triples for factory in splits] == [86835, 3034, 3134]
        assert (graph.num_entities, graph.num_relations) == (40943, 11)
        assert graph.report.unseen["test"] == 210
        assert not any(graph.report.duplicates.values())
        assert not any(graph.report.leaks.values())
        assert graph.report.without_text == {"entities": 0, "relations": 0}
        assert graph.entity_texts[0].startswith("take a breath: ")

        own = load_dataset("WN18RR", data_root, unseen="drop")
        assert (own.num_entities, own.testing.num_triples) == (40559, 2924)
        folder = data_root / "KG" / "WN18RR"
        training = TriplesFactory.from_path(folder / "train.txt")
        testing = TriplesFactory.from_path(
            folder / "test.txt",
            entity_to_id=training.entity_to_id,
            relation_to_id=training.relation_to_id,
        )
        assert own.training == training
        assert own.testing == testing

    def test_inverse_triples_are_for_training(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        graph = load_dataset(_write(tmp_path), create_inverse_triples=True)
        assert graph.create_inverse_triples
        assert graph.num_relations == 4
        assert not graph.testing.create_inverse_triples

    def test_unknown_convention(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        with pytest.raises(ValueError, match="keep or drop, got 'ignore'"):
            load_dataset(_write(tmp_path), unseen="ignore")  # type: ignore[arg-type]


class TestReport:
    def test_duplicates_and_leaks_are_stated(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        folder = _write(
            tmp_path,
            {
                "train": _SMALL["train"] + "a\tlikes\tb\n" * 2,
                "test": "a\tlikes\tb\na\tlikes\tc\nb\tknows\tc\n",
            },
        )
        graph = load_dataset(folder)
        assert graph.report.duplicates == {"train": 2, "valid": 0, "test": 0}
        assert graph.report.leaks == {
            ("train", "valid"): 0,
            ("train", "test"): 1,
            ("valid", "test"): 1,
        }
        assert graph.training.num_triples == 3
        assert graph.testing.num_triples == 3
        summary = graph.summary_str()
        assert "2 repeated train triples: left out" in summary
        assert "1 test triples are in train as well: kept" in summary
        assert "Convention: entities of all splits" in summary
        assert graph.convention in repr(graph)

    def test_texts_by_id(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        folder = _write(
            tmp_path,
            entities="z\tZed\ta last letter\na\tAy\nb\t\t\nunused\tNobody\n",
            relations="likes\tis fond of\nloves\tadores\n",
        )
        graph = load_dataset(folder)
        assert graph.entity_names == ["Ay", "b", "c", "Zed"]
        assert graph.entity_descriptions == ["", "", "", "a last letter"]
        assert graph.entity_texts == ["Ay", "b", "c", "Zed: a last letter"]
        assert graph.relation_names == ["knows", "is fond of"]
        assert graph.report.without_facts == {"entities": 1, "relations": 1}
        assert graph.report.without_text == {"entities": 2, "relations": 1}
        summary = graph.summary_str()
        assert "1 listed relations without facts: left out" in summary
        assert "2 entities without a name: label used" in summary

    def test_without_texts_labels_stand_in(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        assert load_dataset(_write(tmp_path)).entity_texts == ["a", "b", "c", "z"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("bad", "line"),
        [
            ("a\tlikes\n", 4),
            ("a\tlikes\tb\tc\n", 4),
            ("a b c\n", 4),
            ("\n\nx\ty\tz\n", 4),
            ("a\t\tb\n", 4),
            ("a\tlikes\tb\n\ta\tb\n", 5),
        ],
    )
    def test_malformed_triples(self, bad: str, line: int, tmp_path: Path) -> None:
        from kge.datasets import MalformedFile, load_dataset

        folder = _write(tmp_path, {"train": _SMALL["train"] + bad})
        with pytest.raises(MalformedFile, match=f"train.txt, line {line}: expected head") as error:
            load_dataset(folder)
        assert error.value.line == line
        assert error.value.path == folder / "train.txt"

    def test_not_utf8(self, tmp_path: Path) -> None:
        from kge.datasets import MalformedFile, load_dataset

        folder = _write(tmp_path)
        (folder / "test.txt").write_bytes(b"a\tlikes\tb\nb\tlikes\tcaf\xe9\n")
        with pytest.raises(MalformedFile, match=r"test.txt, line 2: not UTF-8"):
            load_dataset(folder)

    def test_malformed_texts(self, tmp_path: Path) -> None:
        from kge.datasets import MalformedFile, load_dataset

        with pytest.raises(MalformedFile, match=r"entities.tsv, line 2: entity 'a' is named a sec"):
            load_dataset(_write(tmp_path / "1", entities="a\tAy\na\tBee\n"))
        with pytest.raises(MalformedFile, match=r"entities.tsv, line 1: expected entity, name"):
            load_dataset(_write(tmp_path / "2", entities="a\tAy\tletter\tmore\n"))
        with pytest.raises(MalformedFile, match=r"relations.tsv, line 1: expected relation"):
            load_dataset(_write(tmp_path / "3", relations="\tnothing\n"))

    @pytest.mark.parametrize("split", ["train", "valid", "test"])
    def test_empty_split(self, split: str, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        with pytest.raises(ValueError, match=f"{split}.txt holds no triples"):
            load_dataset(_write(tmp_path, {split: "\n"}))

    def test_nothing_left_of_a_split(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        folder = _write(tmp_path, {"test": "y\tlikes\tz\n"})
        assert load_dataset(folder).testing.num_triples == 1
        with pytest.raises(ValueError, match="leaves none"):
            load_dataset(folder, unseen="drop")

    def test_relations_that_look_inverse(self, tmp_path: Path) -> None:
        from kge.datasets import MalformedFile, load_dataset

        folder = _write(tmp_path, {"valid": "a\tlikes\tb\nb\tlikes_inverse\ta\n"})
        with pytest.raises(MalformedFile, match=r"valid.txt, line 2: relation 'likes_inverse'"):
            load_dataset(folder)

    def test_missing_files_and_names(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        folder = _write(tmp_path / "graph")
        (folder / "valid.txt").unlink()
        with pytest.raises(FileNotFoundError, match=r"graph has no valid.txt"):
            load_dataset(folder)
        with pytest.raises(
            FileNotFoundError, match=r"no graph 'fb15k': .*graph, kinships, nations"
        ):
            load_dataset("fb15k", tmp_path)
        with pytest.raises(FileNotFoundError, match="neither a directory"):
            load_dataset(tmp_path / "absent")

    def test_other_line_ends_and_marks(self, tmp_path: Path) -> None:
        from kge.datasets import load_dataset

        folder = _write(
            tmp_path,
            {
                "train": "\ufeff" + _SMALL["train"].replace("\n", "\r\n"),
                "valid": "a\tlikes\tc\u2028d\x0b",  # these end no line
            },
        )
        graph = load_dataset(folder)
        assert graph.training.num_triples == 3
        assert set(graph.entity_to_id) == {"a", "b", "c", "z", "c\u2028d\x0b"}


class TestNames:
    def test_names_under_a_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from kge.datasets import dataset_folders, find_folder, load_dataset

        inner, outer = _write(tmp_path / "KG" / "My-Graph"), _write(tmp_path / "Other")
        _write(tmp_path / "my-graph")
        (tmp_path / "KG" / "empty").mkdir()
        (tmp_path / "KG" / "README").write_text("")
        assert list(dataset_folders(tmp_path)) == [
            "my-graph",
            "other",
            "kinships",
            "nations",
            "umls",
        ]
        assert find_folder("mygraph", tmp_path) == inner
        assert find_folder("OTHER", tmp_path) == outer
        assert find_folder(str(outer)) == outer
        monkeypatch.setenv("GRAPHCL_DATA", str(tmp_path))
        assert load_dataset("my-graph").folder == inner
        assert load_dataset("my-graph").get_normalized_name() == "mygraph"

    def test_a_path_is_not_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from kge.datasets import find_folder

        _write(tmp_path / "nations")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GRAPHCL_DATA", str(tmp_path / "absent"))
        assert find_folder(f".{os.sep}nations").resolve() == (tmp_path / "nations").resolve()
        assert find_folder(Path("nations")).resolve() == (tmp_path / "nations").resolve()
        assert "pykeen" in find_folder("nations").parts

    def test_default_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from kge.datasets import data_root

        monkeypatch.delenv("GRAPHCL_DATA", raising=False)
        assert data_root() == Path("~/.cache/graphcl-kge").expanduser()
        monkeypatch.setenv("GRAPHCL_DATA", "somewhere")
        assert data_root() == Path("somewhere")
        assert data_root("here") == Path("here")


class TestInPyKEEN:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        import pykeen.datasets.utils

        import kge
        import kge.union_dataset

        kge.register()
        place = tmp_path / "pykeen"
        monkeypatch.setattr(pykeen.datasets.utils, "PYKEEN_DATASETS", place)
        monkeypatch.setattr(kge.union_dataset, "PYKEEN_DATASETS", place)
        return place

    def test_by_name(self, cache: Path, tmp_path: Path) -> None:
        from pykeen.datasets import get_dataset

        arguments = {"name": str(_write(tmp_path / "graph")), "create_inverse_triples": True}
        first = get_dataset(dataset="union", dataset_kwargs=arguments)
        again = get_dataset(dataset="union", dataset_kwargs=arguments)
        assert first == again
        assert again.create_inverse_triples
        assert again.num_relations == 4
        assert again.convention == first.convention

    def test_pykeens_cache_is_never_stale(self, cache: Path, tmp_path: Path) -> None:
        from pykeen.datasets import get_dataset

        folder = _write(tmp_path / "graph")
        arguments = {"name": str(folder)}
        assert get_dataset(dataset="union", dataset_kwargs=arguments).num_entities == 4
        assert any(cache.rglob("metadata.pth"))
        _write(folder, {"train": _SMALL["train"] + "new\tlikes\ta\n"})
        assert get_dataset(dataset="union", dataset_kwargs=arguments).num_entities == 5

    def test_a_saved_copy_stays_as_it_was(self, cache: Path, tmp_path: Path) -> None:
        from kge.datasets import UnionDataset, load_dataset

        folder = _write(tmp_path / "graph")
        graph = load_dataset(folder)
        graph.to_directory_binary(tmp_path / "saved")
        _write(folder, {"train": _SMALL["train"] + "new\tlikes\ta\n"})
        saved = UnionDataset.from_directory_binary(tmp_path / "saved")
        assert saved == graph
        assert saved.metadata["convention"] == "keep unseen"

    def test_an_unfinished_copy_is_refused_and_none_is_left_behind(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pykeen.datasets import get_dataset
        from pykeen.triples import TriplesFactory

        arguments = {"name": str(_write(tmp_path / "graph"))}
        store = TriplesFactory.to_path_binary

        def killed(self: Any, path: Any) -> Any:
            store(self, path)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(TriplesFactory, "to_path_binary", killed)
            with pytest.raises(KeyboardInterrupt):
                get_dataset(dataset="union", dataset_kwargs=arguments)
        assert not [path for path in cache.rglob("*") if path.is_file()]
        assert get_dataset(dataset="union", dataset_kwargs=arguments).num_entities == 4
        (place,) = cache.rglob("metadata.pth")
        place.unlink()
        with pytest.raises(ValueError, match="left unfinished: remove that folder"):
            get_dataset(dataset="union", dataset_kwargs=arguments)

    def test_listing_data_sets_still_works(self, cache: Path) -> None:
        from pykeen.datasets.utils import iter_dataset_classes

        names = [name for name, _ in iter_dataset_classes(use_tqdm=False, regex_name_filter="u")]
        assert {"umls", "union"} <= set(names)
