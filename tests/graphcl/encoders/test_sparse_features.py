"""Sparse features give the values and gradients of dense ones."""

import pytest
import torch

from graphcl.encoders import GATEncoder, GCNEncoder, SAGEEncoder
from graphcl.views.adaptive import feature_mask_probabilities
from graphcl.views.features import compact_features, mask_features, shuffle_rows


def bags(nodes: int = 40, words: int = 57) -> torch.Tensor:
    x = torch.rand(nodes, words, dtype=torch.float64)
    x[torch.rand(nodes, words) > 0.05] = 0
    x[3] = 0
    return x


def test_compact_features_keeps_values_and_leaves_full_ones() -> None:
    x = bags()
    sparse = compact_features(x)
    assert sparse.layout == torch.sparse_csr
    assert torch.equal(sparse.to_dense(), x)
    full = torch.rand(5, 4)
    assert compact_features(full) is full
    assert compact_features(x, density=0.0) is x
    assert compact_features(sparse) is sparse


@pytest.mark.parametrize("kind", [GCNEncoder, GATEncoder, SAGEEncoder])
def test_encoders_agree_on_both_layouts(kind: type) -> None:
    x, edges = bags(), torch.randint(40, (2, 150))
    encoder = kind(57, [8, 4]).double()
    gradients = []
    for features in (x, compact_features(x)):
        encoder.zero_grad()
        z = encoder(features, edges)
        (z * torch.linspace(-1, 1, z.numel(), dtype=z.dtype).view_as(z)).sum().backward()
        gradients.append([z.detach(), *(p.grad.clone() for p in encoder.parameters())])
    for dense, sparse in zip(*gradients, strict=True):
        torch.testing.assert_close(sparse, dense)


def test_gcn_on_sparse_features_under_autocast() -> None:
    x, edges = bags().float(), torch.randint(40, (2, 150))
    encoder = GCNEncoder(57, [8, 4])
    with torch.autocast("cpu", torch.bfloat16):
        z = encoder(compact_features(x), edges)
    z.float().sum().backward()
    torch.testing.assert_close(z.float(), encoder(x, edges), rtol=0.05, atol=0.05)
    assert encoder.convs[0].lin.weight.grad.isfinite().all()


def test_masking_agrees_on_both_layouts() -> None:
    x = bags()
    dense = mask_features(x, 0.4, generator=torch.Generator().manual_seed(1))
    sparse = mask_features(compact_features(x), 0.4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sparse.to_dense(), dense)
    assert 0 < dense.count_nonzero() < x.count_nonzero()


def test_mask_probabilities_agree_on_both_layouts() -> None:
    x, centrality = bags(), torch.rand(40)
    torch.testing.assert_close(
        feature_mask_probabilities(compact_features(x), centrality, 0.3),
        feature_mask_probabilities(x, centrality, 0.3),
    )


def test_shuffle_rows_permutes_rows_alike_in_both_layouts() -> None:
    x = bags()
    dense = shuffle_rows(x, generator=torch.Generator().manual_seed(2))
    sparse = shuffle_rows(compact_features(x), generator=torch.Generator().manual_seed(2))
    assert torch.equal(sparse.to_dense(), dense)
    assert not torch.equal(dense, x)
    assert sorted(map(tuple, dense.tolist())) == sorted(map(tuple, x.tolist()))


def test_mask_probabilities_of_truth_values() -> None:
    x, centrality = bags() > 0, torch.rand(40)
    wanted = feature_mask_probabilities(x.float(), centrality, 0.3)
    torch.testing.assert_close(feature_mask_probabilities(x, centrality, 0.3), wanted)
