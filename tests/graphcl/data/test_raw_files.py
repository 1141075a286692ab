from pathlib import Path

import pytest

from graphcl.data.raw_files import RawFiles, absent_files_error, downloads_root, find_raw_files
from graphcl.data.roots import cache_root, data_root

RAW = RawFiles("Family/Name/raw", ("a.txt", "b.txt"))


def _put(root: Path, *names: str, folder: str = RAW.folder, text: str = "full") -> Path:
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / name).write_text(text)
    return place


@pytest.mark.usefixtures("cache")
class TestFindRawFiles:
    def test_root_comes_before_downloads(self, root: Path) -> None:
        downloaded = _put(downloads_root(), "a.txt", "b.txt")
        assert find_raw_files("d", RAW, root) == downloaded
        own = _put(root, "a.txt", "b.txt")
        assert find_raw_files("d", RAW, root) == own

    def test_no_file_anywhere_gives_none(self, root: Path) -> None:
        assert find_raw_files("d", RAW, root) is None
        _put(root, "notes.txt")
        assert find_raw_files("d", RAW, root) is None
        assert find_raw_files("d", RAW, root / "absent") is None

    @pytest.mark.parametrize("folder", ["family/NAME/raw", "FAMILY/Name/RAW"])
    def test_folders_match_without_regard_to_case(self, root: Path, folder: str) -> None:
        assert find_raw_files("d", RAW, root) is None
        place = _put(root, "a.txt", "b.txt", folder=folder)
        found = find_raw_files("d", RAW, root)
        assert found is not None
        assert found.samefile(place)

    def test_exact_case_is_preferred(self, root: Path) -> None:
        exact = _put(root, "a.txt", "b.txt")
        _put(root, "a.txt", "b.txt", folder="Family/NAME/raw")
        assert find_raw_files("d", RAW, root) == exact

    def test_some_files_are_an_error_even_if_all_were_downloaded(self, root: Path) -> None:
        _put(downloads_root(), "a.txt", "b.txt")
        place = _put(root, "a.txt")
        with pytest.raises(FileNotFoundError, match=r"missing or empty: b\.txt\.") as caught:
            find_raw_files("d", RAW, root)
        assert "'d' is incomplete" in str(caught.value)
        assert str(place) in str(caught.value)

    def test_an_empty_file_counts_as_missing(self, root: Path) -> None:
        _put(root, "a.txt")
        _put(root, "b.txt", text="")
        with pytest.raises(FileNotFoundError, match=r"1 of its 2 files, missing or empty: b\.txt"):
            find_raw_files("d", RAW, root)

    def test_some_downloaded_files_are_an_error(self, root: Path) -> None:
        _put(downloads_root(), "b.txt")
        with pytest.raises(FileNotFoundError, match=r"missing or empty: a\.txt"):
            find_raw_files("d", RAW, root)

    def test_absent_files_error_names_files_and_places(self, root: Path, cache: Path) -> None:
        text = str(absent_files_error("d", RAW, root, "so on"))
        for part in (
            "'d'",
            str(root / RAW.folder),
            str(cache / "raw" / RAW.folder),
            "a.txt, b.txt",
        ):
            assert part in text
        assert text.endswith("so on")


class TestRoots:
    def test_argument_then_environment_then_home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = Path("~/.cache/graphcl-kge").expanduser()
        monkeypatch.setenv("GRAPHCL_DATA", str(tmp_path))
        assert data_root() == tmp_path
        assert data_root(str(tmp_path / "other")) == tmp_path / "other"
        monkeypatch.setenv("GRAPHCL_DATA", "")
        assert data_root() == home
        monkeypatch.delenv("GRAPHCL_DATA")
        assert data_root() == home
        assert data_root("~/graphs") == Path("~/graphs").expanduser()

    def test_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path))
        assert cache_root() == tmp_path
        monkeypatch.delenv("GRAPHCL_CACHE")
        assert cache_root() == Path("~/.cache/graphcl-kge").expanduser()

    def test_a_file_is_no_root(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(NotADirectoryError, match="must be a folder"):
            data_root(tmp_path / "file")
