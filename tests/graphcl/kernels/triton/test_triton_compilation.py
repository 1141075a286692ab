"""The kernels compile for a GPU, which needs none: down to machine code of compute capability 8."""

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
    "list_index",
]  # fmt: skip
TOTALS = ("own_total_ptr", "own_grad_ptr", "other_total_ptr", "other_grad_ptr")


def machine_code(kernel, tensors: dict[str, str], constants: dict[str, object]) -> bytes:  # type: ignore[no-untyped-def]
    """Compile for given types; parameters that are not named are None."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {**dict.fromkeys(INTEGERS, "i32"), "scale": "fp32", **tensors}
    signature, fixed = {}, {}
    for place, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else types.get(name, "constexpr")
        if signature[name] == "constexpr":
            fixed[(place,)] = constants.get(name)
    source = ASTSource(kernel, signature, fixed)
    built = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4})
    return built.asm["cubin"]


def pointers(names: tuple[str, ...] | list[str], dtype: str = "fp32") -> dict[str, str]:
    integer = ("label", "group", "list", "place", "target_ptr", "start", "found", "_ids")
    return {n: "*i64" if any(part in n for part in integer) else f"*{dtype}" for n in names}


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


PLAIN = {
    "GRADIENT": False, "COEFFICIENT": None, "SUM": None, "FEEDS": False, "REUSE": False,
    "EVALUATE": None, "DIAGONAL": True, "PRECISION": "tf32", "NATIVE": True, "WHOLE": True,
    "BM": 32, "BN": 32, "BD": 32, "BR": 16, "BE": 32,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "backward"])
def test_products_of_every_precision_compile(dtype: str, gradient: bool) -> None:
    from graphcl.kernels.triton_pairs import fold_rows

    tensors = {**pointers(ROWS, dtype), **pointers(RESULTS)}
    constants = dict(PLAIN)
    if gradient:
        tensors |= pointers(TOTALS)
        constants |= {"GRADIENT": True, "COEFFICIENT": "row", "REUSE": True}
    assert machine_code(fold_rows, tensors, constants)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"GRADIENT": True, "COEFFICIENT": "row", "SUM": "value", "FEEDS": True, "WHOLE": False},
        {"GRADIENT": True, "COEFFICIENT": "weight", "SUM": "logit"},
        {"GRADIENT": True, "COEFFICIENT": "logit", "SUM": "similarity", "value_label_ptr": True},
    ],
    ids=["forward", "rows", "factors", "table"],
)
def test_every_weight_and_exclusion_compiles(change: dict[str, object]) -> None:
    from graphcl.kernels.triton_launch import compiled
    from graphcl.kernels.triton_pairs import fold_rows

    function = translate(lambda s, v: torch.where(s > v, -(s - v).square(), s.sigmoid()), 2)
    tensors = pointers([*ROWS, *RESULTS, *EVERYTHING])
    if change.get("GRADIENT"):
        tensors |= pointers(TOTALS)
    if change.get("value_label_ptr"):
        tensors["value_label_ptr"] = "*i64"
    constants = {**PLAIN, "EVALUATE": compiled(function.source), **change}
    constants.pop("value_label_ptr", None)
    assert machine_code(fold_rows, tensors, constants)


@pytest.mark.parametrize("write", [False, True], ids=["count", "write"])
@pytest.mark.parametrize("score", ["dot", "l2", "l1", "rotate"])
def test_every_score_compiles(score: str, write: bool) -> None:
    from graphcl.kernels.triton_rank_fold import count_rows

    named = [
        "query_ptr", "key_ptr", "bias_ptr", "low_ptr", "high_ptr", "place_ptr",
        "target_ptr", "list_ptr",
    ]  # fmt: skip
    tensors = pointers([*named, "list_index", "query_group_ptr", "key_group_ptr"])
    results = ("start", "found") if write else ("greater", "within", "candidates", "bad")
    tensors |= {f"{name}_ptr": "*i64" for name in results}
    constants = {"SCORE": score, "DIAGONAL": True, "CHECK": True, "WRITE": write}
    constants |= {"PRECISION": "ieee", "NATIVE": True, "BM": 32, "BN": 32, "BD": 16}
    assert machine_code(count_rows, tensors, constants)


@pytest.mark.parametrize("log", [False, True])
def test_segments_compile(log: bool) -> None:
    from graphcl.kernels.triton_segments import fold_segments

    tensors = {"values_ptr": "*fp16", "order_ptr": "*i64", "ptr": "*i64", "out_ptr": "*fp32"}
    assert machine_code(fold_segments, tensors, {"LOG": log, "ORDERED": True, "BR": 32, "BC": 64})
