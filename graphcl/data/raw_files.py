"""Find the raw files of a dataset: all of them from one folder, or a clear error."""

from dataclasses import dataclass
from pathlib import Path

from graphcl.data.roots import cache_root


@dataclass(frozen=True)
class RawFiles:
    """Names of a dataset's raw files, and their folder below a root, parts joined by ``/``."""

    folder: str
    names: tuple[str, ...]

    def missing_from(self, folder: Path) -> list[str]:
        """Names that are absent from ``folder``, or empty there as after a broken copy."""
        return [n for n in self.names if not _is_filled(folder / n)]


def downloads_root() -> Path:
    """Root of the files downloaded by this package, laid out like any other root."""
    return cache_root() / "raw"


def find_raw_files(dataset: str, raw: RawFiles, root: Path) -> Path | None:
    """Folder with all raw files, under ``root`` or else among earlier downloads.

    Returns:
        The folder, or ``None`` if neither place has any of the files.

    Raises:
        FileNotFoundError: If a place has some of the files but not all. A second place is not
            asked then, since files of two sources may not belong together.
    """
    for place in (root, downloads_root()):
        folder = _existing_folder(place, raw.folder)
        missing = raw.missing_from(folder)
        if not missing:
            return folder
        if len(missing) < len(raw.names):
            raise FileNotFoundError(
                f"dataset {dataset!r} is incomplete: {folder} has "
                f"{len(raw.names) - len(missing)} of its {len(raw.names)} files, missing or empty: "
                f"{', '.join(missing)}. Nothing was downloaded, because files of two sources may "
                f"not belong together. Put the missing file(s) there, or use a root without this "
                f"folder to take the whole dataset from one source."
            )
    return None


def absent_files_error(dataset: str, raw: RawFiles, root: Path, reason: str) -> FileNotFoundError:
    """Error for a dataset of which no file exists, saying where it was looked for and what to do.

    ``reason`` ends the sentence "The files were not found, and".
    """
    places = dict.fromkeys(str(place / raw.folder) for place in (root, downloads_root()))
    return FileNotFoundError(
        f"dataset {dataset!r} has no raw files in {' or '.join(places)}. It needs "
        f"{', '.join(raw.names)}. The files were not found, and {reason}"
    )


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _existing_folder(root: Path, folder: str) -> Path:
    """``root / folder``, with each part matched without regard to case where none fits exactly."""
    path = root
    for part in folder.split("/"):
        exact = path / part
        if not exact.is_dir() and path.is_dir():
            alike = [p for p in path.iterdir() if p.name.lower() == part.lower() and p.is_dir()]
            exact = min(alike, default=exact)
        path = exact
    return path
