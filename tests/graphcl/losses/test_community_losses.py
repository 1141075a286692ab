"""Unit tests T1 to T5 of gCooL's specification, and errors."""

from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.community import soft_assignment
from graphcl.losses import DeCA, InfoNCE, ReSC
from graphcl.losses.deca import community_links

N, K, D = 23, 4, 5


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def rows(count: int = N, width: int = D) -> Tensor:
    drawn = torch.randn(count, width, dtype=torch.float64, generator=seeded())
    return torch.nn.functional.normalize(drawn)


def graph() -> tuple[Tensor, Tensor]:
    edges = torch.randint(N, (2, 80), generator=seeded())
    dense = torch.zeros(N, N, dtype=torch.float64)
    dense.index_put_((edges[0], edges[1]), torch.ones(80, dtype=torch.float64), accumulate=True)
    return edges, dense


def memberships() -> Tensor:
    return torch.softmax(torch.randn(N, K, dtype=torch.float64, generator=seeded()), 1)


def test_t1_sparse_links_equal_dense_ones() -> None:
    (edges, dense), r = graph(), memberships()
    torch.testing.assert_close(community_links(r, edges), r.T @ dense @ r)


def dense_loss(r: Tensor, dense: Tensor, weight: float, density: str) -> Tensor:
    """The definition, pair by pair."""
    n, total = len(r), torch.zeros((), dtype=torch.float64)
    inter = sum(
        (dense * torch.outer(r[:, k], r[:, m])).sum()
        for k in range(r.shape[1])
        for m in range(r.shape[1])
        if k != m
    ) / (n * (n - 1))
    degree = dense.sum(1)
    for k in range(r.shape[1]):
        pairs = torch.outer(r[:, k], r[:, k])
        inside = (dense * pairs).sum()
        size = r[:, k].sum()
        null = {
            "code": r[:, k].square().sum() / 2,
            "paper": inside / (size * (size - 1)) * pairs.sum(),
            "modularity": (torch.outer(degree, dense.sum(0)) / dense.sum() * pairs).sum(),
        }[density]
        total = total + (inside - null) / n
    return weight * inter - total


@pytest.mark.parametrize("density", ["code", "paper", "modularity"])
def test_t2_loss_equals_its_definition(density: Any) -> None:
    (edges, dense), r = graph(), memberships()
    r.requires_grad_(True)
    got, want = DeCA(0.3, density)(r, edges), dense_loss(r, dense, 0.3, density)
    torch.testing.assert_close(got, want)
    ours, theirs = (torch.autograd.grad(one, r)[0] for one in (got, want))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("density", ["code", "modularity"])
def test_t3_true_cliques_are_better_than_random_partitions(density: Any) -> None:
    label = torch.arange(20) // 5
    same = label[:, None] == label[None]
    edges = (same & ~torch.eye(20, dtype=torch.bool)).nonzero().T
    true = torch.nn.functional.one_hot(label).double()
    links = community_links(true, edges)
    assert links.trace() == links.sum()
    loss = DeCA(1.0, density)
    assert all(
        loss(true, edges) < loss(true[torch.randperm(20, generator=draw)], edges)
        for draw in (torch.Generator().manual_seed(seed) for seed in range(50))
    )


def test_paper_density_hardly_sees_hard_partitions() -> None:
    (edges, dense), label = graph(), torch.arange(N) % K
    hard = torch.nn.functional.one_hot(label).double()
    inside, size = (hard.T @ dense @ hard).diagonal(), hard.sum(0)
    torch.testing.assert_close(DeCA(0.0, "paper")(hard, edges), (inside / (size - 1)).sum() / N)


@pytest.mark.parametrize("density", ["code", "paper", "modularity"])
def test_no_edges_and_empty_communities_stay_finite(density: Any) -> None:
    r = torch.zeros(6, 3)
    r[:, 0] = 1
    assert DeCA(1.0, density)(r, torch.empty(2, 0, dtype=torch.long)).isfinite()


def dense_resc(h1: Tensor, h2: Tensor, own: Tensor, tau: float, gamma: float, kind: str) -> Tensor:
    """One direction, by broadcasting."""
    present = own.unique()
    centroid = torch.stack([h2[own == k].mean(0) for k in present]).detach()
    mine = torch.searchsorted(present, own)
    if kind == "cos":
        score = h1 @ centroid.T / tau
    else:
        score = -(h1[:, None] - centroid).square().sum(-1) / tau**2
    apart = (centroid[:, None] - centroid).square().sum(-1)
    weighted = score - gamma * apart[mine]
    return (weighted.logsumexp(1) - score.gather(1, mine[:, None])[:, 0]).mean()


