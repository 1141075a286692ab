"""Losses of MEOW, AdaMEOW and HeCo: unit tests T1 to T5 of the specification, oracles, memory."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import negative_logsumexp, tiles
from graphcl.losses import AdaMEOWLoss, HeCoLoss, InfoNCE, MEOWLoss, PrototypeLoss
from graphcl.losses.meow import cluster_counts
from graphcl.weights import ClusterWeight, PairMLPWeight

F64 = torch.float64
N, D, M = 19, 4, 3


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiles._SIDE, "cpu", 7)


def views(count: int = N, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    a, b = (F.normalize(torch.randn(count, D, dtype=dtype)) for _ in range(2))
    return a.requires_grad_(), b.requires_grad_()


def clusterings(count: int = N) -> Tensor:
    return torch.stack([torch.randint(k, (count,)) for k in (2, 4, 6)], 1)


def omega(labels: Tensor) -> Tensor:
    counted = [[sum(int(a != b) for a, b in zip(p, q, strict=True)) for q in labels.tolist()]
               for p in labels.tolist()]  # fmt: skip
    return torch.tensor(counted, dtype=F64)


def compare(got: Tensor, want: Tensor, leaves: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(got, want)
    ours, theirs = (torch.autograd.grad(one, leaves, allow_unused=True) for one in (got, want))
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted)


# --- MEOW -----------------------------------------------------------------------------------------


def test_t1_singletons_give_infonce_without_its_positive_plus_log_m() -> None:
    a, b = views()
    labels = torch.arange(N)[:, None].repeat(1, M)
    weight = ClusterWeight(labels).tile(
        ClusterWeight(labels).parameters, slice(0, N), slice(0, N), None
    )
    assert torch.equal(weight.exp().round(), M * (1 - torch.eye(N, dtype=F64)))
    plain = InfoNCE(0.4, intra_view=False, symmetric=False, decoupled=True, normalize=False)(a, b)
    compare(MEOWLoss(0.4, proto_weight=0)(a, b, labels), plain + math.log(M), (a, b))


def test_t2_weights_of_one_give_plain_infonce() -> None:
    a, b = views()
    loss = AdaMEOWLoss(D, 4, tau=0.4).double()
    ones = PairMLPWeight(*(torch.zeros(s, dtype=F64) for s in ((N, 4), (N, 4), (4,), (1,))))
    compare(
        loss.contrast(a, b, ones),
        InfoNCE(0.4, intra_view=False, symmetric=False, normalize=False)(a, b),
        (a, b),
    )


def test_t3_log_sum_equals_the_naive_form_and_zero_weights_have_no_gradient() -> None:
    a, b = views()
    labels = clusterings()
    labels[3] = labels[8]  # never separated
    w = omega(labels)
    naive = torch.log((w * torch.exp(a @ b.T / 0.4)).sum(1))
    compare(
        negative_logsumexp(a, b, tau=0.4, log_weight=ClusterWeight(labels)).sum(),
        naive.sum(),
        (a, b),
    )
    alone = torch.tensor([[0, 0]] * 3 + [[1, 1]])
    q, k = (x[:4].detach().requires_grad_() for x in (a, b))
    total = negative_logsumexp(q, k, log_weight=ClusterWeight(alone))
    (grad,) = torch.autograd.grad(total[0], k)
    assert not grad[:3].any()
    assert grad[3].any()


def dense_meow(a: Tensor, b: Tensor, labels: Tensor, tau: float) -> Tensor:
    w = omega(labels)
    rows = [
        -a[i] @ b[i] / tau
        + torch.log(sum(w[i, j] * torch.exp(a[i] @ b[j] / tau) for j in range(N)))
        for i in range(N)
        if w[i].any()
    ]
    return torch.stack(rows).mean()


def test_meow_equals_its_definition() -> None:
    a, b = views()
    labels = clusterings()
    compare(MEOWLoss(0.4, 0.0)(a, b, labels), dense_meow(a, b, labels, 0.4), (a, b))
    with_prototypes = MEOWLoss(0.4, 0.7)(a, b, labels)
    wanted = dense_meow(a, b, labels, 0.4) + 0.7 * dense_prototypes(a, b, labels, 0.4)
    compare(with_prototypes, wanted, (a, b))


def test_a_node_without_negatives_is_left_out() -> None:
    a, b = views()
    together = torch.zeros(N, 2, dtype=torch.long)
    assert MEOWLoss(0.4, 0.0)(a, b, together) == 0
    assert MEOWLoss(0.4, 1.0)(a, b, together).isfinite()
    grads = torch.autograd.grad(MEOWLoss(0.4, 1.0)(a, b, together), (a, b), allow_unused=True)
    assert all(g is None or bool(g.isfinite().all()) for g in grads)


def dense_prototypes(a: Tensor, b: Tensor, labels: Tensor, tau: float) -> Tensor:
    terms = []
    for column in labels.T:
        kinds = column.unique()
        members = [b.detach()[column == k] for k in kinds]
        centre = [m.mean(0) for m in members]
        rho = torch.stack(
            [
                (m - c).norm(dim=1).mean() / math.log(len(m) + 5)
                for m, c in zip(members, centre, strict=True)
            ]
        )
        single = torch.tensor([len(m) == 1 for m in members])
        rho = torch.where(single, rho.max(), rho)
        rho = rho.clamp(rho.quantile(0.1), rho.quantile(0.9))
        phi = tau * rho / rho.mean()
        mu = F.normalize(torch.stack(centre))
        logits = a @ mu.T / phi
        own = torch.searchsorted(kinds, column.contiguous())
        share = logits.gather(1, own[:, None])[:, 0] - logits.logsumexp(1)
        terms.append((-share).mean() + math.log(N / len(kinds)))
    return torch.stack(terms).mean()


def test_t4_prototypes_of_single_nodes_are_coarse_to_fine_infonce() -> None:
    a, b = views()
    labels = torch.arange(N)[:, None]
    wanted = InfoNCE(0.4, intra_view=False, symmetric=False, normalize=False)(a, b.detach())
    compare(PrototypeLoss(0.4)(a, b, labels), wanted, (a,))


def test_prototype_loss_equals_its_definition_whatever_the_numbers_of_clusters() -> None:
    a, b = views()
    labels = clusterings()
    compare(PrototypeLoss(0.4)(a, b, labels), dense_prototypes(a, b, labels, 0.4), (a,))
    compare(PrototypeLoss(0.4)(a, b, labels), PrototypeLoss(0.4)(a, b, 10 * labels + 3), (a,))


# --- AdaMEOW --------------------------------------------------------------------------------------


def dense_adameow(loss: AdaMEOWLoss, a: Tensor, b: Tensor, tau: float) -> Tensor:
    pairs = a[:, None] + b[None]
    w = torch.sigmoid(loss.last(torch.tanh(loss.first(pairs))))[..., 0]
    if loss.mode == "paper":
        w = w / w.mean(1, keepdim=True)
    rows = -(a * b).sum(1) / tau + torch.log((w * torch.exp(a @ b.T / tau)).sum(1))
    return rows.mean()


@pytest.mark.parametrize("mode", ["paper", "official"])
@pytest.mark.parametrize("impl", ["chunked", "reference"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_t5_the_factorised_network_equals_explicit_pairs(
    mode: Any, impl: Any, scale: float
) -> None:
    a, b = views()
    loss = AdaMEOWLoss(D, 6, tau=0.4, mode=mode, impl=impl).double()
    with torch.no_grad():
        loss.first.weight *= scale  # beyond the range of the exponentials
    compare(loss(a, b), dense_adameow(loss, a, b, 0.4), (a, b, *loss.parameters()))


def test_t5_scaling_the_weights_leaves_the_normalised_loss_only() -> None:
    class Scaled(PairMLPWeight):
        def tile(self, *args: Any) -> Tensor:
            return super().tile(*args) + math.log(0.5)

    a, b = views()
    found = {}
    for mode in ("paper", "official"):
        loss = AdaMEOWLoss(D, 4, tau=0.4, mode=mode).double()  # type: ignore[arg-type]
        weight = loss.weight(a, b)
        found[mode] = [
            loss.contrast(a, b, w) for w in (weight, Scaled(*(p for p in weight.parameters)))
        ]
    torch.testing.assert_close(*found["paper"])
    torch.testing.assert_close(found["official"][1], found["official"][0] + math.log(0.5))


def test_the_released_loss_falls_without_end_and_ours_does_not() -> None:
    """Large negative biases: the released loss follows them, the normalised one is bounded."""
    a, b = views()
    for mode, bounded in (("paper", True), ("official", False)):
        loss = AdaMEOWLoss(D, 4, tau=0.4, mode=mode).double()  # type: ignore[arg-type]
        with torch.no_grad():
            loss.last.bias.fill_(-60.0)
        assert (float(loss(a, b).detach()) > -2 / 0.4) == bounded


def test_pair_weights_pass_gradcheck() -> None:
    leaves = tuple(
        torch.randn(*s, dtype=F64, requires_grad=True) for s in ((4, 3), (5, 3), (3,), (1,))
    )
    z, k = (torch.randn(n, 2, dtype=F64, requires_grad=True) for n in (4, 5))

    def total(*tensors: Tensor) -> Tensor:
        weight = PairMLPWeight(*tensors[2:])
        return negative_logsumexp(*tensors[:2], log_weight=weight, impl="chunked")

    assert torch.autograd.gradcheck(total, (z, k, *leaves))


@pytest.mark.parametrize("name", ["cluster", "pair"])
def test_both_weights_serve_any_contrast(name: str) -> None:
    a, b = views()
    if name == "cluster":
        weight: Any = ClusterWeight(clusterings())
        dense = omega(weight.parameters[0])
    else:
        weight = AdaMEOWLoss(D, 4).double().weight(a.detach(), b.detach())
        u, v, w, c = weight.parameters
        dense = torch.sigmoid(torch.tanh(u[:, None] + v[None]) @ w + c)
    loss = InfoNCE(0.4, intra_view=False, symmetric=False, weight=weight, normalize=False)
    positive = (a * b).sum(1) / 0.4
    negative = (dense * torch.exp(a @ b.T / 0.4)).fill_diagonal_(0).sum(1)
    compare(loss(a, b), -torch.log(positive.exp() / (positive.exp() + negative)).mean(), (a, b))


# --- HeCo -----------------------------------------------------------------------------------------


def positives() -> Tensor:
    pairs = torch.rand(N, N) < 0.2
    return (pairs | torch.eye(N, dtype=torch.bool)).nonzero().T


def test_heco_equals_its_definition_with_positives_that_are_not_mutual() -> None:
    a, b = (torch.randn(N, D, dtype=F64, requires_grad=True) for _ in range(2))
    pairs = positives()
    mask = torch.zeros(N, N, dtype=F64)
    mask[tuple(pairs)] = 1
    assert not torch.equal(mask, mask.T)
    similar = torch.exp(F.normalize(a) @ F.normalize(b).T / 0.4)
    want = []
    for matrix in (similar, similar.T):
        want.append(-torch.log((mask * matrix).sum(1) / matrix.sum(1)).mean())
    compare(HeCoLoss(0.4, 0.3)(a, b, pairs), 0.3 * want[0] + 0.7 * want[1], (a, b))


def test_heco_with_single_positives_is_infonce_in_both_directions() -> None:
    a, b = views()
    own = torch.arange(N).repeat(2, 1)
    compare(HeCoLoss(0.4)(a, b, own), InfoNCE(0.4, intra_view=False)(a, b), (a, b))


# --- all of them ----------------------------------------------------------------------------------

LOSSES: dict[str, Callable[[int], Callable[[Tensor, Tensor], Tensor]]] = {
    "meow": lambda n: lambda a, b: MEOWLoss(0.4)(a, b, torch.arange(n)[:, None] % 7),
    "adameow": lambda n: AdaMEOWLoss(D, 4, tau=0.4).to(torch.get_default_dtype()),
    "heco": lambda n: lambda a, b: HeCoLoss(0.4)(a, b, torch.arange(n).repeat(2, 1)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str) -> None:
    if name == "adameow":
        loss: Any = AdaMEOWLoss(D, 4, tau=0.4).double()
    else:
        loss = LOSSES[name](9)
    raw = tuple(torch.randn(9, D, dtype=F64, requires_grad=True) for _ in range(2))
    # MEOW's centroids are constants by definition, which differences would not treat so.
    inputs = (raw[0], raw[1].detach()) if name == "meow" else raw
    assert torch.autograd.gradcheck(lambda a, b: loss(F.normalize(a), F.normalize(b)), inputs)


@pytest.mark.parametrize("name", LOSSES)
def test_renaming_nodes_leaves_the_loss(name: str) -> None:
    a, b = views()
    order = torch.randperm(N)
    if name == "adameow":
        loss = AdaMEOWLoss(D, 4).double()
        found = loss(a, b), loss(a[order], b[order])
    elif name == "meow":
        labels = clusterings()
        found = MEOWLoss()(a, b, labels), MEOWLoss()(a[order], b[order], labels[order])
    else:
        pairs = positives()
        place = torch.argsort(order)
        found = HeCoLoss()(a, b, pairs), HeCoLoss()(a[order], b[order], place[pairs])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_summed_in_float32(name: str) -> None:
    a, b = views(dtype=torch.float32)
    loss = LOSSES[name](N)
    torch.manual_seed(0)
    wide = loss(a, b)
    torch.manual_seed(0)
    half = loss(a.half(), b.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wide, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_of_size_n_by_n_at_20000_nodes(
    name: str, monkeypatch: pytest.MonkeyPatch, largest: Any
) -> None:
    nodes = 20_000
    monkeypatch.setitem(tiles._SIDE, "cpu", 2048)

    loss: Any = (
        AdaMEOWLoss(D, 1, tau=0.4, mode="official") if name == "adameow" else LOSSES[name](nodes)
    )
    a, b = views(nodes, torch.float32)
    with largest:
        loss(a, b).backward()
    assert nodes < largest.entries <= 2048 * 2048 * 1.01
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())


def test_bad_input_is_named() -> None:
    a, b = (x.detach() for x in views())
    labels = clusterings()
    bad: Any = "no"
    for call, words in (
        (lambda: MEOWLoss(0.0), "tau"),
        (lambda: MEOWLoss(0.4, -1.0), "proto_weight"),
        (lambda: MEOWLoss()(a, b[1:], labels), "views"),
        (lambda: MEOWLoss()(a, b, labels[1:]), "labels"),
        (lambda: MEOWLoss()(a, b, labels.double()), "labels"),
        (lambda: ClusterWeight(labels[:, 0]), "query_labels"),
        (lambda: ClusterWeight(labels, labels[:, :2]), "clusterings"),
        (lambda: negative_logsumexp(a, b[1:], log_weight=ClusterWeight(labels)), "19 keys"),
        (lambda: AdaMEOWLoss(D, tau=math.nan), "tau"),
        (lambda: AdaMEOWLoss(D, mode=bad), "mode 'no'"),
        (lambda: AdaMEOWLoss(D, 0), "hidden=0"),
        (lambda: AdaMEOWLoss(D)(a, b[1:]), "views"),
        (lambda: PairMLPWeight(a, b[:, 1:], a[0], a[0, :1]), "PairMLPWeight needs"),
        (lambda: PairMLPWeight(a, b, a[0], a[0]), "out_bias"),
        (
            lambda: negative_logsumexp(a, b[1:], log_weight=PairMLPWeight(a, b, a[0], a[0, :1])),
            "19 keys",
        ),
        (lambda: HeCoLoss(-1.0), "tau"),
        (lambda: HeCoLoss(0.4, 1.5), "balance"),
        (lambda: HeCoLoss()(a, b, positives()[:, N:]), "needs a positive"),
        (lambda: HeCoLoss()(a, b, positives()[0]), "positives"),
        (lambda: HeCoLoss()(a, b[1:], positives()), "views"),
        (lambda: HeCoLoss()(a, b, positives() - 1), "nodes -1 to 17, but there are 19"),
        (lambda: HeCoLoss()(a, b, positives() + 1), "nodes 1 to 19, but there are 19"),
        (lambda: cluster_counts(N, []), "clusters is empty"),
        (lambda: cluster_counts(N, [3, N + 1]), "20 clusters of 19 nodes"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_an_embedding_of_nan_is_not_left_out() -> None:
    a, b = (one.detach() for one in views())
    a[2, 1] = torch.nan
    assert torch.isnan(MEOWLoss(proto_weight=0.0)(a, b, clusterings()))


def test_labels_may_be_any_integers() -> None:
    y, label = torch.eye(4), torch.arange(4)[:, None]
    for loss in (MEOWLoss(1.0, 0.0), MEOWLoss(1.0), PrototypeLoss(1.0)):
        for other in (label << 32, label.to(torch.uint8), label.to(torch.uint32)):
            assert torch.equal(loss(y, y, other), loss(y, y, label))
    for loss in (MEOWLoss(), PrototypeLoss()):
        with pytest.raises(ValueError, match=r"\(4, M\) with M > 0, got \(4, 0\)"):
            loss(y, y, label[:, :0])
