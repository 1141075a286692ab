"""MEOW, AdaMEOW and HeCo on small HeteroData; unit tests T7 and T8 of the specification."""

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import HeteroData

from graphcl.hetero import MetaPathEncoder, SemanticAttention
from graphcl.metapaths import compose, top_neighbours
from graphcl.methods import MEOW, AdaMEOW, HeCo, HeteroMethod
from graphcl.views.features import compact_features

PAPERS, AUTHORS, SUBJECTS = 60, 40, 5


def academic(papers: int = PAPERS, seed: int = 0, inside: float = 0.9) -> HeteroData:
    """Papers of three classes whose authors and subjects mostly keep to one; noisy features.

    The last paper has no author, the last author no paper, subjects no features.
    """
    rng = np.random.default_rng(seed)
    data = HeteroData()
    y = rng.integers(3, size=papers)
    authors = AUTHORS * papers // PAPERS
    x = rng.normal(size=(papers, 12)) + 0.7 * np.eye(3, 12)[y]
    data["paper"].x = torch.from_numpy(x).float()
    data["paper"].y = torch.from_numpy(y)
    data["author"].x = torch.from_numpy(rng.normal(size=(authors, 7))).float()
    data["subject"].num_nodes = SUBJECTS * 3

    def partner(kind: int, count: int) -> int:
        kind = kind if rng.random() < inside else int(rng.integers(3))
        return int(rng.integers(count // 3)) * 3 + kind

    pairs = {(p, partner(y[p], authors - 1)) for p in range(papers - 1) for _ in range(2)}
    data["paper", "to", "author"].edge_index = torch.tensor(sorted(pairs)).T.contiguous()
    subjects = [partner(y[p], SUBJECTS * 3) for p in range(papers)]
    data["paper", "to", "subject"].edge_index = torch.stack(
        [torch.arange(papers), torch.tensor(subjects)]
    )
    return data


def renamed(data: HeteroData, order: torch.Tensor) -> HeteroData:
    """Paper ``order[i]`` becomes paper i; edges are stored in another order."""
    moved, place = data.clone(), torch.argsort(order)
    moved["paper"].x, moved["paper"].y = data["paper"].x[order], data["paper"].y[order]
    for kind in ("author", "subject"):
        edges = data["paper", "to", kind].edge_index.clone()
        edges[0] = place[edges[0]]
        moved["paper", "to", kind].edge_index = edges[:, torch.randperm(edges.shape[1])]
    return moved


BUILDERS: dict[str, Callable[..., HeteroMethod]] = {
    "meow": lambda c, **o: MEOW(c, hidden=8, **{"clusters": [5, 9], "top_n": [6, 8], **o}),
    "meow-node-norm": lambda c, **o: MEOW(c, hidden=8, norm="node", clusters=[4], recluster=3, **o),
    "adameow": lambda c, **o: AdaMEOW(c, hidden=8, **{"projection": 6, "top_n": 6, **o}),
    "heco": lambda c, **o: HeCo(c, hidden=8, **o),
}


@pytest.fixture(params=BUILDERS)
def build(request: pytest.FixtureRequest) -> Callable[..., HeteroMethod]:
    """Function that makes a method with embeddings of width 8 for a graph."""
    make = BUILDERS[request.param]
    return lambda data, **options: make(HeteroMethod.input_channels(data), **options)


def losses(method: HeteroMethod, graph: Any, steps: int, lr: float = 0.01) -> list[float]:
    """The plain loop of the documentation."""
    optimizer = torch.optim.Adam(method.parameters(), lr=lr)
    found = []
    for step in range(steps):
        method.train()
        optimizer.zero_grad()
        loss = method(graph)
        loss.backward()
        optimizer.step()
        method.after_step(step, steps)
        found.append(float(loss.detach()))
    return found


def test_loss_is_a_finite_scalar_with_gradients(build: Any) -> None:
    data = academic()
    method = build(data)
    loss = method(method.prepare(data))
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    used = {n: p for n, p in method.named_parameters() if p.grad is not None}
    assert all(p.grad.isfinite().all() for p in used.values())
    for part in ("types.linears.paper", "types.linears.author", "attention", "head"):
        assert any(p.grad.any() for n, p in used.items() if n.startswith(part)), part


def test_loss_decreases(build: Any) -> None:
    data = academic()
    method = build(data)
    found = losses(method, method.prepare(data), 60)
    assert all(value == value and abs(value) < 100 for value in found)
    assert sum(found[-10:]) < sum(found[:10]) - 0.2


def test_embeddings_are_detached_deterministic_and_restore_the_mode(build: Any) -> None:
    data = academic()
    method = build(data)
    graph = method.prepare(data)
    losses(method, graph, 3)
    found = []
    for training in (True, False):
        method.train(training)
        found += [method.embed(graph) for _ in range(2)]
        assert all(module.training is training for module in method.modules())
    for z in found:
        assert z.shape == (PAPERS, 8)
        assert not z.requires_grad
        assert torch.equal(z, found[0])


@pytest.mark.parametrize("sparse", [False, True])
def test_t8_embedding_follows_a_renaming_of_nodes(build: Any, sparse: bool) -> None:
    """Ties are broken by features here; those of the release are not even near."""
    data = academic()
    if sparse:
        data["paper"].x = F.relu(data["paper"].x)
    order = torch.randperm(PAPERS)
    moved = renamed(data, order)
    if sparse:
        for one in (data, moved):
            one["paper"].x = compact_features(one["paper"].x, density=1)
            assert one["paper"].x.layout == torch.sparse_csr
    method = build(data)
    if isinstance(method, MEOW | AdaMEOW):
        method.ties = "value"
    graph = method.prepare(data)
    losses(method, graph, 3)
    wanted = method.embed(graph)[order]
    torch.testing.assert_close(method.embed(method.prepare(moved)), wanted, rtol=1e-4, atol=1e-5)


def test_global_seed_decides(build: Any) -> None:
    data, runs = academic(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        method = build(data)
        graph = method.prepare(data, seed=seed)
        runs.append((losses(method, graph, 4), method.embed(graph)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


def test_sparse_features_give_what_dense_ones_give(build: Any) -> None:
    data = academic()
    data["paper"].x = F.relu(data["paper"].x - 1)
    sparse = data.clone()
    sparse["paper"].x = compact_features(data["paper"].x, density=1)
    found = []
    for one in (data, sparse):
        torch.manual_seed(2)
        method = build(one)
        method.mask_feature = 0.0
        for module in method.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        graph = method.prepare(one)
        method.mask_edge = (0.0, 0.0)
        torch.manual_seed(3)
        loss = method(graph)
        loss.backward()
        found.append([loss, *(p.grad for p in method.parameters() if p.grad is not None)])
    for dense, compact in zip(*found, strict=True):
        torch.testing.assert_close(dense, compact, rtol=1e-4, atol=1e-5)


def test_isolated_nodes_and_no_edges(build: Any) -> None:
    data = academic()
    for kind in ("author", "subject"):
        data["paper", "to", kind].edge_index = torch.empty(2, 0, dtype=torch.long)
    method = build(data)
    graph = method.prepare(data)
    assert all(abs(value) < 100 for value in losses(method, graph, 2))
    assert method.embed(graph).isfinite().all()


def test_data_that_do_not_fit_are_named(build: Any) -> None:
    data = academic()
    method = build(data)
    for value, words in (
        (torch.full((PAPERS, 12), torch.nan), "features of 'paper' hold NaN"),
        (torch.zeros(PAPERS, 12, dtype=torch.float16), "torch.float16; give float32"),
        (torch.zeros(PAPERS, 3), "3 wide, but the method was made for 12"),
    ):
        wrong = data.clone()
        wrong["paper"].x = value
        with pytest.raises(ValueError, match=words):
            method.prepare(wrong)
    for paths, words in (
        (["PAP", "PSA"], "does not compose"),
        (["PAP", "APA"], "start at 'paper' and at 'author'"),
        (["PA", "PAP"], "leads from 'paper' to 'author'"),
    ):
        with pytest.raises(ValueError, match=words):
            build(data, metapaths=paths).prepare(data)


def test_bad_settings() -> None:
    widths: dict[str, Any] = {"paper": 3, "author": 2}
    bad: Any = "no"
    for make, words in (
        (lambda: MEOW(3), "in_channels must give the width"),  # type: ignore[arg-type]
        (lambda: MEOW(widths, "PAP"), "metapaths must be a list"),
        (lambda: MEOW(widths, []), "metapaths must be a list"),
        (lambda: MEOW(widths, hidden=0), "hidden"),
        (lambda: MEOW(widths, top_n=[1, 2, 3]), "top_n has 3 values for 2"),
        (lambda: MEOW(widths, ties=bad), "ties 'no'"),
        (lambda: MEOW(widths, mask_edge=1.5), "mask_edge"),
        (lambda: MEOW(widths, mask_feature=-1), "mask_feature"),
        (lambda: MEOW(widths, recluster=0), "recluster"),
        (lambda: MEOW(widths, norm=bad), "norm 'no'"),
        (lambda: MEOW(widths, layers=0), "layers"),
        (lambda: AdaMEOW(widths, mode=bad), "mode 'no'"),
        (lambda: HeCo(widths, hidden=0), "hidden"),
        (lambda: HeCo(widths, sample={"autor": 3}), "sample names node types \\['autor'\\]"),
        (lambda: HeCo(widths, sample=0), "sample must give a positive number"),
        (lambda: HeCo(widths, positive_source=bad), "positive_source 'no'"),
        (lambda: MEOW({"paper": 0}), "width 0"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    data = academic()
    method = MEOW(MEOW.input_channels(data), clusters=[5, PAPERS + 1])
    with pytest.raises(ValueError, match="61 clusters of 60 nodes"):
        method(method.prepare(data))


def test_the_views_of_meow_are_those_of_the_paper() -> None:
    """Both views from dense matrices and loops, in evaluation mode."""
    data = academic()
    torch.manual_seed(0)
    method = MEOW(MEOW.input_channels(data), hidden=8, clusters=[4], top_n=[6, 8]).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.normal_(0, 0.5)
    graph = method.prepare(data)
    with torch.no_grad():
        fine, coarse = method.views(graph)

    def normalized(a: torch.Tensor) -> torch.Tensor:
        root = a.sum(1).rsqrt()
        return root[:, None] * a * root[None]

    def encode(h: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        first, second = (linear.weight for linear in method.encoder.linears)
        z = a @ (F.prelu(a @ (h @ first.T), method.encoder.activations[0].weight) @ second.T)
        return (z - z.mean()) / (z.var(correction=0) + 1e-5).sqrt()

    features = {"paper": data["paper"].x, "author": data["author"].x, "subject": torch.eye(15)}
    h = {k: F.elu(x @ (lin := method.types.linears[k]).weight.T + lin.bias)
         for k, x in features.items()}  # fmt: skip
    counts, found = [], []
    for number, kind in enumerate(("author", "subject")):
        edges = data["paper", "to", kind].edge_index
        context = torch.stack([
            h[kind][near].mean(0) if len(near := edges[1][edges[0] == i]) else torch.zeros(8)
            for i in range(PAPERS)
        ])  # fmt: skip
        along = F.elu(h["paper"] + context @ method.context_maps[number].weight.T)
        dense = torch.zeros(PAPERS, PAPERS)
        dense[tuple(graph.graphs[number].edge_index)] = graph.graphs[number].weight
        counts.append(normalized(dense))
        found += [
            F.normalize(encode(along, a)) for a in (counts[-1], normalized((dense > 0) * 1.0))
        ]
    torch.testing.assert_close(coarse, encode(h["paper"], (counts[0] + counts[1]) / 2))
    attention = method.attention
    beta = torch.stack([
        torch.tanh(z @ attention.linear.weight.T + attention.linear.bias).mean(0)
        @ attention.query[0] for z in found
    ]).softmax(0)  # fmt: skip
    torch.testing.assert_close(fine, sum(b * z for b, z in zip(beta, found, strict=True)))
    torch.testing.assert_close(method.embed(graph), fine)


def test_t7_attention_weights_sum_to_one_and_equal_views_share() -> None:
    attention = SemanticAttention(4)
    views = [torch.randn(9, 4) for _ in range(3)]
    share = attention.weights(views)
    torch.testing.assert_close(share.sum(), torch.tensor(1.0))
    assert float(share.detach().std()) > 0
    torch.testing.assert_close(attention.weights([views[0]] * 3), torch.full((3,), 1 / 3))
    with pytest.raises(ValueError, match="no view"):
        attention([])


def test_norms_over_the_graph_and_over_nodes() -> None:
    eye = torch.eye(6).to_sparse_csr()
    h = torch.randn(6, 4)
    whole = MetaPathEncoder(4)(h, eye, eye)
    torch.testing.assert_close(whole.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(whole.var(correction=0), torch.tensor(1.0), rtol=1e-3, atol=0)
    rows = MetaPathEncoder(4, norm="node")(h, eye, eye)
    torch.testing.assert_close(rows.mean(1), torch.zeros(6), atol=1e-6, rtol=0)


def test_clusterings_are_kept_between_epochs_and_in_the_state() -> None:
    data = academic()
    method = MEOW(MEOW.input_channels(data), hidden=8, clusters=[4, 7], recluster=3)
    graph = method.prepare(data)
    seen = []
    for step in range(5):
        method(graph)
        seen.append(method.labels)
        method.after_step(step, 5)
    assert seen[0] is seen[1] is seen[2]
    assert seen[3] is not seen[2]
    assert [len(column.unique()) for column in seen[0].T] == [4, 7]
    other = MEOW(MEOW.input_channels(data), hidden=8, clusters=[4, 7], recluster=3)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.labels, method.labels)
    assert int(other.epoch) == 5


def test_positives_come_with_the_data_or_are_computed() -> None:
    data = academic()
    own = torch.arange(PAPERS).repeat(2, 1)
    data["paper"].positive_pairs = own
    widths = HeCo.input_channels(data)
    assert torch.equal(HeCo(widths).prepare(data).positives, own)
    pairs = HeCo(widths, positives=3, positive_source="computed").prepare(data).positives
    assert torch.bincount(pairs[0]).max() == 3
    assert {(i, i) for i in range(PAPERS)} <= set(map(tuple, pairs.T.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["meow", "adameow", "heco"])
def test_a_step_holds_nothing_of_size_n_by_n(name: str, largest: Any) -> None:
    """Subjects join every twentieth pair: even the meta-path is cut before it is whole."""
    nodes = 20_000
    data = academic(nodes)
    options: dict[str, Any] = {"top_n": 5}
    if name == "adameow":
        options["pair_hidden"] = 1

    method = BUILDERS[name](HeteroMethod.input_channels(data), **options)
    with largest:
        method(method.prepare(data)).backward()
    assert largest.entries < nodes * nodes / 20


def test_papers_are_named() -> None:
    for cls in (MEOW, AdaMEOW, HeCo):
        assert cls.paper.startswith(cls.__name__)
        assert "arXiv" in cls.paper


@pytest.mark.parametrize("sparse", [False, True])
def test_features_in_double_precision(build: Any, sparse: bool) -> None:
    """As NumPy makes them; the method computes in its own precision."""
    data = academic()
    found = []
    for dtype in (torch.float32, torch.float64):
        one = data.clone()
        for kind in ("paper", "author"):
            x = one[kind].x.to(dtype)
            one[kind].x = x.relu().to_sparse_csr() if sparse else x
        torch.manual_seed(0)
        method = build(one)
        graph = method.prepare(one)
        method(graph).backward()
        found.append(method.embed(graph))
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_heco_keeps_the_nearest_along_a_path_through_hubs() -> None:
    data = academic()
    method = HeCo(HeCo.input_channels(data), ["PAP", "PSP"], 8, top_n=[None, 4])
    whole, cut = method.prepare(data).graphs
    every = HeCo(HeCo.input_channels(data), ["PAP", "PSP"], 8).prepare(data).graphs
    assert torch.equal(whole.column, every[0].column)
    assert len(cut.column) < len(every[1].column)
    assert torch.equal(cut.column, top_neighbours(compose(data, "PSP"), 4).column)


def test_any_name_of_a_node_type(build: Any) -> None:
    data = HeteroData()
    data["type"].x, data["field.of.study"].x = torch.randn(9, 4), torch.randn(5, 3)
    edges = torch.stack([torch.arange(9), torch.arange(9) % 5])
    data["type", "to", "field.of.study"].edge_index = edges
    path = [("type", "field.of.study"), ("field.of.study", "type")]
    options: dict[str, Any] = {"metapaths": [path]}
    for name, builder in BUILDERS.items():
        more = {"clusters": [2], "top_n": 3} if name == "meow" else {}
        more = {"clusters": [2]} if name == "meow-node-norm" else more
        if name == "meow-node-norm":
            continue
        method = builder(HeteroMethod.input_channels(data), **options, **more)
        assert method(method.prepare(data)).isfinite()


def test_features_of_another_layout_are_refused(build: Any) -> None:
    data = academic()
    method = build(data)
    for bad in (data["paper"].x.to_sparse(), data["paper"].x.to_sparse_csc()):
        data["paper"].x = bad
        with pytest.raises(ValueError, match=r"features of 'paper' are .* in layout"):
            method.prepare(data)
    data["paper"].x = torch.randn(PAPERS)
    with pytest.raises(ValueError, match=r"features of 'paper' are \(60,\)"):
        method.prepare(data)
    with pytest.raises(ValueError, match=r"features of 'paper' are \(60,\)"):
        HeteroMethod.input_channels(data)


def test_backward_inside_autocast(build: Any) -> None:
    data = academic()
    data["paper"].x = compact_features(data["paper"].x.relu(), density=1.0)
    method = build(data)
    with torch.autocast("cpu", torch.bfloat16):
        method(method.prepare(data)).backward()
    found = [p.grad for p in method.parameters() if p.grad is not None]
    assert found
    assert all(grad.isfinite().all() for grad in found)


def test_meow_clusters_another_graph_of_the_same_size_anew() -> None:
    first, second = academic(), academic(seed=1)
    method = MEOW(MEOW.input_channels(first), hidden=8, clusters=[5], recluster=10)
    one, two = method.prepare(first), method.prepare(second)
    method(one)
    method.after_step(0, 3)
    labels = method.labels.clone()
    method(one)
    assert torch.equal(method.labels, labels)
    method(replace(one))  # as Lightning's loaders hand it on
    assert torch.equal(method.labels, labels)
    method(two)
    assert not torch.equal(method.labels, labels)


def test_meow_with_its_graph_is_copied_and_stored() -> None:
    data = academic()
    method = MEOW(MEOW.input_channels(data), hidden=8, clusters=[5], recluster=10)
    graph = method.prepare(data)
    method(graph)
    method.after_step(0, 3)
    stored = io.BytesIO()
    torch.save(method, stored)
    stored.seek(0)
    for other in (copy.deepcopy(method), torch.load(stored, weights_only=False)):
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(torch.randn_like(parameter))
        other(graph)
        assert torch.equal(other.labels, method.labels)


def test_numbers_may_be_numpys() -> None:
    widths = MEOW.input_channels(academic())
    method = MEOW(widths, top_n=np.int64(3), clusters=np.array([4, 7]))
    assert method.clusters == [4, 7]
    assert HeCo(widths, positives=np.int64(2)).positives == 2


def test_heco_names_what_the_schema_view_lacks() -> None:
    data = HeteroData()
    data["paper"].x, data["author"].x = torch.randn(6, 4), torch.randn(6, 4)
    ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6])
    data["paper", "cites", "paper"].edge_index = torch.cat([ring, ring.flip(0)], 1)
    path = [("paper", "cites", "paper")] * 2
    method = HeCo({"paper": 4}, [path], 8)
    with pytest.raises(ValueError, match="no relation joins 'paper' to another node type"):
        method.prepare(data)
    own = HeCo({"paper": 4}, [path], 8, sample={"paper": 2})
    assert own(own.prepare(data)).isfinite()
    data["paper", "to", "author"].edge_index = ring
    data["paper", "reviewed_by", "author"].edge_index = ring
    both = HeCo(HeCo.input_channels(data), [path], 8)
    with pytest.raises(ValueError, match="schema view of 'paper' samples 'author', but: "):
        both.prepare(data)


def test_heco_takes_a_stored_positive_once() -> None:
    data = academic()
    method = HeCo(HeCo.input_channels(data), hidden=8)
    pairs = method.prepare(data).positives
    data["paper"].positive_pairs = torch.cat([pairs, pairs[:, :7]], 1)
    found = method.prepare(data).positives
    assert sorted(zip(*found.tolist(), strict=True)) == sorted(zip(*pairs.tolist(), strict=True))


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        (MEOW, {"clusters": 3}, r"clusters must be numbers of clusters .* got 3"),
        (MEOW, {"clusters": [5, 0]}, r"clusters must be numbers of clusters .* got \[5, 0\]"),
        (MEOW, {"clusters": []}, "clusters must be numbers of clusters"),
        (MEOW, {"top_n": 0}, "top_n must be an integer of at least 1, or None, got 0"),
        (AdaMEOW, {"projection": 0}, "projection must be positive, got 64 and 0"),
        (HeCo, {"positives": 0}, "positives must be an integer of at least 1, got 0"),
        (HeCo, {"top_n": [3, 0]}, "top_n must be an integer of at least 1, or None, got 0"),
    ],
)
def test_settings_are_checked_when_a_method_is_made(
    kind: type[HeteroMethod], options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        kind(kind.input_channels(academic()), ["PAP", "PSP"], **options)
