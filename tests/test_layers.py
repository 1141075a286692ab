"""Which package may import which: the floors of the house, read from the source.

Imports at the head of a module, imports inside functions, and modules that are named in a string
(handed to ``import_module``, or listed for loading on first use) all count as arrows. Imports for
type checkers alone count as arrows too, but not in the search for cycles.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

KERNELS = {"graphcl.kernels"}
RANKING = {"graphcl.ranking", *KERNELS}
LOSSES = {"graphcl.losses", "graphcl.weights", *RANKING}
BASE = {"graphcl.views", "graphcl.encoders", "graphcl.data", "graphcl.probes"}
EXTRAS = {"graphcl.community", "graphcl.metapaths", "graphcl.pot"}
METHODS = {"graphcl.methods", "graphcl.hetero", "graphcl.minibatch"}

# Package -> packages below it that it may import; a package may always import itself.
ALLOWED: dict[str, set[str]] = {
    "graphcl.version": set(),
    "graphcl.kernels": set(),
    "graphcl.ranking": KERNELS,
    "graphcl.losses": RANKING | {"graphcl.pot", "graphcl.weights"},
    "graphcl.weights": RANKING,
    "graphcl.views": KERNELS,
    "graphcl.encoders": KERNELS,
    "graphcl.data": LOSSES,
    "graphcl.probes": LOSSES,
    "graphcl.community": LOSSES | BASE,
    "graphcl.metapaths": LOSSES | BASE,
    "graphcl.pot": KERNELS | {"graphcl.views", "graphcl.encoders"},
    "graphcl.links": LOSSES | BASE,
    "graphcl.minibatch": LOSSES | BASE | {"graphcl.community"},
    "graphcl.hetero": LOSSES | BASE | EXTRAS,
    "graphcl.methods": LOSSES | BASE | EXTRAS | {"graphcl.hetero"},
    "graphcl.train": LOSSES | BASE | EXTRAS | METHODS,
    "graphcl.cli": LOSSES | BASE | EXTRAS | METHODS | {"graphcl.train"},
    "kge": RANKING,
}
# What the ground floor may import from outside; "torch" and the standard library.
GROUND = ("graphcl.kernels", "graphcl.ranking")
# What one module uses where it is installed, imported when a function is called.
LEAVES = {
    "graphcl.kernels.segments": {"torch_scatter"},
    "graphcl.ranking.ogb_files": {"numpy"},
}
# Kernels written in Triton import it at their head; nothing but each other imports them there.
TRITON = {
    f"graphcl.kernels.triton_{name}"
    for name in ("launch", "logsumexp", "pairs", "rank_fold", "ranks", "segments", "tiles")
}
FRONT_DOORS = {"graphcl", "graphcl.__main__"}  # these only hand names on


class Arrow(NamedTuple):
    """One import."""

    source: str
    target: str
    line: int
    at_import: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(p): p for top in ("graphcl", "kge") for p in (ROOT / top).rglob("*.py")}


def room(module: str) -> str:
    """Package of the table that a module belongs to."""
    parts = module.split(".")
    return parts[0] if parts[0] == "kge" else ".".join(parts[:2])


def ours(name: str) -> bool:
    return name.split(".")[0] in ("graphcl", "kge")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def walk(node: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes, and whether they run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        later = lazy or is_type_checking(child)
        yield child, at_import
        yield from walk(child, at_import and not later)


def imported(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Full names that an import statement asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = module.split(".")
            parents = parents[: len(parents) - node.level + is_package]
            base = ".".join([*parents, *([base] if base else [])])
        # `from package import name` may mean a module of the package.
        yield from (f"{base}.{alias.name}" for alias in node.names)


def arrows_of(module: str, tree: ast.AST, is_package: bool, known: set[str]) -> Iterator[Arrow]:
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    named = {name for name in known if "." in name}
    for node, at_import in walk(tree):
        line = getattr(node, "lineno", 0)
        for name in imported(node, module, is_package):
            if not ours(name):
                target = name.partition(".")[0]
            else:
                target = name if name in known else name.rpartition(".")[0]
            yield Arrow(module, target, line, at_import)
        if isinstance(node, ast.Constant) and node.value in named and id(node) not in documented:
            yield Arrow(module, node.value, line, at_import=False)


def all_arrows() -> list[Arrow]:
    known = set(FILES)
    found: list[Arrow] = []
    for module, path in FILES.items():
        tree = ast.parse(path.read_text(), str(path))
        found += arrows_of(module, tree, path.name == "__init__.py", known)
    return found


ARROWS = all_arrows()


def forbidden(arrows: list[Arrow]) -> list[str]:
    """Arrows between rooms that the table does not allow."""
    wrong = []
    for source, target, line, _ in arrows:
        if source in FRONT_DOORS and target.startswith("graphcl"):
            continue
        here, there = room(source), room(target)
        # The version is a leaf that every room of graphcl above the ground floor may read.
        below = ALLOWED.get(here, set())
        if here not in (*GROUND, "kge"):
            below = {*below, "graphcl.version"}
        if ours(target) and there != here and there not in below:
            wrong.append(f"{source}:{line} imports {target}")
    return wrong


def cycles(arrows: list[Arrow]) -> list[list[str]]:
    """Groups of modules that import each other when they are imported (Tarjan's algorithm)."""
    graph: dict[str, set[str]] = {}
    for source, target, _, at_import in arrows:
        if at_import and ours(target):
            graph.setdefault(source, set()).add(target)
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for target in sorted(graph.get(module, ())):
            if target not in number:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], number[target])
        if low[module] == number[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1 or module in graph.get(module, ()):
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return found


def test_every_package_has_its_place_in_the_table() -> None:
    rooms = {room(module) for module in FILES} - FRONT_DOORS
    assert rooms <= ALLOWED.keys(), "say in ALLOWED which packages the new one may import"


def test_the_table_has_no_cycle_itself() -> None:
    arrows = [Arrow(a, b, 0, True) for a, below in ALLOWED.items() for b in below]
    assert not cycles(arrows)


def test_arrows_point_down_only() -> None:
    assert not forbidden(ARROWS)


def test_graphcl_never_imports_kge() -> None:
    wrong = [a for a in ARROWS if a.source.startswith("graphcl") and room(a.target) == "kge"]
    assert not wrong


def test_kge_imports_the_ground_floor_alone() -> None:
    targets = {a.target for a in ARROWS if a.source.split(".")[0] == "kge"}
    assert {room(t) for t in targets if t.split(".")[0] == "graphcl"} <= set(GROUND)


def test_the_ground_floor_needs_torch_alone() -> None:
    for source, target, line, at_import in ARROWS:
        if room(source) in GROUND and not ours(target):
            late = set() if at_import else LEAVES.get(source, set())
            allowed = {"torch", *sys.stdlib_module_names, *late}
            if source in TRITON:
                allowed.add("triton")
            assert target in allowed, f"{source}:{line} imports {target}"


def test_triton_is_imported_only_when_it_is_used() -> None:
    wrong = [a for a in ARROWS if a.target in TRITON and a.at_import and a.source not in TRITON]
    assert not wrong


def test_no_module_imports_itself_in_a_circle() -> None:
    assert not cycles(ARROWS)


def test_inner_modules_do_not_import_the_package_root() -> None:
    wrong = [a for a in ARROWS if a.target in ("graphcl", "kge") and a.source not in FRONT_DOORS]
    assert not wrong


SAMPLE = '''
"""graphcl.methods.grace in a docstring is no arrow."""
import torch
from typing import TYPE_CHECKING
from graphcl.kernels import negatives
from ..kernels.tiles import blocks
if TYPE_CHECKING:
    from graphcl.methods.method import GraphMethod
HOMES = {"GRACE": "graphcl.methods.grace"}
def late():
    """graphcl.methods.bgrl"""
    import kge
    from graphcl.data.files import read_json
class Early:
    import graphcl.views.edges
'''


def test_the_reader_sees_every_kind_of_import() -> None:
    known = {*FILES, "graphcl.views.edges"}
    tree = ast.parse(SAMPLE)
    found = list(arrows_of("graphcl.losses.sample", tree, False, known))
    targets = {a.target: a.at_import for a in found}
    assert targets == {
        "torch": True,
        "typing": True,
        "graphcl.kernels.negatives": True,
        "graphcl.kernels.tiles": True,
        "graphcl.methods.method": False,
        "graphcl.methods.grace": False,
        "kge": False,
        "graphcl.data.files": False,
        "graphcl.views.edges": True,
    }
    wrong = {line.split()[-1] for line in forbidden(found)}
    assert wrong == {
        "graphcl.methods.method",
        "graphcl.methods.grace",
        "kge",
        "graphcl.data.files",
        "graphcl.views.edges",
    }


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ("ab bc", []),
        ("ab ba", [["graphcl.a", "graphcl.b"]]),
        ("ab bc ca cd", [["graphcl.a", "graphcl.b", "graphcl.c"]]),
        ("aa ab", [["graphcl.a"]]),
    ],
)
def test_the_search_finds_cycles(edges: str, found: list[list[str]]) -> None:
    arrows = [Arrow(f"graphcl.{a}", f"graphcl.{b}", 0, True) for a, b in edges.split()]
    assert cycles(arrows) == found
    assert not cycles([arrow._replace(at_import=False) for arrow in arrows])
