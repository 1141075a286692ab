import itertools

import pytest
import torch

from graphcl.methods import GRACE
from graphcl.train.module import ContrastiveModule, step_seed
from graphcl.train.recipes import TrainingOptions


def test_every_step_of_every_seed_has_a_seed_of_its_own() -> None:
    found = {step_seed(s, t) for s, t in itertools.product((*range(5), -1, 10**9), range(500))}
    assert len(found) == 7 * 500
    assert all(0 <= seed < 2**63 for seed in found)
    assert step_seed(1, 23) != step_seed(12, 3)
    for seed in itertools.islice(found, 20):
        torch.manual_seed(seed)  # torch takes it


def test_seeds_are_the_same_in_every_process() -> None:
    assert step_seed(3, 4) == 60470181559325109


@pytest.mark.parametrize(("name", "cls"), [("adam", "Adam"), ("adamw", "AdamW")])
def test_optimiser_of_the_options(name: str, cls: str) -> None:
    options = TrainingOptions(optimizer=name, lr=0.25, weight_decay=0.5)
    optimizer = ContrastiveModule(GRACE(4, 2), options, 0).configure_optimizers()
    assert type(optimizer).__name__ == cls
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


def test_frozen_parameters_are_left_to_the_method() -> None:
    method = GRACE(4, 2)
    frozen = next(method.encoder.parameters()).requires_grad_(False)
    optimizer = ContrastiveModule(method, TrainingOptions(), 0).configure_optimizers()
    trained = optimizer.param_groups[0]["params"]
    assert len(trained) == len(list(method.parameters())) - 1
    assert all(p is not frozen for p in trained)
