"""Pre-training of an autoencoder on node features, resumable after every epoch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.encoders.autoencoder import Autoencoder
from graphcl.methods.finite import check_finite
from graphcl.methods.preparation import Preparation


def pretrain(
    autoencoder: Autoencoder,
    x: Tensor,
    *,
    epochs: int,
    batch: int = 256,
    lr: float = 1e-3,
    preparation: Preparation,
) -> list[float]:
    """Minimise the mean squared error of reconstruction with Adam, in place.

    Every epoch draws its order of nodes from its own stream: continued from any state, it ends with
    the weights of an uninterrupted one.

    Args:
        autoencoder: trained in place.
        x: (N, F) features, dense or in CSR layout (which is made dense).
        epochs: passes over all nodes; 0 leaves the weights alone.
        batch: nodes in a step.
        lr: learning rate.
        preparation: where states are kept, and the seed.

    Returns:
        Mean error of every epoch.

    Raises:
        ValueError: features that are not finite, or settings out of range.
        FloatingPointError: the error is not finite.
    """
    if epochs < 0 or batch < 1 or not (lr > 0 and math.isfinite(lr)):
        raise ValueError(
            "pre-training needs epochs >= 0, batch >= 1 and a positive lr, got "
            f"{epochs}, {batch} and {lr}"
        )
    rows = x if x.layout == torch.strided else x.to_dense()
    rows = rows.to(next(autoencoder.parameters()).dtype)
    check_finite(rows)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=lr)
    losses: list[float] = []
    state = preparation.load()
    if state is not None:
        autoencoder.load_state_dict(state["autoencoder"])
        optimizer.load_state_dict(state["optimizer"])
        losses = list(state["losses"])
    training = autoencoder.training
    autoencoder.train()
    for epoch in range(len(losses), epochs):
        stream = torch.Generator().manual_seed((preparation.seed << 20) + epoch)
        total = torch.zeros((), device=rows.device)
        for chosen in torch.randperm(len(rows), generator=stream).split(batch):
            part = rows[chosen.to(rows.device)]
            optimizer.zero_grad()
            error = F.mse_loss(autoencoder(part), part)
            error.backward()
            optimizer.step()
            total += error.detach() * len(part)
        losses.append(float(total) / len(rows))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the reconstruction error is {losses[-1]} at pre-training epoch {epoch}; lower "
                f"pretrain_lr ({lr})"
            )
        preparation.show(epoch + 1, epochs, losses[-1])
        preparation.save(
            {
                "autoencoder": autoencoder.state_dict(),
                "optimizer": optimizer.state_dict(),
                "losses": losses,
            },
            last=epoch == epochs - 1,
        )
    autoencoder.train(training)
    return losses
