"""Sketches of rows: their law, their gradient, their memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.views import sketch_rows
from graphcl.views.sketch import _gaussian_blocks

KINDS: list[dict[str, Any]] = [
    {"kind": "gaussian"},
    {"kind": "sparse"},
    {"kind": "sparse", "nonzeros": 3},
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(nodes: int = 40, width: int = 3) -> Tensor:
    return torch.randn(nodes, width, generator=seeded(1), dtype=torch.float64)


def matrix(nodes: int, k: int, **options: Any) -> Tensor:
    """The random matrix P itself."""
    return sketch_rows(torch.eye(nodes, dtype=torch.float64), k, **options)


@pytest.mark.parametrize("options", KINDS)
def test_covariance_is_kept_on_average_at_the_rate_of_the_draws(options: Any) -> None:
    """The mean of ``(P z)^T P z`` goes to ``z^T z`` as 1 / sqrt(k draws)."""
    z, k = rows(), 16
    want = z.T @ z
    generator = seeded()
    errors = []
    for draws in (25, 400, 6400):
        total = torch.zeros_like(want)
        for _ in range(draws):
            found = sketch_rows(z, k, generator=generator, **options)
            total += found.T @ found / draws
        errors.append(float((total - want).norm() / want.norm()))
        assert errors[-1] < 4 * 3 / (k * draws) ** 0.5
    assert errors[2] < errors[0] / 4  # a sixteenth on average


@pytest.mark.parametrize("options", KINDS)
def test_it_is_one_linear_map(options: Any) -> None:
    z = rows()
    sketched = sketch_rows(z, 20, generator=seeded(4), **options)
    p = matrix(40, 20, generator=seeded(4), **options)
    torch.testing.assert_close(sketched, p @ z)
    both = sketch_rows(torch.cat([z, z.flip(0)], 1), 20, generator=seeded(4), **options)
    torch.testing.assert_close(both, torch.cat([p @ z, p @ z.flip(0)], 1))


def test_entries_of_the_matrices() -> None:
    dense = matrix(50, 30, generator=seeded())
    assert float(dense.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(dense.std()) == pytest.approx(30**-0.5, rel=0.05)
    count = matrix(50, 30, kind="sparse", generator=seeded())
    assert torch.equal(count.abs().sum(0), torch.ones(50, dtype=torch.float64))
    assert set(count.unique().tolist()) == {-1.0, 0.0, 1.0}
    several = matrix(200, 4000, kind="sparse", nonzeros=4, generator=seeded())
    torch.testing.assert_close(
        several.square().sum(0).mean(), torch.ones((), dtype=torch.float64), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("options", KINDS)
def test_gradient_is_that_of_the_same_matrix(options: Any) -> None:
    z = rows(9).requires_grad_()

    def sketch(z: Tensor) -> Tensor:
        return sketch_rows(z, 5, generator=seeded(7), **options)

    assert torch.autograd.gradcheck(sketch, z)
    upstream = torch.randn(5, 3, dtype=torch.float64, generator=seeded(8))
    got = torch.autograd.grad(sketch(z), z, upstream)[0]
    torch.testing.assert_close(got, matrix(9, 5, generator=seeded(7), **options).T @ upstream)


def test_blocks_make_no_difference_to_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one row, of some, and of all: forward and backward always draw alike."""
    z = rows(9).requires_grad_()
    for entries in (1, 20, 10**6):
        monkeypatch.setattr("graphcl.views.sketch._BLOCK_ENTRIES", entries)
        assert torch.autograd.gradcheck(lambda z: sketch_rows(z, 7, generator=seeded(2)), z)
        sizes = [block.shape[0] for _, block in _gaussian_blocks(z, 9, 7, 0)]
        assert sizes == {1: [1] * 7, 20: [2, 2, 2, 1], 10**6: [7]}[entries]


def test_the_global_seed_decides() -> None:
    z = rows()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(sketch_rows(z, 8))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert not torch.equal(sketch_rows(z, 8), sketch_rows(z, 8))


@pytest.mark.parametrize("options", KINDS[:2])
def test_the_matrix_is_never_held(options: Any, largest: Any) -> None:
    nodes, k = 20_000, 600

    z = torch.randn(nodes, 4, requires_grad=True)
    with largest:
        sketch_rows(z, k, **options).square().sum().backward()
    assert largest.entries <= 2**22 < nodes * k
    assert z.grad is not None


def test_bad_input_is_named() -> None:
    z = rows()
    for call, words in (
        (lambda: sketch_rows(z[0], 3), r"\(3,\)"),
        (lambda: sketch_rows(z.long(), 3), "int64"),
        (lambda: sketch_rows(z, 0), "k=0"),
        (lambda: sketch_rows(z, 3, kind="sparse", nonzeros=0), "nonzeros=0"),
        (lambda: sketch_rows(z, 3, kind="dense"), "sketch 'dense'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=words):
            call()
