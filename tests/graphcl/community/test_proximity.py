"""Proximity kernels against SciPy's matrix functions, and their clusters."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from graphcl.community import proximity_kernel, spectral_communities
from graphcl.community.proximity import KERNELS
from graphcl.data import load_dataset
from graphcl.probes import clustering_scores


def dense(edge_index: Tensor, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    adjacency = np.zeros((nodes, nodes))
    adjacency[edge_index[0], edge_index[1]] = 1
    return adjacency, np.diag(adjacency.sum(1)) - adjacency


@pytest.mark.parametrize("t", [0.1, 1.0])
@pytest.mark.parametrize("log", [False, True])
def test_kernels_equal_matrix_functions(t: float, log: bool) -> None:
    data = load_dataset("karate")
    adjacency, laplacian = dense(data.edge_index, 34)
    top = np.linalg.eigvalsh(adjacency)[-1]
    wanted = {
        "communicability": scipy.linalg.expm(t * adjacency) * np.exp(-t * top),
        "heat": scipy.linalg.expm(-t * laplacian),
        "regularized_laplacian": np.linalg.inv(np.eye(34) + t * laplacian),
    }
    for kernel in KERNELS:
        got = proximity_kernel(data.edge_index, 34, kernel, t=t, log=log)
        want = torch.from_numpy(np.log(wanted[kernel]) if log else wanted[kernel])
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def test_a_large_scale_does_not_overflow() -> None:
    nodes = 60
    edges = (~torch.eye(nodes, dtype=torch.bool)).nonzero().T  # radius 59, exp(59 * 20) overflows
    for log in (False, True):
        assert proximity_kernel(edges, nodes, t=20.0, log=log).isfinite().all()


def test_components_are_far_apart_but_finite() -> None:
    two = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    for kernel in KERNELS:
        found = proximity_kernel(two, 4, kernel, log=True)
        assert found.isfinite().all()
        assert found[0, 1] > found[0, 2] + 10
        assert spectral_communities(two, 4, 2, kernel=kernel, log=True).tolist() == [0, 0, 1, 1]


def test_components_of_very_different_sizes_stay_apart() -> None:
    """Communicability within the small ones is e^-39 of that within the large one."""
    label = torch.tensor([0] * 45 + [1] * 6 + [2] * 6)
    edges = ((label[:, None] == label) & ~torch.eye(57, dtype=torch.bool)).nonzero().T
    found = spectral_communities(edges, 57, 3, log=True)
    assert clustering_scores(label, found)["accuracy"] == 1
    exact = proximity_kernel(edges[:, (edges < 45).all(0)], 45, log=True)
    torch.testing.assert_close(proximity_kernel(edges, 57, log=True)[:45, :45], exact)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("log", [False, True])
def test_planted_blocks_are_found(kernel: str, log: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(90) % 3
    rate = torch.where(label[:, None] == label, 0.5, 0.05)
    joined = (torch.rand(90, 90, generator=generator) < rate).triu(1)
    edges = (joined | joined.T).nonzero().T
    found = spectral_communities(edges, 90, 3, kernel=kernel, log=log, t=0.1)  # type: ignore
    assert clustering_scores(label, found)["accuracy"] > 0.95


def test_the_size_limit_says_what_else_there_is() -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"at most max_nodes=5000 nodes.*louvain or leiden"):
        spectral_communities(edges, 6000, 2)
    with pytest.raises(ValueError, match="max_nodes=10"):
        proximity_kernel(edges, 11, max_nodes=10)


def test_bad_input_is_named() -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    for call, words in (
        (lambda: proximity_kernel(edges, 2, "katz"), "kernel 'katz'"),  # type: ignore[arg-type]
        (lambda: proximity_kernel(edges, 2, t=0.0), "t must be"),
        (lambda: proximity_kernel(edges, 1), "0 to 1, num_nodes is 1"),
        (lambda: spectral_communities(edges, 2, 3), "1..2, got 3"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
