"""Lazy Adam against PyTorch's Adam and SparseAdam."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kge.training.lazy_adam import LazyAdam

pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


def after_steps(
    optimizer: type[torch.optim.Optimizer],
    looked_up: list[Tensor],
    *,
    sparse: bool,
    shape: tuple[int, int] = (7, 3),
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Tensor:
    """An embedding after a step for each look-up."""
    torch.manual_seed(0)
    table = nn.Embedding(*shape, sparse=sparse, dtype=dtype)
    steps = optimizer(table.parameters(), **options)
    for ids in looked_up:
        steps.zero_grad()
        (table(ids) * torch.linspace(1, 2, shape[1], dtype=dtype)).square().sum().backward()
        steps.step()
    return table.weight.detach()


def rows(*ids: int) -> Tensor:
    return torch.tensor(ids, dtype=torch.int64)


def test_all_rows_make_adams_step() -> None:
    every = [torch.arange(7), torch.arange(7).flip(0), torch.arange(7)]
    for sparse in (True, False):
        got = after_steps(LazyAdam, every, sparse=sparse, lr=0.1, betas=(0.7, 0.9), eps=0.01)
        want = after_steps(
            torch.optim.Adam, every, sparse=False, lr=0.1, betas=(0.7, 0.9), eps=0.01
        )
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("width", [3, 400, 2**17 + 1])
def test_some_rows_make_sparse_adams_step(width: int) -> None:
    # Rows twice in a look-up, out of order, none at all, and seen again after a rest.
    looked_up = [rows(5, 1, 5), rows(), rows(2), rows(1, 3, 4), rows(5)]
    options: dict[str, Any] = {"sparse": True, "shape": (7, width), "lr": 0.1, "eps": 1e-30}
    got = after_steps(LazyAdam, looked_up, **options)
    want = after_steps(torch.optim.SparseAdam, looked_up, **options)
    torch.testing.assert_close(got, want)


def test_blocks_are_one_step() -> None:
    ids = torch.randperm(2000)[:1500]
    options: dict[str, Any] = {"sparse": True, "shape": (2000, 200), "eps": 1e-30}
    got = after_steps(LazyAdam, [ids, ids[:700]], **options)
    want = after_steps(torch.optim.SparseAdam, [ids, ids[:700]], **options)
    torch.testing.assert_close(got, want)


def test_other_rows_and_their_moments_rest() -> None:
    table = nn.Embedding(6, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = LazyAdam(table.parameters())
    table(rows(4, 0)).sum().backward()
    optimizer.step()
    assert (table.weight != before).any(1).tolist() == [True, False, False, False, True, False]
    moment = optimizer.state[table.weight]["exp_avg"]
    assert (moment != 0).any(1).tolist() == [True, False, False, False, True, False]


def test_rows_and_dense_gradients_may_follow_each_other() -> None:
    torch.manual_seed(0)
    one, other = nn.Embedding(5, 2, sparse=True), nn.Embedding(5, 2)
    other.load_state_dict(one.state_dict())
    steps, want = LazyAdam(one.parameters(), lr=0.1), torch.optim.Adam(other.parameters(), lr=0.1)
    for sparse in (True, False, True):
        one.sparse = sparse
        for table, optimizer in ((one, steps), (other, want)):
            optimizer.zero_grad()
            table(torch.arange(5)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(one.weight, other.weight)


def test_state_goes_on_after_saving(tmp_path: Path) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(5, 2, sparse=True)
    again = copy.deepcopy(table)

    def step(table: nn.Embedding, optimizer: LazyAdam) -> None:
        optimizer.zero_grad()
        table(rows(0, 3)).square().sum().backward()
        optimizer.step()

    first = LazyAdam(table.parameters(), lr=0.1)
    step(table, first)
    torch.save([table.state_dict(), first.state_dict()], tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt")
    again.load_state_dict(weights)
    second = LazyAdam(again.parameters())
    second.load_state_dict(state)
    step(table, first)
    step(again, second)
    assert torch.equal(table.weight, again.weight)


def test_closure_is_evaluated_with_gradients() -> None:
    value = nn.Parameter(torch.ones(2))
    optimizer = LazyAdam([value], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = value.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 2
    assert value.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "lr must be finite and not negative, got -0.1"),
        ({"lr": float("nan")}, "lr must be finite and not negative, got nan"),
        ({"betas": (0.9, 1.0)}, r"betas must be from 0 and below 1, got \(0.9, 1.0\)"),
        ({"eps": -1.0}, "eps must not be negative, got -1.0"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LazyAdam([nn.Parameter(torch.ones(1))], **options)


def test_gradients_of_single_numbers_are_refused() -> None:
    value = nn.Parameter(torch.ones(2, 2))
    value.grad = torch.eye(2).to_sparse()
    with pytest.raises(NotImplementedError, match=r"2 sparse dimensions and shape \(2, 2\)"):
        LazyAdam([value]).step()


@pytest.mark.filterwarnings("ignore")
def test_pykeen_searches_its_step_size_by_name() -> None:
    import kge

    kge.register()
    from pykeen.hpo import hpo_pipeline

    result = hpo_pipeline(
        dataset="nations",
        model="distmult",
        model_kwargs={"embedding_dim": 4},
        training_loop="inbatch",
        training_loop_kwargs={"row_gradients": True, "pool": 4},
        optimizer="lazyadam",
        training_kwargs={"num_epochs": 1, "batch_size": 512, "use_tqdm": False},
        n_trials=1,
    )
    assert 1e-3 <= result.study.best_trial.params["optimizer.lr"] <= 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_other_types_of_numbers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    start = torch.randn(4, 2, dtype=dtype)
    dense = torch.randn(4, 2, dtype=dtype)
    one, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    for parameter, optimizer, gradient in (
        (one, LazyAdam([one], lr=0.1), dense.to_sparse(1)),
        (other, torch.optim.Adam([other], lr=0.1), dense),
    ):
        for _ in range(2):
            parameter.grad = gradient
            optimizer.step()
    torch.testing.assert_close(one, other)
