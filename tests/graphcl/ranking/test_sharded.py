"""Ranking shared by two processes: the metrics of one, and no triple twice."""

from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from graphcl.ranking import KnownTriples, LinkPredictionEvaluator

generator = torch.Generator().manual_seed(0)
triples = torch.randint(0, 30, (101, 3), generator=generator)
triples[:, 1] %= 4
known = KnownTriples(torch.cat([triples, triples.flip(0).roll(1, 0)]))
table = torch.randint(0, 5, (30, 4, 30), generator=generator).float()  # many ties
vectors = torch.randn(30, 6, generator=generator)
calls = []

def score(batch, side, candidates):
    calls.append(len(batch))
    h, r, t = batch.unbind(1)
    if side == "tail":
        return table[h[:, None], r[:, None], candidates[None]]
    return table[candidates[None], r[:, None], t[:, None]]

class Vectors:
    def queries(self, batch, side):
        calls.append(len(batch))
        return vectors[batch[:, 0 if side == "tail" else 2]]
    def keys(self, side):
        return vectors

processes = int(sys.argv[2])
if processes > 1:
    dist.init_process_group("gloo")
found = {}
for name, scorer in (("function", score), ("kernel", Vectors())):
    for given in (None, torch.arange(30).flip(0)):
        calls.clear()
        ranking = LinkPredictionEvaluator(
            scorer, num_entities=30, known=known, batch_size=10, candidates=given, sharded=True
        )
        report = ranking.evaluate(triples)
        columns = [getattr(report.ranks, c) for c in ("greater", "equal", "candidates", "side")]
        found[name, given is None] = (report.to_dict(), columns, sum(calls))
one = LinkPredictionEvaluator(score, num_entities=30, sharded=True).evaluate(triples[:1])
found["one"] = (one.to_dict(), [], 0)
rank = dist.get_rank() if processes > 1 else 0
torch.save(found, f"{sys.argv[1]}/{processes}-{rank}.pt")
if processes > 1:
    dist.destroy_process_group()
"""


def test_two_processes_give_the_metrics_of_one(
    together: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together.run(SCRIPT, tmp_path, 2)
    monkeypatch.setattr("sys.argv", ["", str(tmp_path), "1"])
    exec(compile(SCRIPT, "one process", "exec"), {})
    wanted = torch.load(tmp_path / "1-0.pt")
    parts = [torch.load(tmp_path / f"2-{rank}.pt") for rank in (0, 1)]
    for name, (metrics, columns, calls) in wanted.items():
        for part in parts:
            assert part[name][0] == metrics
            for own, other in zip(part[name][1], columns, strict=True):
                assert torch.equal(own, other)
        shares = [part[name][2] for part in parts]
        if calls:
            assert metrics["both.realistic.count"] == 2 * 101
            assert max(shares) < 0.7 * calls  # the work is shared
