"""What holds for all of our negatives inside PyKEEN, and for its loss through PyKEEN's loop."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pykeen.datasets import Nations
from pykeen.models import DistMult
from pykeen.pipeline import pipeline
from pykeen.sampling import negative_sampler_resolver
from pykeen.training import SLCWATrainingLoop
from torch import Tensor

import kge
from kge.losses.hasa import HaSaLoss

kge.register()

VECTORS = torch.randn(14, 5, generator=torch.Generator().manual_seed(0)).tolist()
SAMPLERS: dict[str, dict[str, Any]] = {
    "hasa": {"hard_share": 0.0},
    "lemon": {"embeddings": VECTORS, "n_clusters": 4},
}


def _sampler(name: str, triples: Tensor, **options: Any) -> Any:
    return negative_sampler_resolver.make(
        name,
        {**SAMPLERS[name], "num_negs_per_pos": 64, **options},
        mapped_triples=triples,
        num_entities=14,
        num_relations=55,
    )


def _keys(triples: Tensor) -> Tensor:
    return (triples[..., 0] * 55 + triples[..., 1]) * 14 + triples[..., 2]


def _model(width: int, loss: HaSaLoss) -> Any:
    """DistMult without what changes vectors after a step."""
    return DistMult(
        triples_factory=Nations().training,
        embedding_dim=width,
        entity_constrainer=None,
        regularizer=None,
        loss=loss,
        random_seed=0,
    )


def _loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    loop = SLCWATrainingLoop(model=model, triples_factory=Nations().training, optimizer="sgd")
    return loop._process_batch(batch, 0, len(batch["positives"]))  # type: ignore[arg-type]


def _batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    triples = Nations().training.mapped_triples[:7]
    negatives = triples.unsqueeze(1).repeat(1, 9, 1)
    negatives[..., 2] = torch.randint(14, (7, 9), generator=generator)
    masks = torch.rand(7, 9, generator=generator) < 0.6
    masks[3] = False
    return {"positives": triples, "negatives": negatives, "masks": masks}


@pytest.mark.spec(2)
def test_t2_masks_through_the_loop_are_those_of_dense_scores() -> None:
    """Spec 2: what PyKEEN hands over sparsely gives the loss of the dense masked scores."""
    loss = HaSaLoss(beta=0.7, tau_plus=0.1, num_structural=3)
    model, batch = _model(8, loss).double(), _batch()
    found = _loss(model, batch)
    assert len(batch["masks"][3].nonzero()) == 0
    rows = []
    for positive, negatives, mask in zip(*batch.values(), strict=True):
        a = model.score_hrt(positive[None])[0, 0]
        scores = model.score_hrt(negatives)[:, 0]
        own, structural = scores[:6][mask[:6]], scores[6:][mask[6:]]
        if len(own) == 0:
            rows.append(torch.zeros(()))
            continue
        mass = ((0.7 * own).softmax(0).detach() * own.exp()).sum()
        if len(structural):
            hidden = ((0.7 * structural).softmax(0).detach() * structural.exp()).sum()
            mass = torch.maximum(mass - 0.1 * hidden, 0.01 * mass) / (1 - 0.1)
        rows.append((1 + len(own) * mass / a.exp()).log())
    torch.testing.assert_close(found, torch.stack(rows).mean().to(found))


@pytest.mark.spec(12)
def test_t12_wider_vectors_of_zeros_leave_the_loss() -> None:
    """Spec 12: the number of negatives in the loss is their count, not the embeddings' width."""
    narrow, wide = (
        _model(width, HaSaLoss(beta=0.5, tau_plus=0.1, num_structural=3)) for width in (8, 16)
    )
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            weight.zero_()
            weight[:, :8] = dict(narrow.named_parameters())[name]
    assert wide.score_hrt(_batch()["positives"]).abs().min() > 0
    torch.testing.assert_close(_loss(wide, _batch()), _loss(narrow, _batch()))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.spec(17)
def test_t17_of_a_hundred_thousand_draws_none_is_known(name: str) -> None:
    """Spec 17: also where the corruption alone would find many known triples."""
    triples = Nations().training.mapped_triples
    negatives, mask = _sampler(name, triples).sample(positive_batch=triples)
    assert negatives.shape[:2].numel() > 100_000
    if mask is not None:
        negatives = negatives[mask]
    assert not torch.isin(_keys(negatives), _keys(triples)).any()
    loose, _ = _sampler(name, triples, filtered=False).sample(positive_batch=triples)
    assert torch.isin(_keys(loose), _keys(triples)).float().mean() > 0.2


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("filterer", "most"), [("python-set", 0.0), ("bloom", 0.002)])
@pytest.mark.spec(17)
def test_t17_filters_of_pykeen_drop_what_they_say(filterer: str, most: float, name: str) -> None:
    """Spec 17: the exact one drops known triples alone, Bloom's few more: twice its error rate."""
    triples = Nations().training.mapped_triples
    sampler = _sampler(name, triples, filtered=False, filterer=filterer)
    negatives, mask = sampler.sample(positive_batch=triples)
    known = torch.isin(_keys(negatives), _keys(triples))
    assert not (mask & known).any()
    assert (~mask & ~known).sum() <= most * (~known).sum()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.spec(18)
def test_t18_the_positive_itself_never_comes_back(name: str) -> None:
    """Spec 18: not even where all that could replace it is known."""
    triples = torch.cartesian_prod(torch.arange(14), torch.arange(1), torch.arange(14))
    for filtered in (True, False):
        sampler = _sampler(name, triples, num_negs_per_pos=8, filtered=filtered)
        negatives = sampler.corrupt_batch(positive_batch=triples)
        assert (negatives != triples.unsqueeze(1)).any(-1).all()
        drawn, mask = sampler.sample(positive_batch=triples)
        assert (drawn != triples.unsqueeze(1)).any(-1).all()
        assert not filtered or not mask.any()


