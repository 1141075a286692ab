"""Exact InfoNCE forward + backward: ours against the dense GRACE loss, time and memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import paired, peak_growth, quantiles
from graphcl.losses.infonce import InfoNCE

TAU = 0.4


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 30000])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dense-limit", type=int, default=8000, help="largest N of the rival")


def dense_grace(z1: Tensor, z2: Tensor) -> Tensor:
    """GRACE's loss as its paper writes it, with (N, N) matrices."""
    z1, z2 = F.normalize(z1), F.normalize(z2)

    def half(a: Tensor, b: Tensor) -> Tensor:
        within, between = (a @ a.T / TAU).exp(), (a @ b.T / TAU).exp()
        total = within.sum(1) + between.sum(1) - within.diagonal()
        return -(between.diagonal() / total).log()

    return (half(z1, z2) + half(z2, z1)).mean() / 2


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "chunked": InfoNCE(tau=TAU),
    "dense": dense_grace,
}


def step(name: str, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and gradients of one loss."""
    z1, z2 = z1.detach().requires_grad_(), z2.detach().requires_grad_()
    loss = LOSSES[name](z1, z2)
    loss.backward()
    assert z1.grad is not None
    assert z2.grad is not None
    return loss.detach(), z1.grad, z2.grad


def inputs(nodes: int, width: int) -> tuple[Tensor, Tensor]:
    """Two views that resemble each other."""
    generator = torch.Generator().manual_seed(0)
    z1 = torch.randn(nodes, width, generator=generator)
    return z1, z1 + torch.randn(nodes, width, generator=generator)


def memory(ready: Callable[[], None], name: str, nodes: int, width: int) -> None:
    """Work of the memory measurement, after a small warm-up of the libraries."""
    step(name, *inputs(64, width))
    pair = inputs(nodes, width)
    ready()
    step(name, *pair)


def products(z: Tensor) -> Callable[[], object]:
    """The eight matrix products that the symmetric loss cannot avoid, tile by tile, alone."""
    pieces = -(-z.shape[0] // 1024)
    rows = z[: z.shape[0] // pieces]
    tile, out = rows.new_empty(len(rows), len(rows)), torch.zeros_like(rows)

    def work() -> None:
        for _ in range(pieces**2):
            for _ in range(4):  # two in the forward pass, two recomputed in the backward pass
                torch.mm(rows, rows.T, out=tile)
            tile.fill_(0.5)
            for _ in range(2):
                out.addmm_(tile, rows)
                out.addmm_(tile.T, rows)
            out.zero_()

    return work


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check equality, then time; one row per N and implementation."""
    rows = []
    for nodes in options.nodes:
        z1, z2 = inputs(nodes, options.width)
        names = ["chunked"] + (["dense"] if nodes <= options.dense_limit else [])
        row: dict[str, Any] = {"nodes": nodes, "width": options.width}
        if "dense" in names:
            ours, theirs = step("chunked", z1, z2), step("dense", z1, z2)
            row["relative_difference"] = {
                "value": float((ours[0] - theirs[0]).abs() / theirs[0].abs()),
                "gradient": max(
                    float((a - b).norm() / b.norm())
                    for a, b in zip(ours[1:], theirs[1:], strict=True)
                ),
            }
            worst = max(row["relative_difference"].values())
            if worst > 1e-5:
                raise AssertionError(f"N = {nodes}: implementations differ by {worst:.1e}")
        works: dict[str, Callable[[], object]] = {
            name: partial(step, name, z1, z2) for name in names
        }
        works["products"] = products(z1)
        seconds = paired(works, repeats=options.repeats if nodes <= 10000 else 3)
        row["seconds"] = {name: quantiles(values) for name, values in seconds.items()}
        row["peak_bytes"] = {
            name: peak_growth(memory, name, nodes, options.width) for name in names
        }
        median = {name: values["median"] for name, values in row["seconds"].items()}
        row["ratio_to_products"] = median["chunked"] / median["products"]
        if "dense" in names:
            row["speedup"] = median["dense"] / median["chunked"]
        rows.append(row)
    return {"rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [
        "N",
        "ours s (20-80 %)",
        "dense s",
        "speed-up",
        "ours / products",
        "ours peak MiB",
        "dense peak MiB",
    ]
    rows = []
    for row in result["rows"]:
        ours, dense = row["seconds"]["chunked"], row["seconds"].get("dense")
        peaks = {
            name: f"{peak['bytes'] / 2**20:.0f}" if "bytes" in peak else peak["failed"]
            for name, peak in row["peak_bytes"].items()
        }
        rows.append(
            [
                str(row["nodes"]),
                f"{ours['median']:.3f} ({ours['p20']:.3f}-{ours['p80']:.3f})",
                f"{dense['median']:.3f}" if dense else "not run",
                f"{row['speedup']:.1f}" if dense else "-",
                f"{row['ratio_to_products']:.2f}",
                peaks["chunked"],
                peaks.get("dense", "-"),
            ]
        )
    return header, rows
