"""Contexts, schema sampling, positives, clusterings and feature rows, by definition."""

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from graphcl.hetero import (
    Contexts,
    NeighbourLists,
    Rows,
    SchemaEncoder,
    TypeTransform,
    cluster_labels,
    positive_pairs,
)
from graphcl.kernels.sparse_product import sparse_product
from graphcl.metapaths import compose


@pytest.fixture
def data() -> HeteroData:
    """Four authors of six papers at two conferences; author 3 has no paper."""
    graph = HeteroData()
    graph["author"].num_nodes, graph["paper"].num_nodes, graph["conference"].num_nodes = 4, 6, 2
    graph["author", "to", "paper"].edge_index = torch.tensor(
        [[0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 3, 4, 5]]
    )
    graph["paper", "to", "conference"].edge_index = torch.tensor(
        [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 0]]
    )
    return graph


def test_context_of_a_short_path_is_the_mean_of_the_middle(data: HeteroData) -> None:
    h = {"paper": torch.randn(6, 3)}
    found = Contexts.of(compose(data, "APA"))(h)
    for author, papers in enumerate(([0, 1, 2], [2, 3], [4, 5])):
        torch.testing.assert_close(found[author], h["paper"][papers].mean(0))
    assert not found[3].any()


def test_context_of_a_long_path_sums_what_is_on_the_way(data: HeteroData) -> None:
    h = {"paper": torch.randn(6, 3), "conference": torch.randn(2, 3)}
    at = [0, 0, 1, 1, 1, 0]
    held = [[p for p in range(6) if at[p] == c] for c in range(2)]
    found = Contexts.of(compose(data, "APCPA"))(h)
    for author, papers in enumerate(([0, 1, 2], [2, 3], [4, 5])):
        first = h["paper"][papers].mean(0)
        second = torch.stack([h["conference"][at[p]] for p in papers]).mean(0)
        third = torch.stack([h["paper"][held[at[p]]].mean(0) for p in papers]).mean(0)
        torch.testing.assert_close(found[author], first + second + third)
    with pytest.raises(ValueError, match="no node between its ends"):
        Contexts.of(compose(data, [("author", "paper")]))


def test_products_with_a_known_transpose_have_the_same_gradient(data: HeteroData) -> None:
    step, back = Contexts.of(compose(data, "APA")).steps[0]
    h = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    dense = step.to_dense().double()
    for transpose in (back, None):
        found = sparse_product(step, h, transpose)
        torch.testing.assert_close(found, dense @ h)
        (grad,) = torch.autograd.grad(found.square().sum(), h)
        torch.testing.assert_close(grad, 2 * dense.T @ dense @ h)
    assert torch.autograd.gradcheck(lambda x: sparse_product(step, x, back), h)


def test_samples_are_neighbours_once_each_where_there_are_enough(data: HeteroData) -> None:
    lists = NeighbourLists.of(compose(data, [("author", "paper")]))
    held = [{0, 1, 2}, {2, 3}, {4, 5}, set()]
    seen: list[set[int]] = [set(), set(), set(), set()]
    for _ in range(50):
        chosen, some = lists.sample(3)
        assert some.tolist() == [True, True, True, False]
        assert sorted(chosen[0].tolist()) == [0, 1, 2]
        for author in range(3):
            assert set(chosen[author].tolist()) <= held[author]
            seen[author] |= {int(chosen[author, 0])}
        two, _ = lists.sample(2)
        assert len(set(two[0].tolist())) == 2
    assert seen[:3] == held[:3]


