import warnings

import torch

from graphcl.encoders.adjacency import can_multiply, sparse_adjacency


def test_dense_equal_with_parallel_edges_and_isolated_nodes() -> None:
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(9, (2, 60), generator=generator)
    weight = torch.rand(60, generator=generator)
    expected = torch.zeros(12, 12)
    for (u, v), w in zip(edges.T.tolist(), weight, strict=True):
        expected[v, u] += w
    matrix = sparse_adjacency(edges, weight, 12)
    assert torch.allclose(matrix @ torch.eye(12), expected)


def test_no_edges() -> None:
    matrix = sparse_adjacency(torch.empty(2, 0, dtype=torch.long), torch.empty(0), 4)
    assert not (matrix @ torch.ones(4, 3)).any()


def test_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparse_adjacency(torch.tensor([[0], [1]]), torch.ones(1), 2)


def test_what_the_product_covers() -> None:
    x, weight = torch.ones(2, 2), torch.ones(3)
    assert can_multiply(x, None)
    assert can_multiply(x.double(), weight)
    assert not can_multiply(x.half(), weight)
    assert not can_multiply(x, weight.requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_multiply(x, None)
