"""Correctness and speed of the Triton kernels on a GPU, with torch and Triton alone: ``gpu.sh``.

Parts: every kernel against its definition, exact InfoNCE of 169,343 and of 1,000,000 nodes, ranking
of WN18RR's size, and other shapes of tiles than the ones in use.

Every part is written to the JSON as soon as it is there, checks its results before timing them,
and reports "out of memory" or an error as a result instead of ending the run.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import quantiles
from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    explain_impl,
    negative_logsumexp,
    rank_counts,
    segment_logsumexp,
    segment_softmax,
    two_sided_logsumexp,
)
from graphcl.kernels.implementation import Impl
from graphcl.kernels.pair_scores import Score
from graphcl.kernels.triton_support import interpreting
from graphcl.losses.infonce import InfoNCE

TAU = 0.4
# Seconds after which no further part is started, so that the whole stays below ten minutes.
BUDGET = 400.0
# A piece of work that takes this many seconds is timed once.
LONG = 5.0
SCORES: tuple[Score, ...] = ("dot", "l2", "l1", "rotate")


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let products of float32 be rounded to TF32, or not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def timed(work: Callable[[], object], repeats: int, device: torch.device) -> dict[str, Any]:
    """Seconds after a first run, and by how many bytes the peak of memory grew."""
    start = time.perf_counter()
    work()
    synchronise(device)
    first = time.perf_counter() - start
    if first > LONG:
        repeats = 1
    base = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        base = torch.cuda.memory_allocated(device)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    found: dict[str, Any] = {
        "seconds": quantiles(seconds), "repeats": repeats, "first_seconds": first
    }  # fmt: skip
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated(device) - base
    return found


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def correctness(device: torch.device, size: int) -> dict[str, Any]:
    """Largest relative difference to the dense float64 definition, per weight and exclusion."""
    generator = torch.Generator().manual_seed(0)
    q, k, width = size, size + 37, 40

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_()

    def ids(high: int, count: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator).to(device)

    ptr = torch.cat([torch.zeros(1, dtype=torch.long, device=device), ids(6, q).cumsum(0)])
    positive = [random(n, 5).detach().exp().requires_grad_() for n in (q, k)]
    weights = {
        "none": None,
        "key": KeyWeight(random(k)),
        "group": GroupWeight(random(6, 7), ids(6, q), ids(7, k)),
        "low rank": LowRankWeight(*positive),
        "similarity": SimilarityWeight(
            lambda s, v: -0.01 * (s - v).square(), random(q), detach=False
        ),
    }
    excludes = {
        "none": None,
        "diagonal": Exclude.diagonal(1),
        "csr": Exclude.csr(ptr, ids(k, int(ptr[-1]))),
        "group": Exclude.same_group(ids(50, q), ids(50, k)),
    }
    cases = [(w, "none", torch.float32, False) for w in weights]
    cases += [("key", e, torch.float32, False) for e in excludes]
    cases += [("none", "csr", torch.float32, True)]
    cases += [("group", "csr", t, False) for t in (torch.bfloat16, torch.float16)]
    worst = {}
    for weight, exclude, dtype, rounded in cases:
        rows = [F.normalize(random(n, width)).to(dtype).detach() for n in (q, k)]
        with tf32(rounded):
            mine = _outcome("triton", rows, weights[weight], excludes[exclude])
        wide = [r.double() for r in rows]
        wanted = _outcome("reference", wide, weights[weight], excludes[exclude])
        errors = [_error(a, b) for a, b in zip(mine, wanted, strict=True)]
        exact = dtype == torch.float32 and not rounded
        name = f"{weight}, {exclude}, {'tf32' if rounded else str(dtype)[6:]}"
        worst[name] = {"error": max(errors), "ok": max(errors) < (1e-4 if exact else 3e-2)}
    values, index = random(20 * q), ids(q, 20 * q)
    for reduce in (segment_logsumexp, segment_softmax):
        pair = [reduce(values, index, num_segments=q, impl=i) for i in ("triton", "torch")]
        grads = [torch.autograd.grad(out.square().sum(), values)[0] for out in pair]
        error = max(_error(*pair), _error(*grads))
        worst[reduce.__name__] = {"error": error, "ok": error < 1e-4}
    for score in SCORES:
        queries, keys, target = random(200, width), random(k, width), ids(k, 200)
        options: dict[str, Any] = {"score": score, "exclude": Exclude.diagonal()}
        with torch.no_grad():
            queries, keys = queries.mul(2).round(), keys.mul(2).round()  # with many ties
        counts = [rank_counts(queries, keys, target, **options, impl=i) for i in _RANKS]
        same = all(torch.equal(a, b) for a, b in zip(*counts, strict=True))
        worst[f"ranks {score}"] = {"error": 0.0 if same else 1.0, "ok": same}
    return {"cases": worst, "ok": all(case["ok"] for case in worst.values())}


_TIMED: tuple[Impl, ...] = ("triton", "chunked")
_RANKS: tuple[Impl, ...] = ("triton", "reference")


def _outcome(impl: Impl, rows: list[Tensor], weight: Any, exclude: Any) -> list[Tensor]:
    queries, keys = (r.clone().requires_grad_() for r in rows)
    totals = two_sided_logsumexp(
        queries, keys, tau=TAU, log_weight=weight, exclude=exclude, impl=impl
    )
    learned = [p for p in (weight.parameters if weight else ()) if p.requires_grad]
    # Different upstream gradients in every row.
    loss = sum((t * torch.linspace(0.5, 1.5, len(t), device=t.device)).sum() for t in totals)
    assert isinstance(loss, Tensor)
    return [*totals, *torch.autograd.grad(loss, [queries, keys, *learned])]


def _error(mine: Tensor, wanted: Tensor) -> float:
    mine, wanted = mine.detach().double(), wanted.detach().double()
    return float((mine - wanted).norm() / wanted.norm().clamp(min=1e-30))


def contrast(device: torch.device, nodes: int, kind: str, repeats: int) -> dict[str, Any]:
    """Forward and backward of exact symmetric two-view InfoNCE, d = 128."""
    generator = torch.Generator(device=device).manual_seed(0)
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    first = torch.randn(nodes, 128, generator=generator, device=device)
    second = (first + torch.randn(nodes, 128, generator=generator, device=device)).to(dtype)
    views = first.to(dtype).requires_grad_(), second.requires_grad_()
    loss = (
        partial(half_infonce, impl="triton") if kind == "bf16" else InfoNCE(tau=TAU, impl="triton")
    )
    with tf32(kind == "tf32"):
        few = [v.detach()[: min(nodes, 2000)].clone().requires_grad_() for v in views]
        wide = [v.detach().double().requires_grad_() for v in few]
        values = loss(*few), InfoNCE(tau=TAU, impl="reference")(*wide)
        mine, wanted = (torch.autograd.grad(v, z) for v, z in zip(values, (few, wide), strict=True))
        errors = {
            "value": _error(*values),
            "gradient": max(_error(a, b) for a, b in zip(mine, wanted, strict=True)),
        }
        if max(errors.values()) > 3e-2:
            return {"relative_difference": errors, "failed": "differs from the definition"}
        del few, wide, mine, wanted, values

        def step() -> None:
            torch.autograd.grad(loss(*views), views)

        found = timed(step, repeats, device)
        rate = product_rate(device, dtype)
    # Eight products of N x N x d are the least that a symmetric two-view loss can take.
    floor = 8 * 2 * nodes**2 * 128 / rate
    median = found["seconds"]["median"]
    return {
        "nodes": nodes, "width": 128, "precision": kind, "relative_difference": errors, **found,
        "product_rate": rate, "floor_seconds": floor, "share_of_product_rate": floor / median,
    }  # fmt: skip


def inf_cl(device: torch.device, nodes: int) -> dict[str, Any]:
    """The one-sided loss between views, d = 128: ours and Inf-CL's (Cheng et al., 2024)."""
    try:
        from inf_cl import cal_flash_loss
    except ImportError as error:
        return {"skipped": f"{error}; pip install inf_cl"}
    generator = torch.Generator(device=device).manual_seed(0)
    views = [
        F.normalize(torch.randn(nodes, 128, generator=generator, device=device)).requires_grad_()
        for _ in range(2)
    ]
    ours = InfoNCE(tau=TAU, intra_view=False, symmetric=False, normalize=False, impl="triton")
    losses: dict[str, Callable[[], Tensor]] = {
        "triton": lambda: ours(*views),
        "inf_cl": lambda: cal_flash_loss(*views, scale=1 / TAU, head_dim=128).mean(),
    }
    with tf32(True):
        values = [loss() for loss in losses.values()]
        works = {
            name: partial(lambda loss: torch.autograd.grad(loss(), views), loss)
            for name, loss in losses.items()
        }
        found = {name: timed(work, 5, device) for name, work in works.items()}
    return {"nodes": nodes, "relative_difference": _error(*values), **found}


