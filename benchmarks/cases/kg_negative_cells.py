"""What is read off a finished training: how soon it got far, and how many negatives were true."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from pykeen.sampling import negative_sampler_resolver
from pykeen.training import SLCWATrainingLoop

from graphcl.ranking.known import KnownTriples
from kge.datasets import UnionDataset
from kge.experiment.files import read_csv
from kge.experiment.fitting import load_model, sampler_options
from kge.experiment.run_directory import finished_run, seed_folder
from kge.experiment.running import settings_of_run
from kge.experiment.settings import NEGATIVES
from kge.sampling.hidden_answers import hidden_share

_ROWS = 4096


class FalseNegatives(NamedTuple):
    """Shares of negatives that are true answers of validation or test.

    Attributes:
        share: of what the sampler hands to the loss as negatives, mined by the trained model.
        uniform: the same of uniform negatives outside the training triples.
    """

    share: float
    uniform: float


def false_negative_rate(run: Path, graph: UnionDataset, seed: int) -> FalseNegatives:
    """Draw negatives for some training triples as at the end of a seed's training.

    The held-out triples are looked at for this figure alone; neither sampler nor model knows them.
    """
    folder, config, _ = finished_run(run, seed)
    settings = settings_of_run(config)
    assert graph.validation is not None
    hidden = KnownTriples(
        torch.cat([graph.validation.mapped_triples, graph.testing.mapped_triples]),
        num_entities=graph.num_entities,
        num_relations=graph.training.real_num_relations,
    )
    options = settings.options["negatives"]
    sampler = negative_sampler_resolver.make(
        NEGATIVES[settings.negatives],
        sampler_options(settings.negatives, options, graph),
        mapped_triples=graph.training.mapped_triples,
        num_entities=graph.num_entities,
        num_relations=graph.training.real_num_relations,
    )
    structural = options.get("num_structural") or 0
    model = load_model(seed_folder(folder, seed) / "model.pt", graph, settings)
    loop = SLCWATrainingLoop(model=model, triples_factory=graph.training, optimizer="sgd")
    if hasattr(sampler, "bind"):
        sampler.bind(loop)
    uniform = negative_sampler_resolver.make(
        "hasa",
        {"num_negs_per_pos": 32, "num_structural": 0, "hard_share": 0.0},
        mapped_triples=graph.training.mapped_triples,
        num_entities=graph.num_entities,
        num_relations=graph.training.real_num_relations,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        triples = graph.training.mapped_triples
        rows = triples[torch.randperm(len(triples))[:_ROWS]]
        shares = []
        for one, skip in ((sampler, structural), (uniform, 0)):
            negatives, keep = one.sample(positive_batch=rows)
            if keep is None:
                keep = torch.ones(negatives.shape[:-1], dtype=torch.bool)
            columns = negatives.shape[1] - skip  # the last ones are no negatives
            kept = negatives[:, :columns][keep[:, :columns]]
            shares.append(hidden_share(kept, hidden).overall)
    return FalseNegatives(*shares)


def seconds_to_share(run: Path, seed: int, share: float) -> float | None:
    """Seconds of training until validation first has that share of its best value."""
    rows = read_csv(seed_folder(run, seed) / "curves.csv")
    seen = [float(row["validation"]) for row in rows if row["validation"]]
    spent = 0.0
    for row in rows:
        spent += float(row["seconds"])
        if row["validation"] and float(row["validation"]) >= share * max(seen):
            return spent
    return None
