"""Node features: masking of whole columns, and a compact form for those that are mostly zero."""

import warnings

import torch
from torch import Tensor

from graphcl.views.coins import flip_coins


def mask_features(
    x: Tensor,
    p: float | Tensor,
    *,
    at_most: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Set each feature column to zero with probability ``p``, the same columns for all nodes.

    The masking of GRACE (Zhu et al., 2020, arXiv:2006.04131). Kept values are not rescaled.

    Args:
        x: Node features (N, F), dense or in CSR layout; left as they are.
        p: Masking probability, or one per column (F,).
        at_most: Largest number of columns to mask; of more, so many are picked at random.
        generator: Source of randomness; torch's global one if None.

    Returns:
        Masked copy (N, F), in the layout of ``x``.

    Raises:
        ValueError: If ``x`` is not a matrix, a probability is NaN, outside [0, 1] or of the
            wrong shape, or ``at_most`` is negative.

    Example:
        >>> mask_features(torch.ones(2, 3), torch.tensor([0.0, 1.0, 0.0]))
        tensor([[1., 0., 1.],
                [1., 0., 1.]])
    """
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}: give (N, F)")
    if at_most is not None and at_most < 0:
        raise ValueError(f"at_most={at_most} is negative: give a number of columns, or None")
    masked = flip_coins(p, x.size(1), device=x.device, generator=generator)
    if at_most is not None and int(masked.sum()) > at_most:
        chosen = masked.nonzero().flatten()
        source = x.device if generator is None else generator.device
        order = torch.randperm(len(chosen), device=source, generator=generator).to(x.device)
        masked[chosen[order[at_most:]]] = False
    if x.layout != torch.sparse_csr:
        return x.masked_fill(masked, 0)
    values = x.values().masked_fill(masked[x.col_indices()], 0)
    return _csr(x.crow_indices(), x.col_indices(), values, x.shape)


def normalized_features(x: Tensor) -> Tensor:
    """Divide each node's features by their sum, as papers do with bags of words.

    Rows that sum to less than one are left, as by :class:`torch_geometric.transforms.
    NormalizeFeatures`; which however shifts all features by the least of all entries first. Here
    features with negative entries are left as they are, with a warning: their sum says nothing.

    Args:
        x: Node features (N, F), dense.

    Example:
        >>> normalized_features(torch.tensor([[1.0, 3.0], [0.0, 0.5]]))
        tensor([[0.2500, 0.7500],
                [0.0000, 0.5000]])
    """
    if x.numel() and x.min() < 0:
        warnings.warn(
            f"features with negative entries (the least is {float(x.min()):g}) are not divided by "
            "their sum; set normalize_features=false to say so",
            stacklevel=2,
        )
        return x
    return x / x.sum(1, keepdim=True).clamp(min=1.0)


def compact_features(x: Tensor, *, density: float = 0.1) -> Tensor:
    """CSR form of features of which at most a share ``density`` is not zero; others as they are.

    Bags of words are about one per cent full: a product with the weights of a first layer is then
    several times faster and takes less memory. Masking, GCN encoders and every method take it.

    Args:
        x: Node features (N, F), dense.
        density: Largest share of non-zero entries that is made sparse.

    Example:
        >>> compact_features(torch.eye(20)).layout, compact_features(torch.ones(2, 2)).layout
        (torch.sparse_csr, torch.strided)
    """
    if x.layout != torch.strided or x.numel() == 0 or x.count_nonzero() > density * x.numel():
        return x
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)
        return x.to_sparse_csr()


def identity_features(num_nodes: int) -> Tensor:
    """One column per node (N, N) in CSR layout, for a graph whose nodes have no features.

    The first layer of an encoder then learns a vector for each node, and masking a column hides
    a node's own.
    """
    index = torch.arange(num_nodes + 1)
    return _csr(index, index[:-1], torch.ones(num_nodes), torch.Size((num_nodes, num_nodes)))


def shuffle_rows(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Features handed to other nodes at random, the corruption of DGI; any layout."""
    source = x.device if generator is None else generator.device
    order = torch.randperm(x.size(0), device=source, generator=generator)
    return select_rows(x, order.to(x.device))


def select_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Features of some nodes, in the layout of ``x``.

    Args:
        x: (N, F), dense or in CSR layout.
        rows: (M,) node ids, in any order, repetitions allowed.

    Returns:
        (M, F), a copy.
    """
    if x.layout != torch.sparse_csr:
        return x[rows]
    sizes = x.crow_indices().diff()[rows]
    starts = x.crow_indices()[:-1][rows].repeat_interleave(sizes)
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    within = torch.arange(int(ptr[-1]), device=x.device) - ptr[:-1].repeat_interleave(sizes)
    entries = starts + within
    shape = torch.Size((len(rows), x.shape[1]))
    return _csr(ptr, x.col_indices()[entries], x.values()[entries], shape)


def _csr(ptr: Tensor, columns: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)
        return torch.sparse_csr_tensor(ptr, columns, values, shape, check_invariants=False)
