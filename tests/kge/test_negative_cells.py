"""What the benchmark of negatives reads off a run: false negatives, and time until a share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.cases.kg_negative_cells import false_negative_rate, seconds_to_share
from graphcl.ranking.known import KnownTriples
from kge.datasets import load_dataset
from kge.experiment.files import write_csv
from kge.experiment.run_directory import CURVES, seed_folder
from kge.experiment.running import run_experiment
from kge.sides import COLUMN


def test_seconds_run_until_validation_first_has_the_share(tmp_path: Path) -> None:
    rows = [[1, 9.0, "", 2.0], [2, 8.0, 0.3, 3.0], [3, 7.0, 0.48, 4.0], [4, 6.0, 0.5, 5.0]]
    seed_folder(tmp_path, 1).mkdir()
    write_csv(seed_folder(tmp_path, 1) / "curves.csv", CURVES, rows)
    assert seconds_to_share(tmp_path, 1, 0.95) == 9.0
    assert seconds_to_share(tmp_path, 1, 0.5) == 5.0
    assert seconds_to_share(tmp_path, 1, 1.0) == 14.0


@pytest.mark.parametrize("structural", [0, 8])
def test_false_negatives_of_uniform_draws_are_as_many_as_there_must_be(
    tmp_path: Path, structural: int
) -> None:
    graph = load_dataset("nations")
    run_experiment(
        "nations",
        "distmult",
        "hasa",
        tmp_path / "run",
        epochs=1,
        overrides={
            "embedding_dim": 4,
            "hard_share": 0.0,
            "negatives.num_structural": structural,
            "num_negs_per_pos": 16 + structural,
        },
        progress=False,
    )
    found = false_negative_rate(tmp_path / "run", graph, 0)
    train = graph.training.mapped_triples
    assert graph.validation is not None
    held_out = KnownTriples(
        torch.cat([graph.validation.mapped_triples, graph.testing.mapped_triples]),
        num_entities=14,
        num_relations=55,
    )
    known = KnownTriples(train, num_entities=14, num_relations=55)
    expected, weight = 0.0, 0.0
    for column in COLUMN.values():
        corrupted = train[:, None].repeat(1, 14, 1)
        corrupted[..., column] = torch.arange(14)
        false = ~known.contains(corrupted)
        hidden = (held_out.contains(corrupted) & false).sum(1) / false.sum(1)
        open_rows = false.any(1)  # a query that every entity answers has no negatives
        expected, weight = (
            expected + float(hidden[open_rows].sum()),
            weight + open_rows.sum().item(),
        )
    # 25 000 draws that are not independent: the standard error is below 0.004.
    assert found.share == pytest.approx(expected / weight, abs=0.012)
    assert found.uniform == pytest.approx(expected / weight, abs=0.012)
