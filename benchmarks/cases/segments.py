"""Segment reductions, forward + backward, against PyG's and torch-scatter's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
import torch_geometric.utils as pyg
from torch import Tensor

from benchmarks.timing import paired, quantiles
from graphcl.kernels import (
    segment_logsumexp,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)

Reduction = Callable[[Tensor, Tensor, int], Tensor]

OURS: dict[str, Reduction] = {
    "sum": lambda x, i, n: segment_sum(x, i, num_segments=n),
    "mean": lambda x, i, n: segment_mean(x, i, num_segments=n),
    "max": lambda x, i, n: segment_max(x, i, num_segments=n),
    "logsumexp": lambda x, i, n: segment_logsumexp(x, i, num_segments=n),
    "softmax": lambda x, i, n: segment_softmax(x, i, num_segments=n),
}
PYG: dict[str, Reduction] = {
    "sum": lambda x, i, n: pyg.scatter(x, i, 0, n, "sum"),
    "mean": lambda x, i, n: pyg.scatter(x, i, 0, n, "mean"),
    "max": lambda x, i, n: pyg.scatter(x, i, 0, n, "max"),
    "softmax": lambda x, i, n: pyg.softmax(x, i, num_nodes=n),
}


def torch_scatter_reductions() -> dict[str, Reduction]:
    """torch-scatter's, empty where it is not installed."""
    try:
        import torch_scatter as there
    except ImportError as error:
        print(f"torch-scatter is left out: {error}")
        return {}
    return {
        "sum": lambda x, i, n: there.scatter_sum(x, i, 0, dim_size=n),
        "mean": lambda x, i, n: there.scatter_mean(x, i, 0, dim_size=n),
        "max": lambda x, i, n: there.scatter_max(x, i, 0, dim_size=n)[0],
        "logsumexp": lambda x, i, n: there.scatter_logsumexp(x, i, 0, dim_size=n),
        "softmax": lambda x, i, n: there.scatter_softmax(x, i, 0, dim_size=n),
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--segments", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)


def step(
    reduce: Reduction, values: Tensor, index: Tensor, count: int, upstream: Tensor
) -> tuple[Tensor, Tensor]:
    """Value and gradient; every segment has rows, so that fillings of empty ones do not matter."""
    values = values.detach().requires_grad_()
    out = reduce(values, index, count)
    (out * upstream[: len(out)]).sum().backward()
    assert values.grad is not None
    return out.detach(), values.grad


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check equality, then time all in turn."""
    generator = torch.Generator().manual_seed(0)
    rows, count = options.rows, options.segments
    values = torch.randn(rows, options.width, generator=generator)
    index = torch.cat(
        (torch.arange(count), torch.randint(count, (rows - count,), generator=generator))
    )[torch.randperm(rows, generator=generator)]
    upstream = torch.randn(rows, options.width, generator=generator)
    scatter = torch_scatter_reductions()
    versions = {"pyg": version("torch_geometric")}
    if scatter:
        versions["torch-scatter"] = version("torch_scatter")
    found = []
    for name, ours in OURS.items():
        rivals = {"pyg": PYG.get(name), "torch-scatter": scatter.get(name)}
        known = {"ours": ours, **{k: r for k, r in rivals.items() if r is not None}}
        expected = step(ours, values, index, count, upstream)
        worst = 0.0
        for rival in list(known.values())[1:]:
            for a, b in zip(expected, step(rival, values, index, count, upstream), strict=True):
                worst = max(worst, float((a - b).norm() / b.norm()))
        if worst > 1e-5:
            raise AssertionError(f"{name}: implementations differ by {worst:.1e}")
        works = {k: partial(step, r, values, index, count, upstream) for k, r in known.items()}
        seconds = paired(works, repeats=options.repeats)
        found.append(
            {
                "reduction": name,
                "relative_difference": worst,
                "seconds": {k: quantiles(v) for k, v in seconds.items()},
            }
        )
    return {
        "size": {"rows": rows, "segments": count, "width": options.width},
        "rivals": versions,
        "rows": found,
    }


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    size = result["size"]
    what = f"{size['rows']} rows of {size['width']}, {size['segments']} segments"
    header = [what, "ours s (20-80 %)"]
    header += [f"{name} {v}: s, ratio to ours" for name, v in result["rivals"].items()]
    rows = []
    for row in result["rows"]:
        ours = row["seconds"]["ours"]
        cells = [
            row["reduction"],
            f"{ours['median']:.3f} ({ours['p20']:.3f}-{ours['p80']:.3f})",
        ]
        for name in result["rivals"]:
            theirs = row["seconds"].get(name)
            cells.append(
                f"{theirs['median']:.3f}, {theirs['median'] / ours['median']:.2f}"
                if theirs
                else "has none"
            )
        rows.append(cells)
    return header, rows