def half_infonce(z1: Tensor, z2: Tensor, *, impl: Impl) -> Tensor:
    """The loss of :class:`InfoNCE` with rows that stay in half precision for the products."""
    a, b = (F.normalize(z.float()).to(z.dtype) for z in (z1, z2))
    positive = (a.float() * b.float()).sum(1) / TAU
    options: dict[str, Any] = {"tau": TAU, "impl": impl}
    totals = two_sided_logsumexp(a, b, **options)
    inner = [negative_logsumexp(z, z, exclude=Exclude.diagonal(), **options) for z in (a, b)]
    sides = [torch.logaddexp(x, y) - positive for x, y in zip(totals, inner, strict=True)]
    return (sides[0] + sides[1]).mean() / 2


def tile_shapes(device: torch.device, nodes: int, kind: str) -> dict[str, Any]:
    """Seconds of one log-sum-exp and of its gradient, d = 128, for several shapes of tiles."""
    from graphcl.kernels import triton_launch

    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    precision = "tf32" if kind == "bf16" else kind
    rows = [F.normalize(torch.randn(nodes, 128, device=device)).to(dtype) for _ in range(2)]
    found: dict[str, Any] = {"nodes": nodes, "precision": kind}
    options: dict[str, Any] = {"tau": TAU, "impl": "triton", "precision": precision}
    keys = rows[1].clone().requires_grad_()
    total = negative_logsumexp(rows[0], keys, **options).sum()
    works: dict[bool, Callable[[], object]] = {
        False: partial(negative_logsumexp, *rows, **options),
        True: partial(torch.autograd.grad, total, keys, retain_graph=True),  # of the keys alone
    }
    for gradient, shapes in _SHAPES[precision == "ieee"].items():
        used = triton_launch.SHAPES[precision, gradient]
        for shape in dict.fromkeys([used[0], *shapes]):
            triton_launch.SHAPES[precision, gradient] = (shape,)
            triton_launch.FITTING.clear()
            name = f"{'gradient' if gradient else 'forward'} {' x '.join(map(str, shape))}"
            try:
                found[name] = timed(works[gradient], 5, device)["seconds"]["median"]
            except Exception as error:  # a tile that does not fit
                found[name] = f"{type(error).__name__}: {error}"[:200]
        triton_launch.SHAPES[precision, gradient] = used
    triton_launch.FITTING.clear()
    return found


