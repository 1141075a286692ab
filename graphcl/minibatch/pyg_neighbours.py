"""Neighbourhood sampling by PyG's compiled samplers, where they are installed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch_geometric.typing
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader

from graphcl.minibatch.sources import BatchSource


def pyg_can_sample() -> bool:
    """Whether pyg-lib or torch-sparse is there for PyG's ``NeighborLoader``."""
    return bool(torch_geometric.typing.WITH_PYG_LIB or torch_geometric.typing.WITH_TORCH_SPARSE)


class PygNeighbourSource(BatchSource):
    """What :class:`~graphcl.minibatch.NeighbourSource` does, drawn by PyG's ``NeighborLoader``.

    Args:
        data: the whole graph, see :class:`~graphcl.minibatch.BatchSource`.
        fan_out: edges per node, one number per hop; -1 takes all.

    Raises:
        ImportError: neither pyg-lib nor torch-sparse is installed.
    """

    def __init__(self, data: Data, fan_out: Sequence[int]) -> None:
        super().__init__(data)
        if not pyg_can_sample():
            raise ImportError("PyG samples neighbours with pyg-lib or torch-sparse: install one")
        graph = Data(edge_index=data.edge_index, num_nodes=self.num_nodes)
        self._loader = NeighborLoader(graph, num_neighbors=list(fan_out), input_nodes=None)

    def sample(self, seeds: Tensor, seed: int) -> Data:
        """See :meth:`BatchSource.sample`."""
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(seed)  # those of CUDA stay as they are
            found = self._loader(seeds)
        return self.batch(found.n_id, found.e_id, len(seeds))