@pytest.mark.spec(23)
def test_t23_a_resumed_run_with_lemon_equals_an_uninterrupted_one(
    tmp_path: Any, epochs_trained: list[int]
) -> None:
    """Spec 23: checkpoints and saved results, as for the other sampler."""

    def run(epochs: int, **options: Any) -> Any:
        return pipeline(
            dataset="nations",
            model="distmult",
            model_kwargs={"embedding_dim": 8},
            negative_sampler="lemon",
            negative_sampler_kwargs={**SAMPLERS["lemon"], "num_negs_per_pos": 4},
            training_kwargs={
                "num_epochs": epochs,
                "batch_size": 512,
                "use_tqdm": False,
                **options,
            },
            evaluation_kwargs={"use_tqdm": False},
            random_seed=3,
            device="cpu",
        )

    straight = run(4)
    checkpoints = {
        "checkpoint_name": "run.pt",
        "checkpoint_directory": tmp_path,
        "checkpoint_frequency": 0,
    }
    run(2, **checkpoints)
    epochs_trained.clear()
    resumed = run(4, **checkpoints)
    assert epochs_trained == [3, 4]
    assert resumed.losses == straight.losses
    for a, b in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(a, b)
    resumed.save_to_directory(tmp_path / "saved", save_metadata=False)
    loaded = torch.load(tmp_path / "saved" / "trained_model.pkl", weights_only=False)
    for a, b in zip(loaded.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.spec(23)
def test_t23_early_stopping(name: str) -> None:
    """Spec 23: a run that gains nothing ends before its last epoch, by the names of PyKEEN."""
    result = pipeline(
        dataset="nations",
        model="distmult",
        model_kwargs={"embedding_dim": 8},
        negative_sampler=name,
        negative_sampler_kwargs={**SAMPLERS[name], "num_negs_per_pos": 4},
        optimizer_kwargs={"lr": 1e-12},
        training_kwargs={"num_epochs": 20, "batch_size": 512, "use_tqdm": False},
        stopper="early",
        stopper_kwargs={"frequency": 1, "patience": 2, "relative_delta": 0.5},
        evaluation_kwargs={"use_tqdm": False},
        random_seed=3,
        device="cpu",
    )
    assert len(result.losses) == 3


def test_texts_may_be_an_array() -> None:
    """As a column of a table gives them."""
    texts = [f"place {number % 3} thing {number}" for number in range(14)]
    triples = Nations().training.mapped_triples
    samplers = [
        negative_sampler_resolver.make(
            "lemon",
            {"texts": given, "n_clusters": 3, "num_negs_per_pos": 4},
            mapped_triples=triples,
            num_entities=14,
            num_relations=55,
        )
        for given in (texts, np.array(texts, dtype=object))
    ]
    assert torch.equal(*(torch.as_tensor(one.clusters.label) for one in samplers))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.spec(21)
def test_t21_sides_are_shared_out_within_each_row_unlike_basic(name: str) -> None:
    """Spec 21: PyKEEN's sampler gives the first half of a batch negatives of one side alone."""
    triples = Nations().training.mapped_triples[:64]
    most = {}
    for kind in (name, "basic"):
        options = SAMPLERS[name] if kind == name else {}
        sampler = negative_sampler_resolver.make(
            kind,
            {**options, "num_negs_per_pos": 8},
            mapped_triples=Nations().training.mapped_triples,
            num_entities=14,
            num_relations=55,
        )
        negatives = sampler.corrupt_batch(positive_batch=triples)
        changed = negatives != triples.unsqueeze(1)
        difference = changed[..., 0].sum(1) - changed[..., 2].sum(1)
        most[kind] = int(difference.abs().max())
    assert most[name] == 0
    assert most["basic"] == 8


@pytest.mark.gpu
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.spec(16)
def test_t16_negatives_are_on_the_device_of_the_positives(name: str) -> None:
    """Spec 16."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    triples = Nations().training.mapped_triples
    negatives, mask = _sampler(name, triples).sample(positive_batch=triples.cuda())
    assert negatives.is_cuda
    assert mask is None or mask.is_cuda


@pytest.mark.parametrize("kind", ["hasa", "lemon", "inbatch"])
def test_trackers_get_losses_and_figures(kind: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"training_loop": "inbatch"}
    if kind != "inbatch":
        options = {"negative_sampler": kind, "negative_sampler_kwargs": SAMPLERS[kind]}
    if kind == "hasa":
        options["loss"] = "hasa"
    path = tmp_path / "tracked.csv"
    result = pipeline(
        dataset="nations",
        model="distmult",
        model_kwargs={"embedding_dim": 8},
        **options,
        evaluator="fusedrankbased",
        training_kwargs={
            "num_epochs": 2,
            "batch_size": 512,
            "use_tqdm": False,
            "callbacks": "bindmodel",
        },
        evaluation_kwargs={"use_tqdm": False},
        result_tracker="csv",
        result_tracker_kwargs={"path": path},
        random_seed=0,
        device="cpu",
    )
    with path.open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["value"]) for row in rows if row["key"] == "loss"]
    assert losses == pytest.approx(result.losses)
    mean_rank = "both.realistic.inverse_harmonic_mean_rank"
    figures = [float(row["value"]) for row in rows if row["key"].endswith(mean_rank)]
    assert figures == pytest.approx([result.get_metric("mrr")])
