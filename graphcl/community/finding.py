"""Communities of a graph by the name of a method."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from graphcl.community.partitions import leiden, louvain
from graphcl.community.proximity import KERNELS, spectral_communities

SPECTRAL = (*KERNELS, *(f"log_{kernel}" for kernel in KERNELS))
METHODS = ("louvain", "leiden", *SPECTRAL)


def find_communities(
    name: str,
    edge_index: Tensor,
    num_nodes: int,
    *,
    num_communities: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """Communities (N,) of a graph, int64 labels from 0.

    They serve as groups of :class:`~graphcl.kernels.Exclude` and
    :class:`~graphcl.kernels.GroupWeight`, as :class:`~graphcl.weights.SameCluster`, and in place of
    gCooL's learned ones (``GCooL(communities="louvain")``).

    Args:
        name: ``louvain``, ``leiden``, a proximity kernel for spectral clustering
            (``communicability``, ``heat``, ``regularized_laplacian``), or one of these with
            ``log_`` before it.
        edge_index: (2, E).
        num_nodes: N.
        num_communities: K of spectral clustering; the others find their own number.
        seed: of the method.
        options: further keywords of :func:`louvain`, :func:`leiden` or
            :func:`spectral_communities`.

    Raises:
        ValueError: unknown name, a spectral method without ``num_communities``, or another one
            with it.

    Example:
        >>> import torch
        >>> two_pairs = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
        >>> find_communities("log_heat", two_pairs, 4, num_communities=2).tolist()
        [0, 0, 1, 1]
    """
    check_communities(name, num_communities)
    if name in SPECTRAL:
        assert num_communities is not None
        kernel: Any = name.removeprefix("log_")
        return spectral_communities(
            edge_index,
            num_nodes,
            num_communities,
            kernel=kernel,
            log=name.startswith("log_"),
            seed=seed,
            **options,
        )
    method = louvain if name == "louvain" else leiden
    return method(edge_index, num_nodes, seed=seed, **options)


def check_communities(name: str, num_communities: int | None) -> None:
    """Raise ``ValueError`` unless the name is known and the number goes with it."""
    if name not in METHODS:
        raise ValueError(f"unknown communities {name!r}; choose from {', '.join(METHODS)}")
    if name in SPECTRAL and num_communities is None:
        raise ValueError(f"communities {name!r} need their number: give num_communities")
    if name not in SPECTRAL and num_communities is not None:
        raise ValueError(f"{name} finds the number of communities itself: leave num_communities")
