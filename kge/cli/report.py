"""Figures and negatives as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from kge.sampling.offers import OfferedNegative
    from kge.sampling.report import SamplerReport


def show_metrics(console: Console, metrics: Mapping[str, Any]) -> None:
    """Print the content of a ``metrics.json``."""
    seeds = metrics["seeds"]
    table = Table(
        "metric",
        "test",
        "std",
        "validation",
        "std",
        title=escape(f"{metrics['method']} on {metrics['dataset']}"),
        caption=f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}, "
        f"selected by {metrics['selection']}",
    )
    values = metrics["metrics"]
    for name in values:
        if not name.startswith("validation_"):
            validation = values.get(f"validation_{name}")
            table.add_row(name, *_cells(values[name]), *_cells(validation))
    console.print(table)
    console.print(escape(f"protocol: {metrics['protocol']}; ties: realistic"))
    seconds = metrics["seconds"]
    if "train" in seconds:
        console.print(
            f"training {seconds['train']:.1f} s a seed ({seconds['epoch']:.3f} s an epoch), "
            f"evaluation {seconds['evaluate']:.1f} s, peak memory "
            f"{metrics['peak_memory_bytes'] / 2**20:.0f} MiB"
        )


def show_offers(console: Console, triple: str, offered: Sequence[OfferedNegative]) -> None:
    """Print what a sampler offers for a triple."""
    table = Table(
        "replaced",
        "by",
        "share",
        "score",
        "hops",
        "cluster",
        "known in",
        title=escape(triple),
        caption="share of the draws for that side; hops from the entity that stays, in training",
    )
    for one in offered:
        table.add_row(
            one.side,
            escape(one.text or str(one.entity)),
            f"{one.share:.3f}",
            "-" if one.score is None else f"{one.score:.4g}",
            "-" if one.hops is None else str(one.hops),
            "-" if one.cluster is None else str(one.cluster),
            ", ".join(one.known) or "-",
        )
    console.print(table)


OFFERED = ("replaced", "entity", "text", "share", "score", "hops", "cluster", "known in")
"""Columns of :func:`offered_rows`."""


def offered_rows(offered: Sequence[OfferedNegative]) -> list[list[Any]]:
    """What a sampler offers for a triple, for a file: unrounded, and with ids of entities."""
    return [
        [
            one.side,
            one.entity,
            one.text,
            one.share,
            one.score,
            one.hops,
            one.cluster,
            " ".join(one.known),
        ]
        for one in offered
    ]


def report_rows(report: SamplerReport) -> list[list[Any]]:
    """Names and values of a sampler's figures; those of each split are rows of their own."""
    rows: list[list[Any]] = []
    for name, value in asdict(report).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name} {part}".strip(), one] for part, one in parts if one is not None]
    return rows


def show_report(console: Console, report: SamplerReport) -> None:
    """Print the figures of a sampler."""
    table = Table(
        "figure",
        "value",
        title=report.sampler,
        caption="known_rate is before any filter, kept_known_rate after it; entropies are in bits",
    )
    for name, value in report_rows(report)[1:]:
        table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else f"{value:,}")
    console.print(table)


def _cells(values: Mapping[str, Any] | None) -> tuple[str, str]:
    if values is None:
        return "-", "-"
    return f"{values['mean']:.4f}", f"{values['std']:.4f}"
