"""What a batch and the final embedding hold at once."""

from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphcl.losses import CandidatePool, CandidateQueue
from graphcl.methods import GRACE
from graphcl.minibatch import Batching, make_loader

NODES, EDGES, WIDTH = 6000, 90_000, 16


@pytest.fixture
def big() -> Data:
    """A random graph with many more edges than nodes."""
    return Data(x=torch.rand(NODES, WIDTH), edge_index=torch.randint(0, NODES, (2, EDGES)))


def test_a_batch_never_holds_anchors_times_candidates(big: Data, largest: Any) -> None:
    method = GRACE(WIDTH, WIDTH)
    pool = CandidatePool(CandidateQueue(5000))
    loader = make_loader(big, Batching("neighbor", 2000, (2,)))
    batches = list(loader)
    method.seed_loss(batches[0], pool)
    method.seed_loss(batches[1], pool)
    with largest:
        method.seed_loss(batches[2], pool).backward()
    assert len(pool.queue or ()) == 5000
    assert largest.bytes <= 4 * 1024 * 1024  # a tile; 2000 x 14000 would be 107 MB


def test_embedding_all_nodes_holds_no_row_per_edge(big: Data, largest: Any) -> None:
    for encoder in ("gcn", "sage"):
        method = GRACE(WIDTH, WIDTH, encoder=encoder)
        with largest:
            method.embed(big.x, big.edge_index)
        # The inner layer is twice as wide; edge ids are (2, E) int64.
        assert largest.bytes <= max(4 * NODES * 2 * WIDTH, 2 * 8 * (EDGES + NODES))
        assert largest.bytes < 4 * EDGES * WIDTH