@pytest.mark.parametrize("kind", ["cos", "rbf"])
@pytest.mark.parametrize("gamma", [0.0, 0.7])
@pytest.mark.parametrize("count", [K, K + 2], ids=["full", "two empty"])
def test_t4_cross_contrast_equals_its_definition(kind: Any, gamma: float, count: int) -> None:
    h1, h2 = rows().requires_grad_(True), rows().flip(0).requires_grad_(True)
    own1, own2 = torch.arange(N) % K, (torch.arange(N) * 7 // 5) % K
    got = ReSC(0.4, gamma, kind)(h1, h2, own1, own2, count)
    want = (
        dense_resc(h1, h2, own2, 0.4, gamma, kind) + dense_resc(h2, h1, own1, 0.4, gamma, kind)
    ) / 2
    torch.testing.assert_close(got, want)
    for ours, theirs in zip(
        *(torch.autograd.grad(one, (h1, h2)) for one in (got, want)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_gamma_is_live_with_both_similarities() -> None:
    h, own = rows(), torch.arange(N) % K
    for kind in ("cos", "rbf"):
        plain, weighted = (ReSC(0.4, g, kind)(h, h.flip(0), own, own, K) for g in (0.0, 1.0))
        assert weighted < plain


def test_any_integers_name_communities() -> None:
    h, own = rows(), memberships().argmax(1)
    wanted = ReSC()(h, h, own, own, K)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        assert ReSC()(h, h, own.to(dtype), own.to(dtype), K) == wanted


def test_modularity_of_a_directed_view_does_not_depend_on_the_direction() -> None:
    edges = torch.tensor([[1, 2], [0, 0]])
    r = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    loss = DeCA(0.0, "modularity")
    assert loss(r, edges) == loss(r, edges.flip(0)) == 0


def test_t5_one_community_per_node_is_inter_view_infonce() -> None:
    h1, h2 = rows(), rows().roll(1, 1)
    own = torch.arange(N)
    torch.testing.assert_close(
        ReSC(0.4)(h1, h2, own, own, N), InfoNCE(0.4, intra_view=False)(h1, h2)
    )


@pytest.mark.parametrize("kind", ["cos", "rbf"])
def test_memberships_equal_their_definition(kind: Any) -> None:
    h, centres = rows(), 3 * rows(K).flip(1)
    unit = torch.nn.functional.normalize(centres)
    score = h @ unit.T / 0.3 if kind == "cos" else -torch.cdist(h, unit).square() / 0.09
    torch.testing.assert_close(
        soft_assignment(h, centres, tau=0.3, similarity=kind), score.softmax(1)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_summed_in_float32(dtype: Any, autocast: bool) -> None:
    """Sums over thousands of nodes and edges leave the range or the digits of 16 bits."""
    nodes = 3000
    h = torch.nn.functional.normalize(torch.randn(nodes, D, generator=seeded()) + 1.5)
    r = torch.softmax(3 * torch.randn(nodes, K, generator=seeded()), 1)
    edges = torch.randint(nodes, (2, 40_000), generator=seeded())
    own = torch.arange(nodes) % K
    losses = [lambda t, d=d: DeCA(1.0, d)(t(r), edges) for d in ("code", "paper", "modularity")]
    losses += [
        lambda t, k=k: ReSC(0.4, 1.0, k)(t(h), t(h.flip(0)), own, own, K) for k in ("cos", "rbf")
    ]
    for loss in losses:
        wanted = loss(lambda x: x.to(dtype).float())
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            got = loss(lambda x: x.to(dtype))
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_bad_settings_and_inputs_are_named() -> None:
    edges, h, own = graph()[0], rows(), torch.arange(N) % K
    bad: Any = "no"
    for call, words in (
        (lambda: DeCA(-1.0), "inter_weight"),
        (lambda: DeCA(1.0, bad), "density 'no'"),
        (lambda: DeCA()(torch.ones(1, 2), edges), "two nodes"),
        (lambda: DeCA()(memberships(), edges[0]), "edge_index"),
        (lambda: DeCA()(memberships(), edges.double()), "float64"),
        (lambda: DeCA()(memberships(), edges + N), f"to {2 * N - 1}, but there are {N}"),
        (lambda: DeCA()(memberships(), edges - N), "nodes -"),
        (lambda: ReSC(0.0), "tau"),
        (lambda: ReSC(0.4, -1.0), "gamma"),
        (lambda: ReSC(0.4, 0.0, bad), "similarity 'no'"),
        (lambda: ReSC()(h, h[1:], own, own, K), "views"),
        (lambda: ReSC()(h, h, own, own.double(), K), "community2"),
        (lambda: ReSC()(h, h, own, own > 0, K), "of torch.bool"),
        (lambda: ReSC()(h[:0], h[:0], own[:0], own[:0], K), "views"),
        (lambda: ReSC()(h, h, own, own, K - 1), "0 to 3, but there are 3"),
        (lambda: soft_assignment(h, h[:, 1:]), "centres"),
        (lambda: soft_assignment(h, h, tau=-1.0), "tau"),
        (lambda: soft_assignment(h, h, similarity=bad), "similarity 'no'"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_the_release_takes_empty_communities_for_negatives_and_no_weights() -> None:
    h1 = torch.nn.functional.normalize(rows())
    h2 = h1.flip(0)
    own1, own2 = torch.arange(N) % 3, torch.arange(N) // 2 % 3
    official = ReSC(0.5, gamma=3.0, mode="official")
    paper = ReSC(0.5, gamma=0.0)
    torch.testing.assert_close(official(h1, h2, own1, own2, 3), paper(h1, h2, own1, own2, 3))

    def one_way(h: torch.Tensor, other: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        centroid = torch.stack([other[own == k].mean(0) for k in range(3)])
        padded = torch.cat([centroid, torch.zeros(2, D, dtype=h.dtype)])
        return torch.nn.functional.cross_entropy(h @ padded.T / 0.5, own)

    wanted = (one_way(h1, h2, own2) + one_way(h2, h1, own1)) / 2
    torch.testing.assert_close(official(h1, h2, own1, own2, 5), wanted)
    rbf = ReSC(0.5, gamma=3.0, similarity="rbf", mode="official")
    weighed = ReSC(0.5, gamma=3.0, similarity="rbf")
    torch.testing.assert_close(rbf(h1, h2, own1, own2, 3), weighed(h1, h2, own1, own2, 3))
    with pytest.raises(ValueError, match="unknown mode 'release'"):
        ReSC(mode="release")  # type: ignore[arg-type]
