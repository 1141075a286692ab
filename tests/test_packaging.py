"""What goes into the distribution, and what must not be in the repository."""

import re
import shutil
import subprocess
import tomllib
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest

from graphcl.version import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_only_the_two_packages_are_installed(project: dict[str, Any]) -> None:
    setuptools = pytest.importorskip("setuptools")
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert include == ["graphcl*", "kge*"]
    found = setuptools.find_packages(str(ROOT), include=include)
    assert {name.partition(".")[0] for name in found} == {"graphcl", "kge"}
    # Every folder with modules is a package, or it would be missing from the distribution.
    for top in ("graphcl", "kge"):
        for path in (ROOT / top).rglob("*.py"):
            name = ".".join(path.parent.relative_to(ROOT).parts)
            assert name in found, f"{path.parent} has no __init__.py"


def test_data_files_are_packaged(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]
    for package, names in patterns.items():
        for pattern in names:
            assert list((ROOT / package).glob(pattern)), f"{package}: {pattern} names no file"
    recipes = resources.files("graphcl").joinpath("recipes")
    assert any(entry.name.endswith(".toml") for entry in recipes.iterdir())


def test_one_version(project: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([abrc.]+\w+)?", __version__)
    assert project["project"]["dynamic"] == ["version"]
    source = project["tool"]["setuptools"]["dynamic"]["version"]
    assert source == {"attr": "graphcl.version.__version__"}
    try:
        installed = metadata.version("graphcl-kge")
    except metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed")
    assert installed == __version__


def test_commands_exist(project: dict[str, Any]) -> None:
    scripts = project["project"]["scripts"]
    assert "graphcl" in scripts
    for target in scripts.values():
        assert callable(metadata.EntryPoint("command", target, "console_scripts").load())


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip(f"git cannot read this checkout: {listed.stderr.strip()}")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


# Absolute paths of somebody's machine; written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.$~/-])/(?:work|root|home|Users|mnt|workspace)/\w|[A-Z]:\\Users")


def test_the_pattern_finds_paths_of_a_machine() -> None:
    for top in ("work", "root", "home", "Users"):
        assert MACHINE_PATH.search(f'path = "/{top}/someone/data"')
        assert not MACHINE_PATH.search(f"https://example.org/{top}/x")
    for harmless in ("../shared/data", "~/.cache/x", "a / work / b"):
        assert not MACHINE_PATH.search(harmless)


def test_no_path_of_a_machine_is_tracked() -> None:
    found = []
    for path in tracked():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}"
            for number, line in enumerate(lines, 1)
            if MACHINE_PATH.search(line)
        ]
    assert not found


def test_no_product_of_a_run_is_tracked() -> None:
    kinds = {".ckpt", ".npz", ".pyc", ".pt", ".pkl"}
    assert not [path for path in tracked() if path.suffix in kinds]
