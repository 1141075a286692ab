import copy

import torch

from graphcl.kernels.kept import Kept


def test_the_same_tensors_unchanged() -> None:
    edges, other = torch.tensor([[0], [1]]), torch.tensor([[0], [1]])
    kept = Kept("value", edges, 3)
    assert kept.value == "value"
    assert kept.is_of(edges, 3)
    assert not kept.is_of(other, 3)
    assert not kept.is_of(edges, 4)
    assert not kept.is_of(edges)
    edges[0, 0] = 2
    assert not kept.is_of(edges, 3)
    assert Kept("value", edges, 3).is_of(edges, 3)


def test_none_sparse_and_inference_tensors_are_sources_too() -> None:
    with torch.inference_mode():
        made = torch.ones(2)
    sparse = torch.eye(2).to_sparse()
    kept = Kept(1, made, sparse, None)
    assert kept.is_of(made, sparse, None)
    assert not kept.is_of(made, sparse.clone(), None)
    assert copy.deepcopy(Kept([1], made)).value == [1]
