"""What fails in PyKEEN's training with today's torch and works here: AdamW, clipped gradients."""

from typing import Any

import pytest
import torch
from pykeen.datasets import Nations
from pykeen.models import DistMult
from pykeen.pipeline import pipeline
from pykeen.training import SLCWATrainingLoop

from kge.registration import register
from kge.training.adamw import AdamW
from kge.training.gradient_clipping import ClipGradients


@pytest.mark.parametrize("loop", ["slcwa", "inbatch"])
def test_adamw_trains_in_a_pipeline_with_its_settings(loop: str) -> None:
    register()
    result = pipeline(
        dataset="nations",
        model="distmult",
        model_kwargs={"embedding_dim": 4},
        training_loop=loop,
        optimizer=AdamW,
        clear_optimizer=False,
        optimizer_kwargs={"lr": 0.02, "weight_decay": 0.3, "betas": (0.8, 0.9)},
        training_kwargs={"num_epochs": 2, "batch_size": 512, "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
        device="cpu",
        random_seed=0,
    )
    group = result.training_loop.optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], tuple(group["betas"])) == (0.02, 0.3, (0.8, 0.9))
    assert group["decoupled_weight_decay"]


def test_adamw_steps_as_torch_does() -> None:
    ours, theirs = (torch.nn.Parameter(torch.arange(3.0)) for _ in range(2))
    for kind, parameter in ((AdamW, ours), (torch.optim.AdamW, theirs)):
        optimizer = kind([parameter], lr=0.1, weight_decay=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            parameter.square().sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="is Adam"):
        AdamW([ours], decoupled_weight_decay=False)


def steps(clip: ClipGradients | None, sub_batch_size: int | None = None) -> list[Any]:
    """Gradients that the optimizer saw in two epochs of one batch each, by name."""
    graph = Nations()
    model = DistMult(triples_factory=graph.training, embedding_dim=4, random_seed=0)
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=graph.training,
        optimizer="sgd",
        automatic_memory_optimization=False,
    )
    seen: list[Any] = []

    class Spy(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            seen.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
            super().step(closure)

    loop.optimizer = Spy(model.parameters(), lr=0.1)
    torch.manual_seed(0)
    loop.train(
        graph.training,
        num_epochs=2,
        batch_size=2000,
        sub_batch_size=sub_batch_size,
        callbacks=None if clip is None else clip,
        use_tqdm=False,
    )
    return seen


def norm(gradients: list[torch.Tensor]) -> float:
    return float(torch.cat([one.flatten() for one in gradients]).norm())


@pytest.mark.parametrize("sub_batch_size", [None, 700])
def test_the_norm_of_all_gradients_together_is_clipped(sub_batch_size: int | None) -> None:
    free = steps(None, sub_batch_size)
    limit = norm(free[0]) / 10
    clipped = steps(ClipGradients(max_norm=limit), sub_batch_size)
    assert len(clipped) == len(free) == 2
    assert norm(clipped[0]) == pytest.approx(limit, rel=1e-4)
    for ours, theirs in zip(clipped[0], free[0], strict=True):
        torch.testing.assert_close(ours, theirs / 10, rtol=1e-3, atol=1e-9)


def test_each_entry_is_clipped() -> None:
    free = steps(None)
    limit = float(torch.cat([one.flatten() for one in free[0]]).abs().quantile(0.9))
    for ours, theirs in zip(steps(ClipGradients(max_abs_value=limit))[0], free[0], strict=True):
        assert torch.equal(ours, theirs.clamp(-limit, limit))


def test_what_cannot_be_clipped_is_refused() -> None:
    with pytest.raises(ValueError, match="max_norm must be positive, got 0"):
        ClipGradients(max_norm=0)
    register()
    with pytest.raises(ValueError, match="leave out row_gradients"):
        pipeline(
            dataset="nations",
            model="distmult",
            model_kwargs={"embedding_dim": 4, "regularizer": None},
            training_loop="inbatch",
            training_loop_kwargs={"row_gradients": True, "pool": 4},
            optimizer="adagrad",
            training_kwargs={
                "num_epochs": 1,
                "use_tqdm": False,
                "callbacks": ClipGradients(max_norm=1),
            },
            device="cpu",
        )
