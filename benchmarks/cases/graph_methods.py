"""One training step of every method on growing graphs: seconds and memory against N."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import coalesce, to_undirected

from benchmarks.timing import paired, peak, peak_growth, quantiles
from graphcl.methods import GraphMethod
from graphcl.train.recipes import method_class, settings_for

METHODS = {
    "adameow": {},
    "bgrl": {},
    "costa": {},
    "dgi": {},
    "gca": {},
    "gcool": {},
    "grace": {},
    "grace+pot": {},
    "heco": {},
    "meow": {"recluster": 1},
    "pamcgc": {"pretrain_epochs": 1},
    "progcl": {"epoch_start": 0, "refresh": 1},
}
"""What is measured, and what its settings differ in from the method's defaults.

A step has all that the method ever does in one: ProGCL fits its mixture and weighs by it, MEOW
clusters.
"""
FEATURES, DEGREE = 256, 10
PATHS = ("PAP", "PSP")
_STEPS = 100  # of a training of which the first ones are measured


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeats", type=int, default=3)


def graph(nodes: int) -> tuple[Tensor, Tensor]:
    """Random features and a random graph of mean degree 10, both directions stored."""
    torch.manual_seed(0)
    pairs = torch.randint(nodes, (2, DEGREE * nodes // 2))
    edges = coalesce(pairs[:, pairs[0] != pairs[1]])
    return torch.rand(nodes, FEATURES), to_undirected(edges)


def hetero_graph(nodes: int) -> HeteroData:
    """Papers, authors and subjects, as many each; a paper has five of either on average."""
    torch.manual_seed(0)
    data = HeteroData()
    for kind in ("paper", "author", "subject"):
        data[kind].x = torch.rand(nodes, FEATURES)
    for kind in ("author", "subject"):
        pairs = coalesce(torch.randint(nodes, (2, DEGREE * nodes // 2)))
        data["paper", "to", kind].edge_index = pairs
        data[kind, "to", "paper"].edge_index = pairs.flip(0)
    return data


def stepper(name: str, nodes: int) -> Callable[[], object]:
    """One optimiser step at the method's default settings; preparation does not count."""
    host, _, pot = name.partition("+")
    cls = method_class(host)
    hetero = cls.takes is HeteroData
    data: Any = hetero_graph(nodes) if hetero else Data(*graph(nodes))
    overrides = {**METHODS[name], **({"metapaths": PATHS} if hetero else {})}
    settings = settings_for(host, "none", overrides, pot="pairwise" if pot else "none")
    method = settings.build(cls.input_channels(data))
    prepared = method.prepare(data, seed=0)
    if isinstance(method, GraphMethod):
        method.pretrain(data.x, data.edge_index)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    method.train()

    done = itertools.count()

    def step() -> None:
        optimizer.zero_grad()
        method.training_loss(prepared).backward()
        optimizer.step()
        method.after_step(next(done), _STEPS)

    return step


def memory(ready: Callable[[], None], name: str, nodes: int) -> None:
    """Work of the memory measurement."""
    work = stepper(name, nodes)
    ready()
    work()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time all methods in turn at each size."""
    rows = []
    for nodes in options.nodes:
        works = {name: partial(stepper(name, nodes)) for name in options.methods}
        seconds = paired(works, repeats=options.repeats)
        for name in options.methods:
            rows.append(
                {
                    "method": name,
                    "nodes": nodes,
                    "seconds": quantiles(seconds[name]),
                    "peak_bytes": peak_growth(memory, name, nodes),
                }
            )
    return {"features": FEATURES, "degree": DEGREE, "rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    sizes = sorted({row["nodes"] for row in result["rows"]})
    header = [f"F = {result['features']}, degree {result['degree']}"]
    header += [f"N = {nodes}: s, MiB" for nodes in sizes]
    found: dict[str, list[str]] = {}
    for row in sorted(result["rows"], key=lambda row: row["nodes"]):
        cell = f"{row['seconds']['median']:.2f}, {peak(row['peak_bytes'])}"
        settings = ", ".join(f"{k}={v}" for k, v in METHODS[row["method"]].items())
        name = row["method"] + (f" ({settings})" if settings else "")
        found.setdefault(row["method"], [name]).append(cell)
    return header, list(found.values())


def chart(result: dict[str, Any], figure: Any) -> None:
    """Seconds a step against N."""
    axes = figure.subplots()
    for place, name in enumerate(sorted({row["method"] for row in result["rows"]})):
        points = [
            (row["nodes"], row["seconds"]["median"])
            for row in result["rows"]
            if row["method"] == name
        ]
        marker = "o" if place < 10 else "s"  # colours repeat after ten
        axes.loglog(*zip(*points, strict=True), marker=marker, label=name)
    axes.set(xlabel="nodes", ylabel="seconds a step")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
