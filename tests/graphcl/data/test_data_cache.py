import os
from pathlib import Path

import pytest

from graphcl.data.cache import processed_folder, whole_folder


def _raw(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_text(name * 10)
    return folder


def _fail_halfway(target: Path, error: type[BaseException]) -> None:
    with whole_folder(target) as part:
        (part / "file").write_text("half")
        raise error


class TestProcessedFolder:
    def test_stays_while_nothing_changes(self, tmp_path: Path, cache: Path) -> None:
        raw = _raw(tmp_path / "raw")
        folder = processed_folder("d", raw, ("a", "b"), "1")
        assert folder == processed_folder("d", tmp_path / "." / "raw", ("a", "b"), "1")
        assert folder.parent == cache / "processed"
        assert folder.name.startswith("d-")

    def test_changes_with_size_time_place_and_version(self, tmp_path: Path, cache: Path) -> None:
        raw, other = _raw(tmp_path / "raw"), _raw(tmp_path / "other")
        stat = (raw / "b").stat()
        folders = [processed_folder("d", raw, ("a", "b"), "1")]
        folders.append(processed_folder("d", raw, ("a", "b"), "2"))
        folders.append(processed_folder("d", other, ("a", "b"), "1"))
        (raw / "b").write_text("c" * 10)
        os.utime(raw / "b", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        folders.append(processed_folder("d", raw, ("a", "b"), "1"))
        (raw / "b").write_text("c" * 11)
        os.utime(raw / "b", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        folders.append(processed_folder("d", raw, ("a", "b"), "1"))
        assert len(set(folders)) == len(folders) == 5

    def test_a_link_leads_to_the_folder_of_its_target(self, tmp_path: Path, cache: Path) -> None:
        raw = _raw(tmp_path / "raw")
        (tmp_path / "link").symlink_to(raw, target_is_directory=True)
        names = ("a", "b")
        assert processed_folder("d", tmp_path / "link", names, "1") == processed_folder(
            "d", raw, names, "1"
        )


class TestWholeFolder:
    def test_appears_at_the_end_only(self, cache: Path) -> None:
        target = cache / "deep" / "target"
        with whole_folder(target) as part:
            (part / "file").write_text("x")
            assert not target.exists()
        assert (target / "file").read_text() == "x"
        assert [p.name for p in cache.rglob("*")] == ["deep", "target", "file"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_an_error_leaves_nothing(self, cache: Path, error: type[BaseException]) -> None:
        with pytest.raises(error):
            _fail_halfway(cache / "deep" / "target", error)
        assert list(cache.rglob("*")) == []

    def test_an_error_leaves_the_earlier_folder(self, cache: Path) -> None:
        target = cache / "target"
        target.mkdir(parents=True)
        (target / "file").write_text("old")
        with pytest.raises(RuntimeError):
            _fail_halfway(target, RuntimeError)
        assert (target / "file").read_text() == "old"
        assert os.listdir(cache) == ["target"]

    def test_the_first_to_end_wins(self, cache: Path) -> None:
        target = cache / "target"
        with whole_folder(target) as slow:
            with whole_folder(target) as fast:
                (fast / "file").write_text("fast")
            (slow / "file").write_text("slow")
        assert (target / "file").read_text() == "fast"
        assert os.listdir(cache) == ["target"]

    def test_a_cache_that_cannot_be_written_is_named(self, cache: Path) -> None:
        cache.write_text("a file in the way")
        with pytest.raises(OSError, match="GRAPHCL_CACHE") as caught, whole_folder(cache / "t"):
            pass
        assert str(cache) in str(caught.value)
        cache.unlink()

    def test_a_file_in_place_of_the_target_is_an_error(self, cache: Path) -> None:
        cache.mkdir()
        (cache / "target").write_text("in the way")
        with pytest.raises(OSError), whole_folder(cache / "target"):  # noqa: PT011
            pass
        assert os.listdir(cache) == ["target"]
