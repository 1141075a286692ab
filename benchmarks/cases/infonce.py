"""Exact InfoNCE forward + backward against dense losses: time and memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import paired, peak, peak_growth, quantiles
from graphcl.losses.infonce import InfoNCE

TAU = 0.4


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    sizes = [200, 1000, 2000, 4000, 8000, 30000]
    parser.add_argument("--nodes", type=int, nargs="+", default=sizes)
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


def pytorch_metric_learning() -> Callable[[Tensor, Tensor], Tensor]:
    """NT-Xent of pytorch-metric-learning: both views stacked, a node's two rows share a label."""
    from pytorch_metric_learning.losses import NTXentLoss

    loss = NTXentLoss(temperature=TAU)

    def value(z1: Tensor, z2: Tensor) -> Tensor:
        found: Tensor = loss(torch.cat((z1, z2)), torch.arange(len(z1)).repeat(2))
        return found

    return value


def pygcl() -> Callable[[Tensor, Tensor], Tensor]:
    """InfoNCE of PyGCL with negatives within the views."""
    from GCL.losses import InfoNCE as Rival
    from GCL.models import DualBranchContrast

    contrast: Callable[[Tensor, Tensor], Tensor] = DualBranchContrast(
        Rival(TAU), mode="L2L", intraview_negs=True
    )
    return contrast


LOSSES: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {
    "chunked": lambda: InfoNCE(tau=TAU),
    "dense": lambda: dense_grace,
    "pytorch-metric-learning": pytorch_metric_learning,
    "pygcl": pygcl,
}
RIVALS = tuple(LOSSES)[1:]


def installed() -> dict[str, str]:
    """The rivals that can be imported, with their versions; the others are told as missing."""
    found = {"dense": "this file"}
    for name in RIVALS[1:]:
        try:
            LOSSES[name]()
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            found[name] = version(name)
    return found


def step(name: str, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and gradients of one loss."""
    z1, z2 = z1.detach().requires_grad_(), z2.detach().requires_grad_()
    loss = LOSSES[name]()(z1, z2)
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


def equality(names: list[str], z1: Tensor, z2: Tensor) -> dict[str, float]:
    """Largest relative difference, in value or gradient, of each rival from ours.

    A rival that cannot get its memory is told and left out.

    Raises:
        AssertionError: one is above 1e-5.
    """
    ours, found = step("chunked", z1, z2), {}
    for name in names:
        try:
            theirs = step(name, z1, z2)
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            print(f"{name} is left out at N = {len(z1)}: out of memory")
            continue
        value = float((ours[0] - theirs[0]).abs() / theirs[0].abs())
        gradients = [
            float((a - b).norm() / b.norm()) for a, b in zip(ours[1:], theirs[1:], strict=True)
        ]
        found[name] = max(value, *gradients)
        if found[name] > 1e-5:
            raise AssertionError(f"N = {len(z1)}: {name} differs from ours by {found[name]:.1e}")
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check equality, then time; one row per N, each rival in turn with ours."""
    rows, rivals = [], installed()
    for nodes in options.nodes:
        z1, z2 = inputs(nodes, options.width)
        asked = list(rivals) if nodes <= options.dense_limit else []
        difference = equality(asked, z1, z2)
        names = list(difference)
        works: dict[str, Callable[[], object]] = {
            name: partial(step, name, z1, z2) for name in ["chunked", *names]
        }
        works["products"] = products(z1)
        seconds = paired(works, repeats=options.repeats if nodes <= 10000 else 3)
        found = {name: quantiles(values) for name, values in seconds.items()}
        median = {name: values["median"] for name, values in found.items()}
        rows.append(
            {
                "nodes": nodes,
                "width": options.width,
                "relative_difference": difference,
                "out_of_memory": [name for name in asked if name not in difference],
                "seconds": found,
                "peak_bytes": {
                    name: peak_growth(memory, name, nodes, options.width)
                    for name in ["chunked", *names]
                },
                "ratio_to_products": median["chunked"] / median["products"],
                "speedup": {name: median[name] / median["chunked"] for name in names},
            }
        )
    return {"rows": rows, "rivals": rivals}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    rivals = list(result["rivals"])
    header = ["N", "ours s (20-80 %)", "ours / products", "ours peak MiB"]
    header += [f"{name} {what}" for name in rivals for what in ("s", "/ ours", "peak MiB")]
    rows = []
    for row in result["rows"]:
        ours = row["seconds"]["chunked"]
        cells = [
            str(row["nodes"]),
            f"{ours['median']:.3f} ({ours['p20']:.3f}-{ours['p80']:.3f})",
            f"{row['ratio_to_products']:.2f}",
            peak(row["peak_bytes"]["chunked"]),
        ]
        for name in rivals:
            if name in row["speedup"]:
                cells += [
                    f"{row['seconds'][name]['median']:.3f}",
                    f"{row['speedup'][name]:.1f}",
                    peak(row["peak_bytes"][name]),
                ]
            else:
                lost = name in row["out_of_memory"]
                cells += ["out of memory" if lost else "not run", "-", "-"]
        rows.append(cells)
    return header, rows


def chart(result: dict[str, Any], figure: Any) -> None:
    """Seconds against N, for all that were timed."""
    axes = figure.subplots()
    for name in ("chunked", *result["rivals"]):
        points = [
            (row["nodes"], row["seconds"][name]["median"])
            for row in result["rows"]
            if name in row["seconds"]
        ]
        axes.loglog(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="nodes", ylabel="seconds, forward + backward")
    axes.legend()