def test_schema_view_by_a_loop(data: HeteroData) -> None:
    encoder = SchemaEncoder(3, {"paper": 3})
    target, papers = torch.randn(4, 3), torch.randn(6, 3)
    # Author 0 has exactly the three papers that are drawn.
    found = encoder(target, {"paper": papers}, {"paper": NeighbourLists.of(
        compose(data, [("author", "paper")]))})  # fmt: skip
    query = encoder.queries["paper"][0]
    score = torch.stack([query @ torch.cat([target[0], papers[p]]) for p in (0, 1, 2)])
    share = torch.nn.functional.leaky_relu(score).softmax(0)
    mixed = torch.nn.functional.elu((share[:, None] * papers[:3]).sum(0))
    torch.testing.assert_close(found[0], mixed)
    assert not found[3].any()


def test_positives_by_a_loop(data: HeteroData) -> None:
    paths = [compose(data, "PAP"), compose(data, "PCP")]
    counts = [path.counts().toarray() for path in paths]
    joined = sum((c > 0).astype(int) for c in counts)
    share = sum((c > 0) / np.maximum((c > 0).sum(1, keepdims=True), 1) for c in counts)
    for threshold in (1, 2, 3, 9):
        pairs = positive_pairs(paths, threshold)
        for node in range(6):
            mine = pairs[1][pairs[0] == node].tolist()
            others = [j for j in joined[node].nonzero()[0] if j != node]
            assert len(mine) == len(set(mine)) == min(threshold, 1 + len(others))
            assert node in mine
            kept = {(joined[node, j], round(share[node, j], 9)) for j in mine if j != node}
            left = {(joined[node, j], round(share[node, j], 9)) for j in set(others) - set(mine)}
            assert not kept or not left or min(kept) >= max(left)
    for options, words in (((paths, 0), "1 at least"), (([], 3), "0 meta-paths")):
        with pytest.raises(ValueError, match=words):
            positive_pairs(*options)


def test_clusterings_find_planted_groups_and_follow_the_seed() -> None:
    own = torch.arange(60) % 3
    z = torch.nn.functional.normalize(torch.eye(3)[own] + 0.05 * torch.randn(60, 3))
    runs = []
    for _ in range(2):
        torch.manual_seed(4)
        runs.append(cluster_labels(z, [3, 8]))
    assert torch.equal(*runs)
    table = torch.zeros(3, 3).index_put_((own, runs[0][:, 0]), torch.ones(60), accumulate=True)
    assert (table > 0).sum() == 3
    assert len(runs[0][:, 1].unique()) == 8
    # Equal rows cannot fill the clusters that were asked for.
    assert len(cluster_labels(torch.ones(5, 2), [3])[:, 0].unique()) == 1


@pytest.mark.parametrize("names", [("c#", "c."), ("type", "<type>")])
def test_node_types_that_pyg_stores_under_one_name_are_told(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="rename node types"):
        TypeTransform(dict.fromkeys(names, 3), 4)


def test_a_node_type_that_no_module_can_have_is_told() -> None:
    with pytest.raises(ValueError, match="rename a node type: attribute 'training'"):
        TypeTransform({"training": 3}, 4)


@pytest.mark.parametrize("sparse", [False, True])
def test_feature_rows_their_product_and_their_masks(sparse: bool) -> None:
    x = torch.relu(torch.randn(40, 9))
    x[-1] = 0  # trailing empty rows and columns stay
    x[:, -1] = 0
    rows = Rows.of(x.to_sparse_csr() if sparse else x)
    transform = TypeTransform({"paper": 9}, 4)
    found = transform("paper", rows)
    linear = transform.linears["paper"]
    wanted = torch.nn.functional.elu(linear(x))
    torch.testing.assert_close(found, wanted)
    parameters = list(transform.parameters())
    for ours, theirs in zip(
        *(torch.autograd.grad(one.sin().sum(), parameters) for one in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    masked = rows.masked(0.4)
    dense = masked.x.to_dense() if sparse else masked.x
    assert dense.shape == x.shape
    assert bool(((dense == 0) | (dense == x)).all())
    assert 0.45 < float((dense > 0).sum() / (x > 0).sum()) < 0.75
    if sparse:
        assert masked.transpose is not None
        torch.testing.assert_close(masked.transpose.to_dense(), dense.T)
