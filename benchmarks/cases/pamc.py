"""Negative term of clustering, forward + backward: all pairs dense, all pairs chunked, PamC."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import paired, peak_growth, quantiles
from graphcl.kernels.negatives import negative_logsumexp
from graphcl.losses.pamc import PamC

TAU = 2.0
PROXY = PamC(TAU)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument(
        "--nodes", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 16000, 32000, 100000]
    )
    parser.add_argument("--width", type=int, default=10)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-limit", type=int, default=8000, help="largest N of dense pairs")
    parser.add_argument("--chunked-limit", type=int, default=32000, help="largest N of all pairs")


def dense(z: Tensor, label: Tensor) -> Tensor:
    """The exact term as papers write it, with an (N, N) matrix."""
    unit = F.normalize(z)
    return (unit @ unit.T / TAU).exp().sum(1).log().mean()


def chunked(z: Tensor, label: Tensor) -> Tensor:
    """The exact term in O(N D) memory."""
    unit = F.normalize(z)
    return negative_logsumexp(unit, unit, tau=TAU).mean()


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dense": dense,
    "chunked": chunked,
    "pamc": PROXY.negative,
}


def step(name: str, z: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of one term."""
    z = z.detach().requires_grad_()
    value = TERMS[name](z, label)
    value.backward()
    assert z.grad is not None
    return value.detach(), z.grad


def inputs(nodes: int, width: int, clusters: int) -> tuple[Tensor, Tensor]:
    """Rows around random directions, and their clusters."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(clusters, (nodes,), generator=generator)
    centre = F.normalize(torch.randn(clusters, width, generator=generator))
    return centre[label] + 0.15 * torch.randn(nodes, width, generator=generator), label


def memory(ready: Callable[[], None], name: str, nodes: int, width: int, clusters: int) -> None:
    """Work of the memory measurement, after a small warm-up of the libraries."""
    step(name, *inputs(64, width, clusters))
    given = inputs(nodes, width, clusters)
    ready()
    step(name, *given)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check that both exact terms agree, then time; one row per N."""
    rows = []
    for nodes in options.nodes:
        z, label = inputs(nodes, options.width, options.clusters)
        limits = {"dense": options.dense_limit, "chunked": options.chunked_limit}
        names = [name for name in TERMS if nodes <= limits.get(name, nodes)]
        found = {name: step(name, z, label) for name in names}
        row: dict[str, Any] = {"nodes": nodes}
        if {"dense", "chunked"} <= found.keys():
            for ours, theirs in zip(found["chunked"], found["dense"], strict=True):
                worst = float((ours - theirs).norm() / theirs.norm())
                if worst > 1e-5:
                    raise AssertionError(f"N = {nodes}: exact terms differ by {worst:.1e}")
        if "chunked" in found:
            row["exact"] = float(found["chunked"][0])
            row["error"] = row["exact"] - float(found["pamc"][0])
        works: dict[str, Callable[[], object]] = {
            name: partial(step, name, z, label) for name in names
        }
        seconds = paired(works, repeats=options.repeats if nodes <= 16000 else 3)
        row["seconds"] = {name: quantiles(values) for name, values in seconds.items()}
        row["peak_bytes"] = {
            name: peak_growth(memory, name, nodes, options.width, options.clusters)
            for name in names
        }
        rows.append(row)
    return {"width": options.width, "clusters": options.clusters, "tau": TAU, "rows": rows}


def chart(result: dict[str, Any], figure: Any) -> None:
    """Time and growth of memory against N, both axes logarithmic."""
    figure.set_size_inches(10, 4)
    left, right = figure.subplots(1, 2)
    for name in TERMS:
        rows = [row for row in result["rows"] if name in row["seconds"]]
        nodes = [row["nodes"] for row in rows]
        left.loglog(nodes, [row["seconds"][name]["median"] for row in rows], "o-", label=name)
        peaks = [(row["nodes"], row["peak_bytes"][name].get("bytes")) for row in rows]
        kept = [(n, size / 2**20) for n, size in peaks if size]
        right.loglog([n for n, _ in kept], [m for _, m in kept], "o-", label=name)
    left.set(ylabel="seconds, forward + backward")
    right.set(ylabel="growth of peak memory, MiB")
    for axes in (left, right):
        axes.set(xlabel="nodes")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"negative term, D = {result['width']}, K = {result['clusters']}")


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = ["N", "dense s", "chunked s", "PamC s", "dense MiB", "chunked MiB", "PamC MiB"]
    rows = []
    for row in result["rows"]:
        seconds = [
            f"{row['seconds'][name]['median']:.4f}" if name in row["seconds"] else "not run"
            for name in TERMS
        ]
        peaks = [
            f"{peak['bytes'] / 2**20:.1f}" if "bytes" in peak else peak.get("failed", "not run")
            for peak in (row["peak_bytes"].get(name, {}) for name in TERMS)
        ]
        error = f"{row['error']:.4f} of {row['exact']:.2f}" if "error" in row else "not run"
        rows.append([str(row["nodes"]), *seconds, *peaks, error])
    return [*header, "error of the proxy"], rows
