"""What every method promises, whichever it is."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from graphcl.methods import BGRL, COSTA, DGI, GCA, GRACE, GCooL, GraphMethod, ProGCL

BUILDERS: dict[str, Callable[..., GraphMethod]] = {
    "grace": lambda width, **o: GRACE(width, 8, **o),
    "grace-prelu-undirected": lambda width, **o: GRACE(
        width, 8, activation="prelu", undirected_views=True, layers=3, **o
    ),
    "gca-degree": lambda width, **o: GCA(width, 8, scheme="degree", **o),
    "gca-pagerank": lambda width, **o: GCA(width, 8, scheme="pagerank", **o),
    "gca-eigenvector": lambda width, **o: GCA(width, 8, scheme="eigenvector", **o),
    "bgrl": lambda width, **o: BGRL(width, (16, 8), predictor=16, **o),
    "dgi": lambda width, **o: DGI(width, 8, **o),
    "progcl": lambda width, **o: ProGCL(width, 8, epoch_start=1, refresh=2, **o),
    "gcool": lambda width, **o: GCooL(width, 8, communities=3, stride=1, **o),
    "gcool-more-communities-than-nodes": lambda width, **o: GCooL(
        width, 8, communities=40, stride=1, gamma=0.5, **o
    ),
    "costa": lambda width, **o: COSTA(width, 8, **o),
    "costa-sparse": lambda width, **o: COSTA(width, 8, sketch="sparse", nonzeros=2, **o),
}


@pytest.fixture(params=BUILDERS)
def build(request: pytest.FixtureRequest) -> Callable[..., GraphMethod]:
    """Function that makes a method with embeddings of width 8."""
    return BUILDERS[request.param]


def losses(method: GraphMethod, data: Data, steps: int, lr: float = 0.01) -> list[float]:
    """The plain loop of the documentation."""
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=lr)
    found = []
    for step in range(steps):
        method.train()
        optimizer.zero_grad()
        loss = method(data.x, data.edge_index)
        loss.backward()
        optimizer.step()
        method.after_step(step, steps)
        found.append(float(loss.detach()))
    return found


def test_loss_is_a_finite_scalar_with_gradients(build: Any, graph: Data) -> None:
    method = build(12)
    loss = method(graph.x, graph.edge_index)
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    trained = {n: p for n, p in method.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.values())
    assert any(p.grad.any() for n, p in trained.items() if n.startswith("encoder"))


def test_loss_decreases(build: Any, graph: Data) -> None:
    found = losses(build(12), graph, 60)
    assert all(value == value and abs(value) < 100 for value in found)
    assert sum(found[-10:]) < 0.97 * sum(found[:10])


def test_embeddings_are_detached_deterministic_and_restore_the_mode(
    build: Any, graph: Data
) -> None:
    method = build(12)
    losses(method, graph, 3)  # running statistics differ from those of one batch
    found = []
    for training in (True, False):
        method.train(training)
        found += [method.embed(graph.x, graph.edge_index) for _ in range(2)]
        assert all(module.training is training for module in method.modules())
    for z in found:
        assert z.shape == (31, 8)
        assert not z.requires_grad
        assert torch.equal(z, found[0])
    torch.testing.assert_close(method.eval().encode(graph.x, graph.edge_index), found[0])


def test_mode_is_restored_after_an_error(build: Any, graph: Data) -> None:
    method = build(12).train()
    with pytest.raises(ValueError, match="node ids"):
        method.embed(graph.x, graph.edge_index + 1000)
    assert all(module.training for module in method.modules())


def test_embedding_follows_a_renaming_of_nodes(
    build: Any, graph: Data, relabelled: Callable[[Data, Tensor], Data]
) -> None:
    method = build(12)
    losses(method, graph, 3)
    graph.y = torch.arange(31)
    order = torch.randperm(31)
    moved = relabelled(graph, order)
    wanted = method.embed(graph.x, graph.edge_index)[order]
    torch.testing.assert_close(
        method.embed(moved.x, moved.edge_index), wanted, rtol=1e-4, atol=1e-5
    )
    # The order in which edges are stored does not matter either.
    shuffled = graph.edge_index[:, torch.randperm(graph.num_edges)]
    torch.testing.assert_close(method.embed(graph.x, shuffled)[order], wanted, rtol=1e-4, atol=1e-5)


def test_global_seed_decides(build: Any, graph: Data) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        method = build(12)
        runs.append((losses(method, graph, 4), method.embed(graph.x, graph.edge_index)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


def test_inputs_are_left_alone(build: Any, graph: Data) -> None:
    x, edge_index = graph.x.clone(), graph.edge_index.clone()
    losses(build(12), graph, 2)
    assert torch.equal(graph.x, x)
    assert torch.equal(graph.edge_index, edge_index)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_features_give_what_dense_ones_give(build: Any, graph: Data) -> None:
    graph.x = torch.where(graph.x > 0.8, graph.x, 0.0)
    sparse = Data(x=graph.x.to_sparse_csr(), edge_index=graph.edge_index)
    runs = []
    for data in (graph, sparse):
        torch.manual_seed(4)
        method = build(12)
        loss = method(data.x, data.edge_index)
        loss.backward()
        gradients = [p.grad for p in method.parameters() if p.requires_grad]
        runs.append((loss, method.embed(data.x, data.edge_index), *gradients))
    for dense, compact in zip(*runs, strict=True):
        torch.testing.assert_close(dense, compact, rtol=1e-4, atol=1e-6)


def test_a_graph_without_edges(build: Any) -> None:
    data = Data(x=torch.rand(6, 12), edge_index=torch.empty(2, 0, dtype=torch.long))
    method = build(12)
    assert all(abs(value) < 100 for value in losses(method, data, 2))
    assert method.embed(data.x, data.edge_index).isfinite().all()


class OwnEncoder(nn.Module):
    """Somebody's encoder: no more than a map from features and edges to rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.out = GCNConv(width, 10), nn.Linear(10, 8)
        self.calls = 0

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        self.calls += 1
        return self.out(self.conv(x, edge_index).tanh())


