"""Steps of PamCGC: dense contrast and PamC on USPS, and the loss alone on a large graph."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch_geometric.data import Data

from benchmarks.cases.pamc import dense, inputs
from benchmarks.timing import paired, peak, peak_growth, quantiles
from graphcl.data import load_dataset
from graphcl.losses.pamc import PamC
from graphcl.methods import PamCGC
from graphcl.train import settings_for

KINDS = ("dense", "pamc")
POSITIVES = 64
"""Of each node where the loss is alone, as many as the recipe keeps."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the case."""
    parser.add_argument("--root", default=None, help="raw data, default $GRAPHCL_DATA")
    parser.add_argument("--dataset", default="usps")
    parser.add_argument("--nodes", type=int, default=100_000, help="of the loss alone")
    parser.add_argument("--repeats", type=int, default=5)


def method_step(kind: str, dataset: str, root: str | None) -> Callable[[], object]:
    """One step of training: encoder, positives, negative term, divergence, Adam."""
    data = load_dataset(dataset, root)
    assert isinstance(data, Data)
    assert data.x is not None
    assert data.edge_index is not None
    x, edges = data.x, data.edge_index
    torch.manual_seed(0)
    overrides = {"clusters": data.num_classes}
    method = settings_for("pamcgc", dataset, overrides).build(x.shape[1])
    assert isinstance(method, PamCGC)
    if kind == "dense":
        method.loss.negative = dense  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    method.train()
    method.positives(edges, len(x))  # computed once in a run

    def step() -> None:
        optimizer.zero_grad()
        method(x, edges).backward()
        optimizer.step()

    return step


def loss_step(kind: str, nodes: int) -> Callable[[], object]:
    """Value and gradient of the loss, both terms, for embeddings that are given."""
    z, label = inputs(nodes, 10, 10)
    z.requires_grad_()
    generator = torch.Generator().manual_seed(0)
    other = torch.randint(nodes, (nodes, POSITIVES), generator=generator).flatten()
    pairs = torch.stack([torch.arange(nodes).repeat_interleave(POSITIVES), other])
    strength = torch.rand(pairs.shape[1], generator=generator)
    loss = PamC()
    if kind == "dense":
        loss.negative = dense  # type: ignore[method-assign]

    def step() -> None:
        z.grad = None
        loss(z, pairs, strength, label).backward()

    return step


def memory(ready: Callable[[], None], make: Callable[..., Any], *given: Any) -> None:
    """Work of the memory measurement."""
    work = make(*given)
    ready()
    work()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time both contrasts in turn, then PamC's on the large graph."""
    size = load_dataset(options.dataset, options.root).num_nodes
    rows = []
    for work, kinds, make, given in (
        (f"step on {options.dataset}", KINDS, method_step, (options.dataset, options.root)),
        (f"loss, N = {size}", KINDS, loss_step, (size,)),
        (f"loss, N = {options.nodes}", ("pamc",), loss_step, (options.nodes,)),
    ):
        works = {kind: make(kind, *given) for kind in kinds}
        seconds = paired(works, repeats=options.repeats)
        rows += [
            {
                "work": work,
                "kind": kind,
                "seconds": quantiles(seconds[kind]),
                "peak_bytes": peak_growth(memory, make, kind, *given),
            }
            for kind in kinds
        ]
    return {"positives": POSITIVES, "rows": rows}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for people."""
    header = [f"work, {result['positives']} positives each", "contrast", "s (20-80 %)", "MiB"]
    rows = []
    for row in result["rows"]:
        s = row["seconds"]
        time = f"{s['median']:.2f} ({s['p20']:.2f}-{s['p80']:.2f})"
        rows.append([row["work"], row["kind"], time, peak(row["peak_bytes"])])
    return header, rows
