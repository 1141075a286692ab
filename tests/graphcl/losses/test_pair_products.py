"""Products of listed pairs: value, gradients, memory."""

import pytest
import torch

import graphcl.losses.pair_products as module
from graphcl.losses.pair_products import pair_products


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_value_and_gradients(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", piece)
    z = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    pairs = torch.randint(9, (2, 40))  # repeats and pairs of a row with itself included
    upstream = torch.randn(40, dtype=torch.float64)
    wanted = (z @ z.T)[pairs[0], pairs[1]]
    got = pair_products(z, pairs)
    torch.testing.assert_close(got, wanted)
    ours, theirs = (torch.autograd.grad(one, z, upstream)[0] for one in (got, wanted))
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(lambda rows: pair_products(rows, pairs), (z,))


def test_products_of_two_sets_of_rows() -> None:
    a, b = (torch.randn(9, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    pairs, upstream = torch.randint(9, (2, 40)), torch.randn(40, dtype=torch.float64)
    wanted, got = (a @ b.T)[pairs[0], pairs[1]], pair_products(a, pairs, b)
    torch.testing.assert_close(got, wanted)
    for ours, theirs in zip(
        *(torch.autograd.grad(one, (a, b), upstream) for one in (got, wanted)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="the others"):
        pair_products(a, pairs, b[1:])


def test_no_pairs() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    found = pair_products(z, torch.empty(2, 0, dtype=torch.long))
    assert found.shape == (0,)
    assert not torch.autograd.grad(found.sum(), z)[0].any()


def test_what_autograd_keeps_does_not_grow_with_the_width() -> None:
    kept: list[int] = []
    z, pairs = torch.randn(50, 64, requires_grad=True), torch.randint(50, (2, 1000))

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pair_products(z, pairs)
    assert sorted(kept) == [2000, 3200]


def test_errors() -> None:
    z = torch.eye(3)
    for rows, pairs, words in (
        (z[0], torch.zeros(2, 1, dtype=torch.long), "z must be"),
        (z, torch.zeros(3, 1, dtype=torch.long), "pairs"),
        (z, torch.tensor([[0], [3]]), "rows 0 to 3, but there are 3"),
        (z, torch.tensor([[0], [-1]]), "rows -1 to 0"),
    ):
        with pytest.raises(ValueError, match=words):
            pair_products(rows, pairs)