@pytest.mark.parametrize("cls", [GRACE, GCA, BGRL, DGI])
def test_any_module_serves_as_encoder(cls: type[GraphMethod], graph: Data) -> None:
    own = OwnEncoder(12)
    # For BGRL, the second argument is the list of widths.
    method = cls(12, (8,) if cls is BGRL else 8, encoder=own)
    assert method.encoder is own
    before = own.out.weight.detach().clone()
    losses(method, graph, 2)
    assert own.calls == 4
    assert not torch.equal(own.out.weight, before)
    torch.testing.assert_close(
        method.embed(graph.x, graph.edge_index), own(graph.x, graph.edge_index)
    )


@pytest.mark.parametrize("cls", [GRACE, GCA, DGI])
@pytest.mark.parametrize("name", ["gat", "sage"])
def test_encoders_by_name(cls: type[GraphMethod], name: str, graph: Data) -> None:
    method = cls(12, 8, encoder=name)
    assert losses(method, graph, 2)[-1] < 100
    assert method.embed(graph.x, graph.edge_index).shape == (31, 8)
    with pytest.raises(ValueError, match="unknown encoder 'gin'"):
        cls(12, 8, encoder="gin")


@pytest.mark.parametrize("cls", [GRACE, GCA, BGRL, DGI])
def test_papers_are_named(cls: type[GraphMethod]) -> None:
    assert "arXiv" in cls.paper
    assert cls.paper.split(",")[0] in (cls.__name__, "Deep Graph Infomax", "DGI")


def test_a_method_must_say_its_loss_and_its_encoding() -> None:
    with pytest.raises(TypeError, match="abstract"):
        GraphMethod()


def test_features_of_another_dtype_are_converted(build: Any, graph: Data) -> None:
    """Half precision as it is stored, and counts: the encoder works in its own precision."""
    x = (4 * graph.x).round()
    wanted = build(12)
    state = wanted.state_dict()
    for given in (x.half(), x.long(), x.half().to_sparse_csr()):
        method = build(12)
        method.load_state_dict(state)
        torch.testing.assert_close(
            method.embed(given, graph.edge_index), wanted.embed(x, graph.edge_index)
        )
        loss = method(given, graph.edge_index)
        loss.backward()
        assert loss.dtype == torch.float32
        assert loss.isfinite()


