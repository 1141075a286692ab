"""The kernels compile for a GPU, which needs none: down to machine code of compute capability 9."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from graphcl.kernels.triton_expressions import translate
from graphcl.kernels.triton_support import interpreting

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(interpreting(), reason="interpreted functions are not compiled")

INTEGERS = [
    "num_own", "num_other", "num_keys", "width", "own_stride", "other_stride",
    "query_stride", "key_stride", "own_step", "other_step", "rank", "offset",
    "value_width", "value_stride",
]  # fmt: skip
ROWS = ("own_ptr", "other_ptr", "values_ptr")
RESULTS = ("out_ptr", "sum_ptr")
EVERYTHING = [
    "other_bias_ptr", "table_ptr", "own_factor_ptr", "other_factor_ptr", "own_value_ptr",
    "own_label_ptr", "other_label_ptr", "own_group_ptr", "other_group_ptr", "list_ptr",
    "list_index", "number_ptr",
]  # fmt: skip
TOTALS = ("own_total_ptr", "own_grad_ptr", "other_total_ptr", "other_grad_ptr")


class Built(NamedTuple):
    """Machine code, its PTX, and the bytes of registers spilled to memory."""

    cubin: bytes
    ptx: str
    spilled: int


def build(
    kernel: Any, tensors: dict[str, str], constants: dict[str, Any], warps: int = 4, stages: int = 2
) -> Built:
    """Compile for given types; parameters that are not named are None."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {**dict.fromkeys(INTEGERS, "i32"), "scale": "fp32", **tensors}
    signature, fixed, aligned = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else types.get(name, "constexpr")
        if signature[name] == "constexpr":
            fixed[(place,)] = constants.get(name)
        elif signature[name].startswith("*") or name == "width" or name.endswith("stride"):
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, fixed, aligned)
    built = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": stages}
    )
    assert ".target sm_90" in built.asm["ptx"]
    return Built(built.asm["cubin"], built.asm["ptx"], spilled(built.asm["cubin"]))


def spilled(cubin: bytes) -> int:
    path = Path(os.environ["TRITON_CACHE_DIR"]) / "kernel.cubin"
    path.write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    command = [str(tool), "--dump-resource-usage", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(map(int, re.findall(r"STACK:(\d+)", done.stdout)))


def pointers(names: tuple[str, ...] | list[str], dtype: str = "fp32") -> dict[str, str]:
    integer = ("label", "group", "list", "place", "target_ptr", "start", "found")
    return {n: "*i64" if any(part in n for part in integer) else f"*{dtype}" for n in names}


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


PLAIN = {
    "GRADIENT": False, "COEFFICIENT": None, "SUM": None, "FEEDS": False, "REUSE": False,
    "EVALUATE": None, "DIAGONAL": True, "PRECISION": "tf32", "NATIVE": True, "WHOLE": True,
    "BM": 32, "BN": 32, "BD": 32, "BR": 16, "BE": 32,
}  # fmt: skip


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("fp32", "tf32"), ("bf16", "tf32"), ("fp16", "tf32"), ("fp32", "tf32x3"), ("fp32", "ieee")],
)
def test_tiles_of_rows_of_128_numbers_fit_into_registers(
    dtype: str, precision: Any, gradient: bool
) -> None:
    from graphcl.kernels.triton_launch import CHUNKS, SHAPES
    from graphcl.kernels.triton_pairs import fold_rows

    high, wide, warps, stages = SHAPES[precision, gradient][0]
    whole = CHUNKS[precision] == 128
    tensors = {**pointers(ROWS, dtype), **pointers(RESULTS)}
    constants = {**PLAIN, "PRECISION": precision, "WHOLE": whole, "BD": CHUNKS[precision]}
    constants |= {"BM": high, "BN": wide, "BE": 128}
    if gradient:
        tensors |= pointers(TOTALS)
        constants |= {"GRADIENT": True, "COEFFICIENT": "row", "REUSE": whole}
    built = build(fold_rows, tensors, constants, warps, stages)
    assert built.spilled <= 64
    # Products on Hopper's tensor cores, unless they are to be exact.
    assert ("wgmma" in built.ptx) == (precision != "ieee")
    assert "atom" not in built.ptx


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"GRADIENT": True, "COEFFICIENT": "row", "SUM": "value", "FEEDS": True, "WHOLE": False},
        {"GRADIENT": True, "COEFFICIENT": "weight", "SUM": "logit"},
        {"GRADIENT": True, "COEFFICIENT": "logit", "SUM": "similarity"},
    ],
    ids=["forward", "rows", "factors", "table"],
)
def test_every_weight_and_exclusion_compiles(change: dict[str, Any]) -> None:
    from graphcl.kernels.triton_launch import compiled
    from graphcl.kernels.triton_pairs import fold_rows

    function = translate(lambda s, v: torch.where(s > v, -(s - v).square(), 2 * s.sigmoid()), 2)
    tensors = pointers([*ROWS, *RESULTS, *EVERYTHING])
    if change.get("GRADIENT"):
        tensors |= pointers(TOTALS)
    if change.get("COEFFICIENT") == "logit":
        tensors["value_label_ptr"] = "*i64"
    constants = {**PLAIN, "EVALUATE": compiled(function.source), **change}
    assert "atom" not in build(fold_rows, tensors, constants).ptx


@pytest.mark.parametrize(
    ("score", "write"),
    [("dot", False), ("l2", False), ("l1", False), ("rotate", False), ("rotate", True)],
)
def test_every_score_compiles_into_registers(score: str, write: bool) -> None:
    from graphcl.kernels.triton_launch import RANKING
    from graphcl.kernels.triton_rank_fold import count_rows

    named = [
        "query_ptr", "key_ptr", "bias_ptr", "low_ptr", "high_ptr", "place_ptr",
        "target_ptr", "list_ptr", "list_index",
    ]  # fmt: skip
    results = ("start", "found") if write else ("greater", "within", "candidates", "bad")
    tensors = pointers(named) | {f"{name}_ptr": "*i64" for name in results}
    high, wide, warps, stages = RANKING[0]
    constants = {"SCORE": score, "DIAGONAL": False, "CHECK": False, "WRITE": write}
    constants |= {"PRECISION": "ieee", "NATIVE": True, "BM": high, "BN": wide, "BD": 16}
    built = build(count_rows, tensors, constants, warps, stages)
    assert built.spilled <= 16
    assert "atom" not in built.ptx


@pytest.mark.parametrize("log", [False, True])
def test_segments_compile(log: bool) -> None:
    from graphcl.kernels.triton_segments import fold_segments

    tensors = {"values_ptr": "*fp16", "order_ptr": "*i64", "ptr": "*i64", "out_ptr": "*fp32"}
    constants = {"LOG": log, "ORDERED": True, "BR": 32, "BC": 64}
    assert "atom" not in build(fold_segments, tensors, constants).ptx
