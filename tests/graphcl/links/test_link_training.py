"""Training of link predictors: it learns, it repeats, and it never sees its targets."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphcl.encoders.propagation import PropagationEncoder
from graphcl.links import GAE, NCN, NCNC, Neighbourhoods
from graphcl.links.training import LinkFit, fit_links, judge
from graphcl.probes.links import LinkSplit, hold_out_links
from graphcl.ranking.ogb_files import import_ogb
from graphcl.views.features import compact_features

N = 60


def blocks() -> tuple[Tensor, LinkSplit]:
    """Three dense blocks of twenty nodes, features that say nothing."""
    draw = torch.Generator().manual_seed(0)
    same = torch.arange(N)[:, None] // 20 == torch.arange(N)[None] // 20
    chance = torch.where(same, 0.6, 0.01)
    edges = (torch.rand(N, N, generator=draw) < chance).triu(1).nonzero().T
    split = hold_out_links(edges, N, validation=0.2, test=0.2, seed=0)
    return torch.randn(N, 5, generator=draw), split


def fitted(kind: type[GAE], seed: int = 0, **options: Any) -> LinkFit:
    x, split = blocks()
    torch.manual_seed(seed)
    encoder, predictor = PropagationEncoder(5, 8), kind(8, 8)
    return fit_links(encoder, predictor, x, split, batch_size=64, k=20, progress=False, **options)


@pytest.mark.parametrize("kind", [NCN, NCNC])
def test_common_neighbours_find_the_blocks(kind: type[GAE]) -> None:
    # About twelve of the 74 test negatives lie inside blocks, like the positives; by chance 20 of
    # 74 positives would be hits.
    found = fitted(kind, epochs=20)
    assert found.test > 0.7
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


def of_citations(split: LinkSplit) -> LinkSplit:
    """The same pairs with negatives of each positive's own."""
    draw = torch.Generator().manual_seed(0)
    own = {}
    for part in ("validation", "test"):
        target = getattr(split, part)[1][:, None]
        away = torch.randint(1, N, (len(target), 9), generator=draw)  # never the target itself
        own[f"{part}_negatives"] = (target + away) % N
    return replace(split, metric="mrr", **own)


@pytest.mark.parametrize("name", ["ogbl-ddi", "ogbl-citation2"])
def test_t9_what_is_reported_is_ogbs_evaluator(name: str) -> None:
    x, split = blocks()
    split = replace(split, metric="hits@20") if name == "ogbl-ddi" else of_citations(split)
    torch.manual_seed(0)
    encoder, predictor = PropagationEncoder(5, 8), NCN(8, 8)
    graph = Neighbourhoods(split.train_edge_index, N)
    fit_links(encoder, predictor, x, split, epochs=2, batch_size=64, progress=False)
    encoder.double().eval()
    predictor.double().eval()
    x = x.double()
    with torch.no_grad():
        h = encoder(x, graph.edge_index)
        positive, negatives = predictor(h, graph, split.test), split.test_negatives
        if name == "ogbl-citation2":
            source = split.test[0].repeat_interleave(9)
            pairs = torch.stack([source, negatives.flatten()])
            against = predictor(h, graph, pairs).view(-1, 9)
        else:
            against = predictor(h, graph, negatives)
        evaluator = import_ogb("ogb.linkproppred").Evaluator(name)
        theirs = evaluator.eval({"y_pred_pos": positive, "y_pred_neg": against})
    key = "hits@20" if name == "ogbl-ddi" else "mrr_list"
    wanted = torch.as_tensor(theirs[key], dtype=torch.float64).mean().item()
    for batch_size in (1, 10, 8192):
        found = judge(
            encoder, predictor, x, graph, split.test, negatives, split.metric, batch_size=batch_size
        )
        assert found == pytest.approx(wanted, abs=1e-9)


def test_negatives_of_citations_keep_the_source() -> None:
    x, split = blocks()
    split, seen = of_citations(split), []

    class Watch(GAE):
        def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
            if self.training:
                good, bad = pairs.chunk(2, dim=1)
                assert torch.equal(good[0], bad[0])
                assert graph.has(good).all()  # no target is hidden
                seen.append(good.shape[1])
            return super().forward(h, graph, pairs)

    told: list[tuple[int, float, float]] = []
    found = fit_links(
        PropagationEncoder(5, 8),
        Watch(8, 8),
        x,
        split,
        epochs=2,
        batch_size=64,
        edges_per_epoch=100,
        hide_targets=False,
        report=lambda *values: told.append(values),
        progress=False,
    )
    assert seen == [64, 36, 64, 36]
    assert found.metric == "mrr"
    assert told == [(i + 1, found.losses[i], found.curve[i]) for i in range(2)]