def test_bad_graphs_are_told(build: Any, graph: Data) -> None:
    method = build(12)
    edges = graph.edge_index
    with pytest.raises(ValueError, match=r"x has shape \(31, 7\): give \(N, 12\)"):
        method(graph.x[:, :7], edges)
    with pytest.raises(ValueError, match=r"edge_index has dtype torch\.float32: give integers"):
        method(graph.x, edges.float())
    for value in (torch.nan, -torch.inf):
        x = graph.x.clone()
        x[5, 3] = x[9, 0] = value
        for given in (x, x.to_sparse_csr()):
            with pytest.raises(ValueError, match=r"features of 2 of 31 nodes .* first is node 5"):
                method.prepare(Data(x=given, edge_index=edges))
            with pytest.raises(ValueError, match=r"features of 2 of 31 nodes .* first is node 5"):
                method(given, edges)
    with pytest.raises(ValueError, match="no node features"):
        method.prepare(Data(edge_index=edges))
    with pytest.raises(ValueError, match=r"no nodes: x has shape \(0, 12\)"):
        method.prepare(Data(x=graph.x[:0], edge_index=edges[:, :0]))
    prepared = method.prepare(graph)
    assert prepared.x is graph.x
    assert prepared.edge_index is edges


def test_learned_features_are_taken_and_not_kept(graph: Data) -> None:
    method = GRACE(12, 8)
    learned = nn.Embedding.from_pretrained(graph.x, freeze=False)
    names = set(method.state_dict())
    method(learned.weight, graph.edge_index).backward()
    method(x=2 * learned.weight, edge_index=graph.edge_index).backward()
    assert learned.weight.grad.isfinite().all()
    assert set(method.state_dict()) == names
    copied = copy.deepcopy(method)
    assert pickle.loads(pickle.dumps(copied)).state_dict().keys() == names


def test_repeated_edges_and_self_loops_are_taken(build: Any, graph: Data) -> None:
    loops = torch.arange(31).repeat(2, 1)
    for edges in (
        torch.cat([graph.edge_index, graph.edge_index[:, :9]], 1),
        torch.cat([graph.edge_index, loops, loops], 1),
    ):
        found = losses(build(12), Data(x=graph.x, edge_index=edges), 3)
        assert all(abs(value) < 100 for value in found)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csc])
def test_features_of_another_layout_or_shape_are_refused(
    build: Any, graph: Data, layout: torch.layout
) -> None:
    method = build(12)
    for bad, match in (
        (graph.x.to_sparse(layout=layout), r"layout torch.sparse_cs?[co]o?; give x.to_sparse_csr"),
        (graph.x[:, 0], r"must be \(N, F\), got \(31,\)"),
    ):
        for call in (method, method.embed):
            with pytest.raises(ValueError, match=match):
                call(bad, graph.edge_index)


def test_embedding_tells_of_features_that_are_not_finite(build: Any, graph: Data) -> None:
    method, x = build(12), graph.x.clone()
    method.embed(x, graph.edge_index)
    x[3, 1] = torch.nan  # the same tensor, changed since it was looked at
    with pytest.raises(ValueError, match="the first is node 3"):
        method.embed(x, graph.edge_index)


def test_backward_inside_autocast(build: Any, graph: Data) -> None:
    method = build(12)
    x = graph.x.to_sparse_csr()
    with torch.autocast("cpu", torch.bfloat16):
        method(x, graph.edge_index).backward()
    found = [p.grad for p in method.parameters() if p.grad is not None]
    assert found
    assert all(grad.isfinite().all() for grad in found)


def test_embedding_keeps_parts_in_their_own_mode(build: Any, graph: Data) -> None:
    method = build(12)
    frozen = list(method.children())[-1].eval()
    method.embed(graph.x, graph.edge_index)
    assert method.training
    assert not frozen.training


@pytest.mark.parametrize("kind", [torch.int32, torch.int16])
def test_edges_of_other_integer_types(build: Any, graph: Data, kind: torch.dtype) -> None:
    found = []
    for edges in (graph.edge_index, graph.edge_index.to(kind)):
        torch.manual_seed(0)
        method = build(12)
        found += [method(graph.x, edges).detach(), method.embed(graph.x, edges)]
    torch.testing.assert_close(found[2:], found[:2])


def test_graphs_of_another_size_with_the_same_edges() -> None:
    ring = torch.stack([torch.arange(8), (torch.arange(8) + 1) % 8])
    ring = torch.cat([ring, ring.flip(0)], 1)
    host = GRACE(4, 8, edge_budget="mean")
    named = GCooL(4, 8, communities="louvain")
    for nodes in (8, 10):
        x = torch.randn(nodes, 4)
        assert [len(budget) for budget in host.budgets(x, ring)] == [nodes, nodes]
        assert named.communities(x, ring).shape == (nodes,)
        assert named(x, ring).isfinite()
