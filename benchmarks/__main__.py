"""``python -m benchmarks list | run CASE [--json FILE] | report``."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from graphcl.data.files import read_json, replacing, write_json
from graphcl.train.environment import environment

CASES = (
    "accuracy",
    "graph_methods",
    "infonce",
    "kg_negatives",
    "kg_quality",
    "kg_ranking",
    "kg_samplers",
    "kg_throughput",
    "lightning_overhead",
    "ogb_ranking",
    "pamc",
    "pamc_step",
    "pot",
    "segments",
)
RESULTS = Path(__file__).parent / "results"
MARKED = re.compile(r"(<!-- measured(?:: ([a-z_ ]+))? -->\n).*?(?=<!-- /measured -->)", re.DOTALL)
"""Where tables go in a text: all of them, or those of the cases that the first mark names."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the cases")
    reporting = commands.add_parser("report", help="tables of the committed results, as Markdown")
    reporting.add_argument(
        "--charts", type=Path, help="draw the cases that have one into this folder, as PNG"
    )
    reporting.add_argument(
        "--into",
        type=Path,
        nargs="+",
        default=[],
        help="put them between <!-- measured: CASES --> (all without cases) and <!-- /measured --> "
        "of these files",
    )
    running = commands.add_parser("run", help="measure one case")
    cases = running.add_subparsers(dest="case", required=True)
    for name in CASES:
        case = _case(name)
        sub = cases.add_parser(name, help=_line(case))
        sub.add_argument("--json", type=Path, help="also write the result here")
        sub.add_argument(
            "--matmul-precision",
            choices=("highest", "high", "medium"),
            default="highest",
            help="of float32 products, see torch.set_float32_matmul_precision",
        )
        case.arguments(sub)
    options = parser.parse_args()
    console = Console()
    if options.command == "list":
        for name in CASES:
            console.print(f"{name:20} {_line(_case(name))}", soft_wrap=True, highlight=False)
    elif options.command == "report":
        if options.charts:
            charts(options.charts)
        written = {file: with_tables(file.read_text()) for file in options.into}
        for file, text in written.items():
            file.write_text(text)
        if not written:
            console.print(tables(_measured()), soft_wrap=True, highlight=False, markup=False)
    else:
        torch.set_float32_matmul_precision(options.matmul_precision)
        result = {"case": options.case, "environment": environment(), **_run(options)}
        if options.json:
            write_json(options.json, result)
        header, rows = _case(options.case).table(result)
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        where = result["environment"]
        console.print(f"{where['processor']}, {where['threads']} threads, torch {where['torch']}")
        console.print(table)


def with_tables(text: str) -> str:
    """The text with the committed results between its marks.

    Raises:
        ValueError: it has no marks, or they name a case without results.
    """

    def filled(found: re.Match[str]) -> str:
        names = (found[2] or " ".join(_measured())).split()
        if unknown := [name for name in names if name not in _measured()]:
            raise ValueError(f"no results of {unknown} in {RESULTS.name}; there are {_measured()}")
        return f"{found[1]}{tables(names)}\n"

    new, places = MARKED.subn(filled, text)
    if not places:
        raise ValueError("no <!-- measured --> and <!-- /measured --> to put the tables between")
    return new


def tables(names: list[str]) -> str:
    """The committed results of some cases as Markdown."""
    return "\n\n".join(markdown(read_json(RESULTS / f"{name}.json")) for name in names)


def markdown(result: dict[str, Any]) -> str:
    """A result as a Markdown table with what it was measured on."""
    case = _case(result["case"])
    header, rows = case.table(result)
    lines = [
        f"### {result['case']}: {_line(case)}",
        "",
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        measured_on(result),
    ]
    return "\n".join(lines)


def measured_on(result: dict[str, Any]) -> str:
    """Machine and versions of all rows; a row of an earlier call knows its own."""
    rows = result.get("rows") or [{}]
    own = [
        one
        for row in rows
        for one in row.get("environments") or [row.get("environment", result["environment"])]
    ]

    def each(name: str, absent: str = "") -> str:
        return ", ".join(dict.fromkeys(str(one.get(name, absent)) for one in own))

    return (
        f"Processor {each('processor')}; threads {each('threads')}; torch {each('torch')}; python "
        f"{each('python')}; precision of float32 products {each('matmul_precision', 'highest')}; "
        f"commit {each('commit')}."
    )


def charts(folder: Path) -> None:
    """Draw the committed results of every case that has a chart."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for name in _measured():
        draw = getattr(_case(name), "chart", None)
        if draw is not None:
            figure = Figure(figsize=(6, 4), layout="constrained")
            draw(read_json(RESULTS / f"{name}.json"), figure)
            with replacing(folder / f"{name}.png") as file:
                figure.savefig(file, format="png", dpi=120)


def _measured() -> list[str]:
    return [name for name in CASES if (RESULTS / f"{name}.json").exists()]


def _case(name: str) -> Any:
    return import_module(f"benchmarks.cases.{name}")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = _case(options.case).run(options)
    return result


def _line(case: Any) -> str:
    text: str = case.__doc__.splitlines()[0]
    return text


if __name__ == "__main__":
    main()