def test_gradients_of_citations_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    x, split = blocks()
    norms: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam, *args: object) -> object:
        each = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack(each).norm()))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    for used in (of_citations(split), split):
        torch.manual_seed(0)
        encoder, predictor = PropagationEncoder(5, 8), GAE(8, 8)
        with torch.no_grad():
            for weight in predictor.parameters():
                weight.mul_(10)
        fit_links(encoder, predictor, x, used, epochs=1, k=20, progress=False)
    clipped, free = norms
    assert clipped <= 1 + 1e-5
    assert free > 2


def test_validation_edges_may_be_known_at_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = []

    class Watch(GAE):
        def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
            if not self.training:
                edges.append(len(graph.keys) // 2)
            return super().forward(h, graph, pairs)

    x, split = blocks()
    options = {"epochs": 1, "batch_size": 64, "k": 5, "progress": False}
    fit_links(
        PropagationEncoder(5, 8), Watch(8, 8), x, split, validation_edges_at_test=True, **options
    )
    train = split.train.shape[1]
    assert edges == [train] * 2 + [train + split.validation.shape[1]] * 2


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


def test_sums_residuals_and_jumps_equal_their_definition() -> None:
    torch.manual_seed(0)
    _, split = blocks()
    encoder = PropagationEncoder(
        N,
        8,
        layers=3,
        aggregation="sum",
        norm=False,
        residual=True,
        jumping_knowledge=True,
        embed=True,
        tail_dropout=0.0,
    )
    a = torch.zeros(N, N)
    a[tuple(split.train_edge_index)] = 1
    h, wanted = encoder.linear.weight, torch.zeros(N, 8)
    torch.testing.assert_close(h.T @ h, torch.eye(8))  # orthogonal at first
    for weight in encoder.jump:
        h = a @ h + h
        wanted = wanted + weight * h
    torch.testing.assert_close(encoder(torch.arange(N), split.train_edge_index), wanted)
    with pytest.raises(ValueError, match="aggregation"):
        PropagationEncoder(5, 8, aggregation="mean")


def test_sparse_features_are_propagated_like_dense_ones() -> None:
    _, split = blocks()
    x = torch.eye(N)[:, :30]
    encoder = PropagationEncoder(30, 8, feature_dropout=0.5).eval()
    found = []
    for features in (x, compact_features(x)):
        encoder.zero_grad()
        z = encoder(features, split.train_edge_index)
        (z * torch.linspace(-1, 1, z.numel()).view_as(z)).sum().backward()
        found.append([z, encoder.linear.weight.grad.clone()])
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(dense, sparse)
    encoder.train()
    mapped = encoder._mapped(compact_features(x)) - encoder.linear.bias
    dropped = (mapped[:30] == 0).all(1)
    assert 0 < dropped.sum() < 30
    kept = 2 * encoder.linear.weight.T[~dropped]
    torch.testing.assert_close(mapped[:30][~dropped], kept)


def test_a_k_above_the_number_of_negatives_is_refused() -> None:
    x, split = blocks()
    count = split.validation_negatives.shape[1]
    message = f"hits@{count + 1} needs {count + 1} negatives, the split has {count}"
    with pytest.raises(ValueError, match=message):
        fit_links(PropagationEncoder(5, 4), GAE(4, 4), x, split, k=count + 1, progress=False)
    for part in ("train", "validation", "test"):
        bare = replace(split, **{part: getattr(split, part)[:, :0]})
        with pytest.raises(ValueError, match=f"no {part} edges"):
            fit_links(PropagationEncoder(5, 4), GAE(4, 4), x, bare, progress=False)


class Stop(Exception):
    """An interrupt."""


def stopping(after: int) -> Callable[[int, float, float], None]:
    def report(epoch: int, loss: float, value: float) -> None:
        if epoch == after:
            raise Stop

    return report


@pytest.mark.parametrize("kind", [GAE, NCN])
def test_an_interrupted_run_comes_to_the_same_end(kind: type[GAE], tmp_path: Path) -> None:
    wanted = fitted(kind, epochs=5)
    file = tmp_path / "runs" / "links.pt"
    told: list[int] = []
    for after in (2, 3):
        with pytest.raises(Stop):
            fitted(kind, epochs=5, checkpoint=file, report=stopping(after))
    assert fitted(kind, epochs=5, checkpoint=file, report=lambda i, *_: told.append(i)) == wanted
    assert told == [4, 5]
    told.clear()
    # A run that is over is not trained again; it may be given more epochs.
    assert fitted(kind, epochs=5, checkpoint=file, report=lambda i, *_: told.append(i)) == wanted
    assert not told
    assert fitted(kind, epochs=6, checkpoint=file) == fitted(kind, epochs=6)
    assert [path.name for path in file.parent.iterdir()] == ["links.pt"]


def test_a_step_that_fails_loses_no_epoch(tmp_path: Path) -> None:
    x, split = blocks()
    steps = math.ceil(split.train.shape[1] / 64)
    taken: list[int] = []

    def run(fails_at: int) -> LinkFit:
        class Failing(NCN):
            def forward(self, *args: Any) -> Tensor:
                if self.training:
                    taken.append(1)
                    if len(taken) == fails_at:
                        raise Stop
                return super().forward(*args)

        torch.manual_seed(0)
        encoder, predictor = PropagationEncoder(5, 8), Failing(8, 8)
        options: dict[str, Any] = {"epochs": 5, "batch_size": 64, "k": 20, "progress": False}
        return fit_links(encoder, predictor, x, split, checkpoint=tmp_path / "links.pt", **options)

    with pytest.raises(Stop):
        run(2 * steps + 1)  # the first step of the third epoch
    taken.clear()
    assert run(0) == fitted(NCN, epochs=5)
    assert len(taken) == 3 * steps


def test_patience_holds_for_a_resumed_run(tmp_path: Path) -> None:
    wanted = fitted(NCN, epochs=60, patience=2)
    file = tmp_path / "links.pt"
    assert fitted(NCN, epochs=60, patience=2, checkpoint=file) == wanted
    assert fitted(NCN, epochs=60, patience=2, checkpoint=file) == wanted


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "links.pt"
    fitted(NCN, epochs=1, checkpoint=file)
    with pytest.raises(ValueError, match=r"another run.*patience: 0 there, 3 now"):
        fitted(NCN, epochs=1, checkpoint=file, patience=3)
    with pytest.raises(ValueError, match=r"another run.*first weights"):
        fitted(NCN, seed=1, epochs=1, checkpoint=file)
    with pytest.raises(ValueError, match="predictor: 'NCN' there, 'NCNC' now"):
        fitted(NCNC, epochs=1, checkpoint=file)
    x, split = blocks()
    torch.manual_seed(0)
    other = PropagationEncoder(5, 8), NCN(8, 8, dropout=0.5)
    options: dict[str, Any] = {"batch_size": 64, "k": 20, "progress": False, "epochs": 1}
    with pytest.raises(ValueError, match=r"another run.*dropout: 0.0 there, 0.5 now"):
        fit_links(*other, x, split, checkpoint=file, **options)
    wide = PropagationEncoder(5, 16), NCN(16, 16)
    with pytest.raises(ValueError, match=r"\d+ more\); give another file") as raised:
        fit_links(*wide, x, split, checkpoint=file, **options)
    assert str(raised.value).count(" there, ") == 4
    fitted(NCN, epochs=3, checkpoint=file)
    with pytest.raises(ValueError, match="has 3 epochs already, epochs=2 is less"):
        fitted(NCN, epochs=2, checkpoint=file)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no checkpoint of a link training"):
        fitted(NCN, epochs=1, checkpoint=file)
    assert file.read_bytes() == b"something else"


def test_numbers_of_numpy_are_kept_as_numbers(tmp_path: Path) -> None:
    file = tmp_path / "links.pt"
    rate = {"lr_encoder": np.float64(0.01)}
    wanted = fitted(NCN, epochs=2, **rate)
    fitted(NCN, epochs=1, checkpoint=file, **rate)
    assert fitted(NCN, epochs=2, checkpoint=file, **rate) == wanted


def test_other_data_are_noticed_in_a_checkpoint(tmp_path: Path) -> None:
    x, split = blocks()
    file = tmp_path / "links.pt"
    for features in (x, compact_features(torch.eye(N))):
        for changed in (features, features * 2):
            torch.manual_seed(0)
            models = PropagationEncoder(features.shape[1], 8), NCN(8, 8)
            options = {"epochs": 1, "k": 20, "checkpoint": file, "progress": False}
            if changed is features:
                file.unlink(missing_ok=True)
                fit_links(*models, features, split, **options)
            else:
                with pytest.raises(ValueError, match="checksum of x"):
                    fit_links(*models, changed, split, **options)


@pytest.mark.parametrize("metric", ["", "mrr"])
def test_the_epoch_may_be_chosen_on_a_part_of_validation(metric: str) -> None:
    x, split = blocks()
    split = of_citations(split) if metric else split
    looks: list[Tensor] = []

    class Watch(GAE):
        def forward(self, h: Tensor, graph: Neighbourhoods, pairs: Tensor) -> Tensor:
            if not self.training:
                looks.append(pairs)
            return super().forward(h, graph, pairs)

    options = {"epochs": 2, "k": 20, "validation_pairs": 7, "progress": False}
    fit_links(PropagationEncoder(5, 8), Watch(8, 8), x, split, **options)
    first, against, again, _, test, _ = looks
    assert first.shape == (2, 7)
    assert torch.equal(first, again)
    place = [(pair == split.validation.T).all(1).nonzero().item() for pair in first.T]
    assert len(set(place)) == 7
    if metric:
        assert torch.equal(against[1].view(7, -1), split.validation_negatives[place])
    else:
        assert torch.equal(against, split.validation_negatives)
    assert torch.equal(test, split.test)  # the test is whole


def test_negative_numbers_of_pairs_are_named() -> None:
    for name in ("validation_pairs", "edges_per_epoch"):
        with pytest.raises(ValueError, match=f"{name}=-1"):
            fitted(NCN, epochs=1, **{name: -1})
