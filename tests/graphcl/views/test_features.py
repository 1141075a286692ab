import pytest
import torch

from graphcl.views.features import mask_features


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_whole_columns_go_and_the_rest_is_untouched() -> None:
    x = torch.randn(17, 63, generator=seeded(1))
    before = x.clone()
    view = mask_features(x, 0.5, generator=seeded(2))
    gone = (view == 0).all(0)
    assert 0 < gone.sum() < 63
    assert torch.equal(view[:, ~gone], x[:, ~gone])
    assert torch.equal(x, before)


@pytest.mark.parametrize("p", [0.1, 0.7])
def test_rate(p: float) -> None:
    view = mask_features(torch.ones(2, 20_000), p, generator=seeded())
    assert abs(view[0].mean() - (1 - p)) < 4 * (p * (1 - p) / 20_000) ** 0.5


def test_rate_per_column() -> None:
    p = torch.tensor([0.0, 0.25, 0.5, 1.0])
    generator = seeded()
    draws = 4000
    kept = sum(mask_features(torch.ones(1, 4), p, generator=generator)[0] for _ in range(draws))
    assert ((kept / draws - (1 - p)).abs() <= 4 * (p * (1 - p) / draws).sqrt()).all()


def test_limits() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(mask_features(x, 0.0), x)
    assert not mask_features(x, 1.0).any()


def test_zero_is_a_copy() -> None:
    x = torch.ones(2, 2)
    mask_features(x, 0.0).zero_()
    assert x.all()


def test_infinite_values_are_masked_too() -> None:
    x = torch.tensor([[float("inf"), 1.0], [float("nan"), 2.0]])
    assert mask_features(x, torch.tensor([1.0, 0.0])).tolist() == [[0.0, 1.0], [0.0, 2.0]]


def test_seed_decides() -> None:
    x = torch.randn(3, 100)
    one, same, other = (mask_features(x, 0.5, generator=seeded(s)) for s in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_gradient_reaches_kept_columns_only() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    mask_features(x, torch.tensor([1.0, 0.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0]] * 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    assert mask_features(torch.ones(2, 3, dtype=dtype), 0.5).dtype == dtype


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_empty(shape: tuple[int, int]) -> None:
    assert mask_features(torch.empty(shape), 0.5).shape == shape


def test_bad_input() -> None:
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        mask_features(x, 1.2)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        mask_features(x, torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="give \\(N, F\\)"):
        mask_features(torch.ones(3), 0.5)
    with pytest.raises(ValueError, match="at_most=-1 is negative"):
        mask_features(x, 0.5, at_most=-1)
