"""Mini-batch losses: a batch of all nodes is the full batch, in value and in gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphcl.losses import BootstrapLoss, CandidatePool, CandidateQueue
from graphcl.methods import BGRL, DGI, GCA, GRACE, GCooL, GraphMethod, ProGCL
from graphcl.minibatch import Batching, ClusterSource, NeighbourSource, WholeGraph, make_loader

BUILDERS: dict[str, Callable[[], GraphMethod]] = {
    "grace": lambda: GRACE(12, 8),
    "grace-narrow-head": lambda: GRACE(12, 8, projection=3),
    "gca": lambda: GCA(12, 8),
    "gcool": lambda: GCooL(12, 8, communities=3),
    "gcool-louvain": lambda: GCooL(12, 8, communities="louvain"),
    "bgrl": lambda: BGRL(12, (16, 8), predictor=16),
    "dgi": lambda: DGI(12, 8),
}


def value_and_gradients(
    method: GraphMethod, loss: Callable[[], Tensor], seed: int = 5
) -> tuple[Tensor, dict[str, Tensor]]:
    """Of the loss on the views of one seed."""
    torch.manual_seed(seed)
    method.zero_grad()
    value = loss()
    value.backward()
    grads = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
    return value.detach(), grads


@pytest.fixture(params=BUILDERS)
def method(request: pytest.FixtureRequest) -> GraphMethod:
    """A method in double precision."""
    return BUILDERS[request.param]().double()


@pytest.fixture
def wide(graph: Data) -> Data:
    """The graph in double precision."""
    graph.x = graph.x.double()
    return graph


@pytest.mark.parametrize(
    "make",
    [WholeGraph, ClusterSource, lambda data: NeighbourSource(data, (-1, -1))],
    ids=["whole", "cluster", "neighbour"],
)
@pytest.mark.parametrize("pooled", [False, True])
def test_a_batch_of_all_nodes_is_the_full_batch(
    method: GraphMethod, wide: Data, make: Any, pooled: bool
) -> None:
    wanted = value_and_gradients(method, lambda: method(wide.x, wide.edge_index))
    method.know_whole_graph(wide.x, wide.edge_index)
    batch = make(wide).sample(torch.arange(31), 0)
    pool = CandidatePool() if pooled else None
    found = value_and_gradients(method, lambda: method.seed_loss(batch, pool))
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-12, atol=0)
    assert found[1].keys() == wanted[1].keys()
    for name, grad in found[1].items():
        torch.testing.assert_close(grad, wanted[1][name], rtol=1e-9, atol=1e-12)


def test_only_seeds_are_anchors_and_candidates(wide: Data) -> None:
    """By hand: the encoder sees the subgraph, the loss sees the rows of the seeds."""
    method = GRACE(12, 8, drop_edge=(0, 0), mask_feature=(0, 0)).double()
    batch = NeighbourSource(wide, (3, 3)).sample(torch.tensor([4, 30, 11, 2]), 0)
    assert len(batch.n_id) > 4
    h = method.head(method.encode(batch.x, batch.edge_index))[:4]
    torch.testing.assert_close(method.seed_loss(batch), method.loss(h, h))


def test_edges_keep_the_probabilities_of_the_whole_graph(wide: Data) -> None:
    method = GCA(12, 8).double()
    method.know_whole_graph(wide.x, wide.edge_index)
    whole = method.probabilities(wide.x, wide.edge_index)
    batch = NeighbourSource(wide, (2, 2)).sample(torch.tensor([0, 8, 30]), 0)
    method.seed_loss(batch)
    for (edge, feature), (every, mask) in zip(
        method.probabilities(batch.x, batch.edge_index), whole, strict=True
    ):
        assert torch.equal(edge, every[batch.e_id])
        assert torch.equal(feature, mask)


def test_progcl_weighs_the_seeds_and_refuses_candidates_beyond_them(wide: Data) -> None:
    method = ProGCL(12, 8, epoch_start=0).double()
    wanted = value_and_gradients(method, lambda: method(wide.x, wide.edge_index))[0]
    method.loss.fitted.fill_(-1)
    method.know_whole_graph(wide.x, wide.edge_index)
    batch = WholeGraph(wide).sample(torch.arange(31), 0)
    found = value_and_gradients(method, lambda: method.seed_loss(batch))[0]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="ProGCLWeight weighs whole sums of two views"):
        method.seed_loss(batch, CandidatePool(CandidateQueue(8)))
    # The release's weights belong to the nodes that they were computed for.
    with pytest.raises(ValueError, match="mode='official' keeps the weights of one batch"):
        ProGCL(12, 8, mode="official").double().seed_loss(batch)


@pytest.mark.parametrize("queue", [0, 40])
def test_batches_train(method: GraphMethod, wide: Data, queue: int) -> None:
    """Batches lower the loss of the full graph, with candidates of earlier batches too."""
    pool = CandidatePool(CandidateQueue(queue) if queue else None, momentum=0.95)
    loader = make_loader(wide, Batching("neighbor", 11, (3, 3)))
    method.know_whole_graph(wide.x, wide.edge_index)
    method.steps_per_epoch = len(loader)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=0.01)
    before, step = whole_loss(method, wide), 0
    for epoch in range(30):
        loader.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            method.seed_loss(batch, pool).backward()
            optimizer.step()
            method.after_step(step, 90)
            step += 1
    assert whole_loss(method, wide) < before - 0.02


def whole_loss(method: GraphMethod, data: Data) -> float:
    """Mean loss of the full graph over some views, at the beginning of any schedule."""
    if isinstance(method, GCooL):
        method.epoch.zero_()
    torch.manual_seed(3)
    with torch.no_grad():
        return sum(float(method(data.x, data.edge_index)) for _ in range(5)) / 5


def test_the_schedule_of_gcool_counts_epochs(wide: Data) -> None:
    method = GCooL(12, 8, communities=3)
    method.steps_per_epoch = 4
    for step in range(10):
        method.after_step(step, 100)
    assert int(method.epoch) == 2


class OwnForward(GRACE):
    """A subclass with another loss and no mini-batch form of it."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return 2 * super().forward(x, edge_index)


class OwnForwardAndBatches(OwnForward):
    def seed_loss(self, batch: Data, pool: CandidatePool | None = None) -> Tensor:
        return 2 * super().seed_loss(batch, pool)


def test_a_parents_batches_are_not_taken_for_the_own_ones() -> None:
    for cls in (GRACE, GCA, GCooL, BGRL, DGI, OwnForwardAndBatches):
        assert cls.takes_batches(), cls
    assert not OwnForward.takes_batches()
    assert not GraphMethod.takes_batches()


def test_own_losses_have_no_further_candidates(wide: Data) -> None:
    class Own(torch.nn.Module):
        def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
            return BootstrapLoss()(z1, z2, z1, z2)

    method = GRACE(12, 8, loss=Own()).double()
    batch = ClusterSource(wide).sample(torch.arange(20), 0)
    assert method.seed_loss(batch).isfinite()
    pool = CandidatePool(CandidateQueue(10))
    with pytest.raises(ValueError, match="Own takes no candidates beyond the batch"):
        method.seed_loss(batch, pool)


def test_a_method_without_batches_says_so(wide: Data) -> None:
    class Whole(GraphMethod):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return x.sum()

        def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return x

    with pytest.raises(ValueError, match="Whole trains on the full graph only"):
        Whole().seed_loss(wide)
