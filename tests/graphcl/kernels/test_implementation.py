"""The choice of an implementation, and what it says; devices are described, not needed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
    explain_impl,
    negative_logsumexp,
    rank_counts,
    segment_softmax,
    segment_sum,
    triton_support,
)


def rows(device: str, dtype: torch.dtype = torch.float32) -> Any:
    """What the choice looks at."""
    return SimpleNamespace(device=torch.device(device), dtype=dtype, shape=(3, 2))


@pytest.fixture
def with_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_support, "_installed", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


class Own(TileWeight):
    def check(self, num_queries: int, num_keys: int) -> None: ...

    def tile(self, parameters: Any, rows: slice, columns: slice, similarity: Any) -> Any: ...


@pytest.mark.usefixtures("with_triton")
def test_auto_takes_triton_on_cuda_and_chunked_elsewhere() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    weight = (
        KeyWeight(torch.zeros(3))
        + GroupWeight(torch.zeros(1, 1), labels, labels)
        + LowRankWeight(torch.ones(3, 2), torch.ones(3, 2))
        + SimilarityWeight(lambda s: 2.0 * s)
    )
    exclude = Exclude.diagonal() | Exclude.same_group(labels, labels)
    cuda = rows("cuda")
    assert explain_impl(cuda, cuda, log_weight=weight, exclude=exclude).name == "triton"
    assert "3 x 3" in explain_impl(cuda, cuda).reason
    assert explain_impl(rows("cpu"), rows("cpu")).name == "chunked"
    assert "mps" in str(explain_impl(rows("mps"), rows("mps")))


@pytest.mark.parametrize(
    ("weight", "exclude", "dtype", "why"),
    [
        (None, None, torch.float64, "float64"),
        (Own(), None, torch.float32, "Own has no Triton form"),
        (SimilarityWeight(lambda s: s.cumsum(1)), None, torch.float32, "cumsum"),
        (
            SimilarityWeight(lambda s: s) + SimilarityWeight(lambda s: -s),
            None,
            torch.float32,
            "two SimilarityWeights",
        ),
        (None, Exclude.diagonal(0) | Exclude.diagonal(1), torch.float32, "two different diagonals"),
    ],
)
@pytest.mark.usefixtures("with_triton")
def test_what_triton_cannot_take_is_named(
    weight: TileWeight | None, exclude: Exclude | None, dtype: torch.dtype, why: str
) -> None:
    cuda = rows("cuda", dtype)
    choice = explain_impl(cuda, cuda, log_weight=weight, exclude=exclude)
    assert choice.name == "chunked"
    assert why in choice.reason
    with pytest.raises(ValueError, match=f"impl='triton' cannot take this call.*{why}"):
        explain_impl(cuda, cuda, log_weight=weight, exclude=exclude, impl="triton")


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_support, "_installed", lambda: False)
    assert "not installed" in explain_impl(rows("cuda"), rows("cuda")).reason


@pytest.mark.usefixtures("with_triton")
def test_triton_on_the_cpu_is_an_error_without_the_interpreter() -> None:
    z = torch.eye(3)
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        negative_logsumexp(z, z, impl="triton")
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        rank_counts(z, z, torch.arange(3), impl="triton")
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        segment_softmax(z, torch.arange(3), impl="triton")
    with pytest.raises(ValueError, match="only segment_logsumexp and segment_softmax"):
        segment_sum(z, torch.arange(3), impl="triton")


def test_unknown_names() -> None:
    z = torch.eye(3)
    with pytest.raises(ValueError, match=r"unknown impl 'fast'.*triton"):
        negative_logsumexp(z, z, impl="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown precision 'fp8'.*ieee, tf32, tf32x3"):
        negative_logsumexp(z, z, precision="fp8")  # type: ignore[arg-type]
