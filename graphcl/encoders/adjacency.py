"""Sparse adjacency matrix of an edge list, for message passing in O(E + N d) memory."""

import warnings

import torch
from torch import Tensor


def sparse_adjacency(edge_index: Tensor, weight: Tensor, num_nodes: int) -> Tensor:
    """CSR matrix (N, N) with ``weight`` (E,) at (target, source); parallel edges add up.

    A product with it passes messages along the edges. Unlike gathering and scattering edge by edge
    it never holds a (E, d) tensor, forward or backward, and is several times faster on a CPU.
    The indices are trusted: check them first.
    """
    source, target = edge_index.long()
    order = torch.argsort(target, stable=True)
    ptr = torch.zeros(num_nodes + 1, dtype=torch.long, device=edge_index.device)
    torch.cumsum(torch.bincount(target, minlength=num_nodes), 0, out=ptr[1:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)
        return torch.sparse_csr_tensor(
            ptr, source[order], weight[order], (num_nodes, num_nodes), check_invariants=False
        )


def can_multiply(x: Tensor, weight: Tensor | None) -> bool:
    """Whether the sparse product covers these inputs; if not, messages go edge by edge.

    It lacks half precision, and a gradient to the weights would be a sparse matrix.
    """
    learned = weight is not None and weight.requires_grad
    plain = x.dtype in (torch.float32, torch.float64)
    return plain and not learned and not torch.is_autocast_enabled(x.device.type)