# Rows, columns, warps and stages to be compared, forward and for gradients.
_SHAPES = {
    False: {
        False: ((128, 64, 8, 2), (128, 128, 8, 3), (128, 64, 4, 2), (64, 128, 4, 2)),
        True: ((128, 128, 8, 2), (64, 64, 4, 2), (128, 64, 8, 3)),
    },
    True: {False: ((64, 64, 8, 1), (128, 128, 8, 1)), True: ((128, 32, 8, 1), (64, 16, 8, 1))},
}


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device).to(dtype)
    seconds = timed(lambda: a @ a, 10, device)["seconds"]["median"]
    return 2 * side**3 / seconds


def ranking(device: torch.device, score: Score, entities: int, triples: int) -> dict[str, Any]:
    """Filtered ranks of both sides of a test set of WN18RR's size, d = 200."""
    generator = torch.Generator().manual_seed(0)
    count = 2 * triples
    keys = torch.randn(entities, 200, generator=generator).to(device)
    queries = torch.randn(count, 200, generator=generator).to(device)
    target = torch.randint(entities, (count,), generator=generator).to(device)
    known = torch.randint(0, 6, (count,), generator=generator).cumsum(0)
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), known]).to(device)
    index = torch.randint(entities, (int(ptr[-1]),), generator=generator).to(device)
    exclude = Exclude.csr(ptr, index)

    def ranks(impl: Impl, rows: int = count) -> Any:
        part = Exclude.csr(ptr[: rows + 1], index[: int(ptr[rows])]) if rows < count else exclude
        return rank_counts(
            queries[:rows],
            keys,
            target[:rows],
            score=score,
            exclude=part,
            impl=impl,
        )

    some = min(100, count)
    same = all(
        torch.equal(a, b)
        for a, b in zip(ranks("triton", some), ranks("reference", some), strict=True)
    )
    if not same:
        return {"score": score, "failed": "ranks differ from the definition"}
    found = {str(name): timed(partial(ranks, name), 5, device) for name in _TIMED}
    return {"score": score, "entities": entities, "queries": count, "width": 200, **found}


