import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, SAGEConv

from graphcl.encoders.message_passing import (
    GATEncoder,
    GCNEncoder,
    MessagePassingEncoder,
    SAGEEncoder,
    encoder,
    grace_channels,
)
from graphcl.kernels.sparse_product import sparse_product

N, F = 23, 7
NAMES = ["gcn", "gat", "sage"]


def graph(num_nodes: int = N, isolated: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and symmetric edges of a random simple graph; the last nodes are isolated."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_nodes, F, generator=generator)
    adjacency = torch.rand(num_nodes, num_nodes, generator=generator) < 0.2
    adjacency[num_nodes - isolated :] = False
    adjacency[:, num_nodes - isolated :] = False
    adjacency = (adjacency | adjacency.T).fill_diagonal_(False)
    return x, adjacency.nonzero().T


def dense(edges: Tensor, num_nodes: int = N) -> Tensor:
    adjacency = torch.zeros(num_nodes, num_nodes)
    adjacency[edges[1], edges[0]] = 1
    return adjacency


def normalised(adjacency: Tensor) -> Tensor:
    with_loops = adjacency + torch.eye(adjacency.size(0))
    scale = with_loops.sum(1).rsqrt()
    return scale[:, None] * with_loops * scale


def randomise_biases(model: nn.Module) -> None:
    """Biases start at zero, where a formula without them would agree too."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()


def test_grace_channels() -> None:
    assert grace_channels(128) == [256, 128]
    assert grace_channels(8, layers=4) == [16, 16, 16, 8]
    assert grace_channels(8, layers=1) == [8]
    with pytest.raises(ValueError, match="num_hidden=0"):
        grace_channels(0)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("last_activation", [True, False])
def test_gcn_is_the_dense_formula(layers: int, last_activation: bool) -> None:
    x, edges = graph()
    model = GCNEncoder(F, grace_channels(6, layers), last_activation=last_activation)
    randomise_biases(model)
    a_hat, h = normalised(dense(edges)), x
    for layer, conv in enumerate(model.convs):
        h = a_hat @ h @ conv.lin.weight.T + conv.bias
        if last_activation or layer < layers - 1:
            h = h.relu()
    out = model(x, edges)
    assert out.shape == (N, 6)
    assert torch.allclose(out, h, atol=1e-5)


def test_gcn_edge_weights_enter_the_normalisation() -> None:
    x, edges = graph()
    weight = torch.rand(edges.size(1), generator=torch.Generator().manual_seed(1))
    model = GCNEncoder(F, [5])
    adjacency = torch.zeros(N, N)
    adjacency[edges[1], edges[0]] = weight
    with_loops = adjacency + torch.eye(N)
    scale = with_loops.sum(1).rsqrt()
    a_hat = scale[:, None] * with_loops * scale
    conv = model.convs[0]
    expected = (a_hat @ x @ conv.lin.weight.T + conv.bias).relu()
    assert torch.allclose(model(x, edges, weight), expected, atol=1e-5)


def test_directed_edges_pass_messages_from_row_0_to_row_1() -> None:
    x, edges = torch.eye(3), torch.tensor([[0], [2]])
    for name in NAMES:
        model = encoder(name, 3, [4], activation="identity")
        moved = torch.autograd.functional.jacobian(lambda y, m=model: m(y, edges).sum(1), x)
        assert moved[2, 0].any()
        assert not moved[0, 2].any()


def test_sage_is_the_mean_formula() -> None:
    x, edges = graph()
    model = SAGEEncoder(F, [5])
    randomise_biases(model)
    adjacency = dense(edges)
    mean = adjacency @ x / adjacency.sum(1, keepdim=True).clamp_min(1)
    conv = model.convs[0]
    expected = mean @ conv.lin_l.weight.T + conv.lin_l.bias + x @ conv.lin_r.weight.T
    assert torch.allclose(model(x, edges), expected.relu(), atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_gat_is_softmax_attention(heads: int) -> None:
    x, edges = graph()
    model = GATEncoder(F, [5], heads=heads)
    randomise_biases(model)
    conv = model.convs[0]
    transformed = (x @ conv.lin.weight.T).view(N, heads, 5)
    out = torch.zeros(N, heads, 5)
    loops = dense(edges) + torch.eye(N)
    for head in range(heads):
        h = transformed[:, head]
        logits = (h @ conv.att_dst[0, head])[:, None] + h @ conv.att_src[0, head]
        logits = torch.where(logits > 0, logits, 0.2 * logits)
        attention = logits.masked_fill(loops == 0, -torch.inf).softmax(1)
        out[:, head] = attention @ h
    expected = (out.mean(1) + conv.bias).relu()
    assert torch.allclose(model(x, edges), expected, atol=1e-5)


def test_gat_widths() -> None:
    model = GATEncoder(F, [8, 8, 5], heads=4)
    assert [conv.heads for conv in model.convs] == [4, 4, 4]
    assert model(*graph()).shape == (N, 5)
    with pytest.raises(ValueError, match=r"heads=4.*\[6\]"):
        GATEncoder(F, [6, 4], heads=4)
    with pytest.raises(ValueError, match="heads=0"):
        GATEncoder(F, [4], heads=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", [None, "batch"])
def test_permutation_equivariance(name: str, norm: str | None) -> None:
    x, edges = graph()
    model = encoder(name, F, [8, 4], norm=norm, activation="prelu").double()
    x = x.double()
    new = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    shuffled = torch.randperm(edges.size(1), generator=torch.Generator().manual_seed(4))
    moved = torch.empty_like(x).index_copy_(0, new, x)
    out = model(moved, new[edges][:, shuffled])
    assert torch.allclose(out[new], model(x, edges), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_no_edges_and_single_node(name: str) -> None:
    model = encoder(name, F, [8, 4])
    nothing = torch.empty(2, 0, dtype=torch.long)
    for rows in (1, 3):
        assert model(torch.randn(rows, F), nothing).isfinite().all()


def test_a_sparse_matrix_has_its_gradient() -> None:
    matrix, h = torch.eye(3).to_sparse_csr().requires_grad_(), torch.ones(3, 2)
    sparse_product(matrix, h).sum().backward()
    assert matrix.grad is not None
    assert torch.equal(matrix.grad.to_dense().diagonal(), torch.full((3,), 2.0))


@pytest.mark.parametrize(("model", "conv"), [(GCNEncoder, GCNConv), (SAGEEncoder, SAGEConv)])
def test_sparse_product_equals_edgewise_messages(
    model: type[MessagePassingEncoder], conv: type[nn.Module]
) -> None:
    """Values and gradients, on a directed multigraph with self loops."""
    generator = torch.Generator().manual_seed(2)
    edges = torch.randint(N - 3, (2, 150), generator=generator)
    x = torch.randn(N, F, generator=generator, dtype=torch.double, requires_grad=True)
    upstream = torch.randn(N, 5, generator=generator, dtype=torch.double)
    ours = model(F, [5], activation="identity").double()
    theirs = conv(F, 5).double()
    theirs.load_state_dict(ours.convs[0].state_dict())
    results = []
    for out, weights in (
        (ours(x, edges), ours.parameters()),
        (theirs(x, edges), theirs.parameters()),
    ):
        results.append([out, *torch.autograd.grad(out, [x, *weights], upstream)])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("name", ["gcn", "sage"])
def test_no_tensor_of_edges_by_channels(name: str, largest: Any) -> None:
    nodes, edges, width = 50, 2000, 32
    edge_index = torch.randint(nodes, (2, edges))
    model = encoder(name, width, [width, width])
    with largest:
        model(torch.randn(nodes, width), edge_index).sum().backward()
    assert largest.entries <= 3 * (edges + nodes)
    assert largest.entries < edges * width


@pytest.mark.parametrize("name", ["gcn", "sage"])
def test_half_precision_and_autocast_fall_back(name: str) -> None:
    x, edges = graph()
    model = encoder(name, F, [8, 4])
    expected = model(x, edges)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(model(x, edges).float(), expected, atol=0.1)
    low = copy.deepcopy(model).bfloat16()(x.bfloat16(), edges)
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), expected, atol=0.1)


def test_gradient_reaches_learned_edge_weights() -> None:
    x, edges = graph()
    weight = torch.full((edges.size(1),), 0.5, dtype=torch.double, requires_grad=True)
    model = GCNEncoder(F, [3], activation="tanh").double()
    assert torch.autograd.gradcheck(lambda w: model(x.double(), edges, w).sum(0), weight)
    assert torch.allclose(
        model(x.double(), edges, weight), model(x.double(), edges, weight.detach())
    )


def test_prelu_per_layer_or_shared() -> None:
    def slopes(**options: bool) -> int:
        model = GCNEncoder(F, [8, 8, 4], activation="prelu", **options)
        return sum(
            p.numel() for m in model.modules() if isinstance(m, nn.PReLU) for p in [m.weight]
        )

    assert slopes() == 3
    assert slopes(last_activation=False) == 2
    assert slopes(share_activation=True) == 1


def test_shared_activation_stays_shared_in_copies_and_checkpoints() -> None:
    x, edges = graph()
    model = GCNEncoder(F, [8, 4], activation="prelu", share_activation=True)
    with torch.no_grad():
        model.activations[0].weight.fill_(0.7)
    twin = copy.deepcopy(model)
    assert twin.activations[0] is twin.activations[1]
    loaded = GCNEncoder(F, [8, 4], activation="prelu", share_activation=True)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded(x, edges), model(x, edges))


def test_batch_norm_then_activation() -> None:
    x, edges = graph()
    model = GCNEncoder(F, [6], norm="batch", activation="prelu")
    conv = model.convs[0]
    h = normalised(dense(edges)) @ x @ conv.lin.weight.T + conv.bias
    h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(model(x, edges), torch.where(h > 0, h, 0.25 * h), atol=1e-4)


def test_linear_last_layer_has_no_norm_either() -> None:
    x, edges = graph()
    model = GCNEncoder(F, [6], norm="batch", last_activation=False)
    conv = model.convs[0]
    expected = normalised(dense(edges)) @ x @ conv.lin.weight.T + conv.bias
    assert torch.allclose(model(x, edges), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_between_layers_in_training_only(name: str) -> None:
    x, edges = graph()
    model = encoder(name, F, [8, 4], dropout=0.5)
    assert not torch.equal(model(x, edges), model(x, edges))
    model.eval()
    assert torch.equal(model(x, edges), model(x, edges))
    single = encoder(name, F, [4], dropout=0.5)
    assert torch.equal(single(x, edges), single(x, edges))


@pytest.mark.parametrize("name", NAMES)
def test_reset_parameters(name: str) -> None:
    model = encoder(name, F, [8, 4], norm="batch", activation="prelu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    model(*graph())
    model.reset_parameters()
    assert not any((parameter == 7).any() for parameter in model.parameters())
    assert not model.norms[0].running_mean.any()
    assert [m.weight.item() for m in model.activations] == [0.25, 0.25]


@pytest.mark.parametrize("name", NAMES)
def test_seed_decides_and_every_weight_learns(name: str) -> None:
    x, edges = graph()
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(encoder(name, F, [8, 4], activation="prelu"))
    one, same, other = (model(x, edges) for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    one.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in models[0].parameters())


def test_factory_and_attributes() -> None:
    for name, kind in (("gcn", GCNEncoder), ("gat", GATEncoder), ("sage", SAGEEncoder)):
        model = encoder(name, F, [8, 4])
        assert type(model) is kind
        assert (model.in_channels, model.channels, model.out_channels) == (F, (8, 4), 4)
    with pytest.raises(ValueError, match=r"'gin'.*gcn, gat, sage"):
        encoder("gin", F, [4])


def test_bad_arguments() -> None:
    for channels in ([], [0], [4, -1]):
        with pytest.raises(ValueError, match="positive widths"):
            GCNEncoder(F, channels)
    with pytest.raises(ValueError, match="'layer'"):
        GCNEncoder(F, [4], norm="layer")
    with pytest.raises(ValueError, match=r"dropout=1\.0"):
        GCNEncoder(F, [4], dropout=1.0)
    with pytest.raises(ValueError, match="'swish'"):
        GCNEncoder(F, [4], activation="swish")
    with pytest.raises(TypeError, match="heads"):
        GCNEncoder(F, [4], heads=2)


@pytest.mark.parametrize("name", NAMES)
def test_bad_edges(name: str) -> None:
    x, _ = graph()
    for wrong in (N, -1):
        with pytest.raises(ValueError, match=f"x has {N} rows"):
            encoder(name, F, [4])(x, torch.tensor([[0], [wrong]]))


@pytest.mark.parametrize("name", ["gat", "sage"])
def test_useless_edge_weights_are_refused(name: str) -> None:
    x, edges = graph()
    with pytest.raises(ValueError, match="edge weights"):
        encoder(name, F, [4])(x, edges, torch.ones(edges.size(1)))


def test_package_loads_message_passing_on_first_use() -> None:
    code = (
        "import sys, graphcl.encoders as e; assert 'torch_geometric' not in sys.modules;"
        "e.GCNEncoder; assert 'torch_geometric' in sys.modules; assert set(e.__all__) <= "
        "{n for n in e.__all__ if getattr(e, n)}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [torch.int32, torch.int16])
def test_edges_of_other_integer_types(name: str, kind: torch.dtype) -> None:
    x, edges = graph()
    model = encoder(name, F, [5])
    torch.testing.assert_close(model(x, edges.to(kind)), model(x, edges))
