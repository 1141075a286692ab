import copy
import pickle

import torch

from graphcl.kernels.kept import Kept


def test_the_same_tensors_unchanged() -> None:
    edges, other = torch.tensor([[0], [1]]), torch.tensor([[0], [2]])
    kept = Kept("value", edges, 3)
    assert kept.value == "value"
    assert kept.is_of(edges, 3)
    assert not kept.is_of(other, 3)
    assert not kept.is_of(edges, 4)
    assert not kept.is_of(edges)
    assert kept.is_of(edges.clone(), 3)  # as moved to a device anew at every step
    assert not kept.is_of(edges.int(), 3)
    edges[0, 0] = 2
    assert not kept.is_of(torch.tensor([[0], [1]]), 3)  # what it was is not known any more
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


def test_copies_share_it_and_pickles_leave_the_graph_out() -> None:
    matrix = torch.eye(3).to_sparse_csr()  # which torch cannot deepcopy
    kept = Kept(1, matrix)
    assert kept.is_of(matrix.clone())
    assert not kept.is_of((2 * torch.eye(3)).to_sparse_csr())
    assert copy.deepcopy(kept).is_of(matrix)
    loaded = pickle.loads(pickle.dumps(kept))
    assert not loaded.sources
    assert not loaded.is_of(matrix)