def environment(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    import triton

    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": named, "torch": torch.__version__, "triton": triton.__version__,
        "cuda": torch.version.cuda, "python": platform.python_version(),
        "implementation": str(explain_impl(*[torch.zeros(2, 2, device=device)] * 2)),
    }  # fmt: skip


def main() -> None:
    """Run every part and write the JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("json", type=Path)
    parser.add_argument(
        "--rehearse", action="store_true",
        help="tiny sizes on the CPU in Triton's interpreter: tries the script, measures nothing",
    )  # fmt: skip
    options = parser.parse_args()
    small = options.rehearse
    if not small and not torch.cuda.is_available():
        parser.error("no CUDA device; --rehearse with TRITON_INTERPRET=1 tries the script")
    if small and not interpreting():
        parser.error("--rehearse needs TRITON_INTERPRET=1")
    device = torch.device("cpu" if small else "cuda")
    large = (64, 96) if small else (169_343, 1_000_000)
    sizes = (50, 20) if small else (40_943, 3134)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "correctness": lambda: correctness(device, 40 if small else 1000)
    }
    for kind in ("tf32", "bf16", "ieee"):
        parts[f"infonce {large[0]} {kind}"] = partial(contrast, device, large[0], kind, 5)
    if not small:
        parts["inf-cl 40000"] = partial(inf_cl, device, 40_000)
    for score in SCORES:
        parts[f"ranking {score}"] = partial(ranking, device, score, *sizes)
    for kind in ("bf16", "tf32"):
        parts[f"infonce {large[1]} {kind}"] = partial(contrast, device, large[1], kind, 1)
    for kind in ("bf16", "tf32", "ieee"):
        parts[f"tiles {kind}"] = partial(tile_shapes, device, 40 if small else 40_000, kind)
    start = time.monotonic()
    result: dict[str, Any] = {"case": "gpu", "rehearsal": small, "environment": environment(device)}
    result["parts"] = {}
    for name, part in parts.items():
        began = time.monotonic()
        if began - start > BUDGET:
            found: dict[str, Any] = {"skipped": "the time was up"}
        else:
            try:
                found = part()
            except torch.OutOfMemoryError:
                found = {"failed": "out of memory"}
            except Exception as error:  # one failing part must not lose the others
                found = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        found["part_seconds"] = round(time.monotonic() - began, 2)
        result["parts"][name] = found
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
        print(name, json.dumps({k: v for k, v in found.items() if k != "cases"}), flush=True)
    failed = [n for n, f in result["parts"].items() if "failed" in f or f.get("ok") is False]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
