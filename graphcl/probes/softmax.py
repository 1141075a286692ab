"""A softmax layer trained by Adam, its epoch selected on validation rows."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear


def select_softmax(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    epochs: int = 3000,
    lr: float = 0.01,
    weight_decay: float = 0.0,
    seed: int = 0,
    every: int = 20,
) -> tuple[Callable[..., Tensor], float, int]:
    """Train on all train rows at once, keep the weights that score best on validation rows.

    Validation is scored every ``every`` epochs and after the last; ties go to the earlier epoch.
    The classes are those of the train rows.

    Args:
        train: Rows (N, D) and their classes (N,).
        validation: Rows (M, D) and their classes (M,).
        epochs: Gradient steps.
        lr: Learning rate.
        weight_decay: Weight decay.
        seed: Seed of the initial weights (Xavier uniform, zero bias).
        every: Epochs between validations.

    Returns:
        A function from rows to predicted classes (with ``shares=True`` to the probability of each
        class, ascending), its validation accuracy, its epoch.

    Raises:
        ValueError: If ``epochs`` or ``every`` is below one.
    """
    if epochs < 1 or every < 1:
        raise ValueError(f"epochs and every must be at least 1, got {epochs} and {every}")
    # A probe is often called under no_grad or inference_mode, where nothing could be trained.
    with torch.inference_mode(False), torch.enable_grad():
        rows = train[0].clone()
        classes, target = torch.unique(train[1], return_inverse=True)
        limit = (6.0 / (rows.size(1) + len(classes))) ** 0.5
        generator = torch.Generator().manual_seed(seed)
        weight = torch.rand(len(classes), rows.size(1), generator=generator) * 2 * limit - limit
        weight = weight.to(rows).requires_grad_()
        bias = rows.new_zeros(len(classes)).requires_grad_()
        optimizer = torch.optim.Adam([weight, bias], lr=lr, weight_decay=weight_decay)
        kept, best_accuracy, best_epoch = (weight, bias), -1.0, 0
        for epoch in range(1, epochs + 1):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(linear(rows, weight, bias), target))
            optimizer.step()
            if epoch % every and epoch != epochs:
                continue
            guess = classes[linear(validation[0], weight.detach(), bias.detach()).argmax(dim=1)]
            accuracy = float((guess == validation[1]).double().mean())
            if accuracy > best_accuracy:
                best_accuracy, best_epoch = accuracy, epoch
                kept = (weight.detach().clone(), bias.detach().clone())

    def predict(unseen: Tensor, *, shares: bool = False) -> Tensor:
        logits: Tensor = linear(unseen, *kept)
        if shares:
            return logits.softmax(dim=1)
        indices = logits.argmax(dim=1)
        return torch.index_select(classes, 0, indices)

    return predict, best_accuracy, best_epoch
