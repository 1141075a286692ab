"""Training of link predictors: it learns, it repeats, and it never sees its targets."""

import pytest
import torch
from torch import Tensor

from graphcl.encoders.propagation import PropagationEncoder
from graphcl.links import GAE, NCN, NCNC, Neighbourhoods
from graphcl.links.training import LinkFit, fit_links
from graphcl.probes.links import LinkSplit, hold_out_links

N = 60


def blocks() -> tuple[Tensor, LinkSplit]:
    """Three dense blocks of twenty nodes, features that say nothing."""
    draw = torch.Generator().manual_seed(0)
    same = torch.arange(N)[:, None] // 20 == torch.arange(N)[None] // 20
    chance = torch.where(same, 0.6, 0.01)
    edges = (torch.rand(N, N, generator=draw) < chance).triu(1).nonzero().T
    split = hold_out_links(edges, N, validation=0.1, test=0.2, seed=0)
    return torch.randn(N, 5, generator=draw), split


def fitted(kind: type[GAE], seed: int = 0, **options: int) -> LinkFit:
    x, split = blocks()
    torch.manual_seed(seed)
    encoder, predictor = PropagationEncoder(5, 8), kind(8, 8)
    return fit_links(encoder, predictor, x, split, batch_size=64, k=20, progress=False, **options)


@pytest.mark.parametrize("kind", [NCN, NCNC])
def test_common_neighbours_find_the_blocks(kind: type[GAE]) -> None:
    # About twelve of the 74 test negatives lie inside blocks, like the positives.
    found = fitted(kind, epochs=15)
    assert found.test > 0.8
    assert found.losses[-1] < found.losses[0]
    assert found.curve[found.best_epoch - 1] == max(found.curve) == found.validation


def test_a_seed_repeats() -> None:
    assert fitted(NCN, epochs=2) == fitted(NCN, epochs=2)
    assert fitted(NCN, epochs=2).losses != fitted(NCN, seed=1, epochs=2).losses


def test_patience_ends_the_run() -> None:
    found = fitted(NCN, epochs=60, patience=2)
    assert len(found.curve) == found.best_epoch + 2


def test_targets_are_hidden_from_encoder_and_predictor() -> None:
    x, split = blocks()
    everything = Neighbourhoods(split.train_edge_index, N)
    seen: list[tuple[int, int]] = []

    class Watch(GAE):
        def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
            if self.training:
                targets = pairs[:, : pairs.shape[1] // 2]
                assert everything.has(targets).all()
                assert not graph.has(targets).any()
                seen.append((len(graph.keys), targets.shape[1]))
            return super().forward(h, graph, pairs)

    fit_links(PropagationEncoder(5, 8), Watch(8, 8), x, split, epochs=1, batch_size=64, k=5)
    assert sum(count for _, count in seen) == split.train.shape[1]
    assert all(left + 2 * count == len(everything.keys) for left, count in seen)


def test_bad_settings_are_named() -> None:
    x, split = blocks()
    with pytest.raises(ValueError, match="epochs=0"):
        fitted(NCN, epochs=0)
    with pytest.raises(ValueError, match="59 rows, the split 60"):
        fit_links(PropagationEncoder(5, 8), NCN(8, 8), x[1:], split)
    with pytest.raises(ValueError, match="layers=0"):
        PropagationEncoder(5, 8, layers=0)


def test_propagation_equals_its_definition() -> None:
    torch.manual_seed(0)
    x, split = blocks()
    encoder = PropagationEncoder(5, 8, layers=2)
    a = torch.eye(N)
    a[tuple(split.train_edge_index)] = 1
    scale = a.sum(1).rsqrt()
    smooth = scale[:, None] * a * scale
    wanted = encoder.linear(x)
    for norm in encoder.norms:
        wanted = norm(smooth @ wanted)
    torch.testing.assert_close(encoder(x, split.train_edge_index), wanted)
