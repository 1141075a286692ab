"""Gathering and summing, in one process and in two."""

from pathlib import Path
from typing import Any

import pytest
import torch

from graphcl.kernels.processes import (
    from_first_process,
    gather_rows,
    process_count,
    process_index,
    sum_over_processes,
)

SIZES = (3, 5)
SCRIPT = """
import sys
import torch
import torch.distributed as dist
from graphcl.kernels.processes import from_first_process, gather_rows, process_count
from graphcl.kernels.processes import process_index, sum_over_processes
dist.init_process_group("gloo")
rank = process_index()
sizes = (3, 5)
first = sum(sizes[:rank])
rows = torch.arange(8.0).view(8, 1).expand(8, 2)[first:first + sizes[rank]].clone()
rows.requires_grad_()
gathered, own = gather_rows(rows)
# A loss of each process that weighs row j by (rank + 1) * j.
((rank + 1) * torch.arange(8.0)[:, None] * gathered).sum().backward()
ids, _ = gather_rows(torch.arange(sizes[rank]) + 10 * rank)
torch.save({
    "count": process_count(), "gathered": gathered.detach(), "own": rows.detach(),
    "slice": (own.start, own.stop), "grad": rows.grad, "ids": ids,
    "sum": sum_over_processes(torch.tensor([rank + 1, 10])),
    "first": from_first_process({"rank": rank}),
}, f"{sys.argv[1]}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def found(together: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes saw."""
    folder: Path = tmp_path_factory.mktemp("gathered")
    together.run(SCRIPT, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_rows_of_two_processes_are_gathered_in_order(found: list[dict[str, Any]]) -> None:
    for rank, seen in enumerate(found):
        assert seen["count"] == 2
        assert torch.equal(seen["gathered"], torch.arange(8.0).view(8, 1).expand(8, 2))
        start, stop = seen["slice"]
        assert stop - start == SIZES[rank]
        assert torch.equal(seen["gathered"][start:stop], seen["own"])
        assert seen["ids"].tolist() == [0, 1, 2, 10, 11, 12, 13, 14]


def test_gradients_of_all_processes_reach_the_rows(found: list[dict[str, Any]]) -> None:
    wanted = (1 + 2) * torch.arange(8.0)[:, None].expand(8, 2)
    grads = torch.cat([seen["grad"] for seen in found])
    assert torch.equal(grads, wanted)


def test_sums_and_words_of_the_first(found: list[dict[str, Any]]) -> None:
    for seen in found:
        assert seen["sum"].tolist() == [3, 20]
        assert seen["first"] == {"rank": 0}


def test_one_process_is_left_alone() -> None:
    rows = torch.rand(4, 2, requires_grad=True)
    gathered, own = gather_rows(rows)
    assert gathered is rows
    assert own == slice(0, 4)
    assert (process_count(), process_index()) == (1, 0)
    total = sum_over_processes(rows)
    assert torch.equal(total, rows)
    assert not total.requires_grad
    assert from_first_process("x") == "x"
