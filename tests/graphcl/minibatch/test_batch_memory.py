"""What a batch and the final embedding hold at once."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Data

from graphcl.losses import CandidatePool, CandidateQueue
from graphcl.methods import GRACE
from graphcl.minibatch import Batching, make_loader

NODES, EDGES, WIDTH = 6000, 90_000, 16


class Largest(TorchDispatchMode):
    """Bytes of the largest storage that any operation returns."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return out


@pytest.fixture
def big() -> Data:
    """A random graph with many more edges than nodes."""
    return Data(x=torch.rand(NODES, WIDTH), edge_index=torch.randint(0, NODES, (2, EDGES)))


def test_a_batch_never_holds_anchors_times_candidates(big: Data) -> None:
    method = GRACE(WIDTH, WIDTH)
    pool = CandidatePool(CandidateQueue(5000))
    loader = make_loader(big, Batching("neighbor", 2000, (2,)))
    batches = list(loader)
    method.seed_loss(batches[0], pool)
    method.seed_loss(batches[1], pool)
    with Largest() as seen:
        method.seed_loss(batches[2], pool).backward()
    assert len(pool.queue or ()) == 5000
    assert seen.bytes <= 4 * 1024 * 1024  # a tile; 2000 x 14000 would be 107 MB


def test_embedding_all_nodes_holds_no_row_per_edge(big: Data) -> None:
    for encoder in ("gcn", "sage"):
        method = GRACE(WIDTH, WIDTH, encoder=encoder)
        with Largest() as seen:
            method.embed(big.x, big.edge_index)
        # The inner layer is twice as wide; edge ids are (2, E) int64.
        assert seen.bytes <= max(4 * NODES * 2 * WIDTH, 2 * 8 * (EDGES + NODES))
        assert seen.bytes < 4 * EDGES * WIDTH
