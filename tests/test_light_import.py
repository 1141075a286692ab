"""Importing a package loads nothing that has not been asked for."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import graphcl
import kge

HEAVY = ("torch_geometric", "ogb", "pykeen", "triton", "lightning", "sklearn", "pandas")

MEASURE = """
import json, sys, time
started = time.perf_counter()
import {package}
seconds = time.perf_counter() - started
print(json.dumps([seconds, sorted(sys.modules)]))
"""


def fresh(package: str) -> tuple[float, set[str]]:
    """Seconds and loaded modules of an import in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(package=package)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("package", ["graphcl", "kge"])
def test_the_packages_are_there_at_once(package: str) -> None:
    runs = [fresh(package) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.3
    for _, loaded in runs:
        assert not loaded & {*HEAVY, "torch", "numpy"}


def test_the_ground_floor_loads_torch_and_no_more() -> None:
    _, loaded = fresh("graphcl.kernels, graphcl.ranking")
    assert "torch" in loaded
    # What torch itself brings along (NumPy, or Triton beside CUDA) is not ours.
    assert not loaded & set(HEAVY) - fresh("torch")[1]


def test_the_command_line_helps_without_torch() -> None:
    _, loaded = fresh("graphcl.cli.app")
    assert not loaded & {*HEAVY, "torch"}


def packages() -> list[str]:
    found = []
    for top in (graphcl, kge):
        walked = pkgutil.walk_packages(top.__path__, f"{top.__name__}.")
        found += [top.__name__, *(module.name for module in walked if module.ispkg)]
    return found


@pytest.mark.parametrize("name", packages())
def test_every_public_name_resolves(name: str) -> None:
    package = importlib.import_module(name)
    public = getattr(package, "__all__", [])
    assert len(set(public)) == len(public)
    for member in public:
        assert getattr(package, member) is not None, f"{name}.{member}"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = package.Nothing


@pytest.mark.parametrize("name", packages())
def test_public_names_are_listed_for_completion(name: str) -> None:
    package = importlib.import_module(name)
    assert set(getattr(package, "__all__", [])) <= set(dir(package))
