"""Train an encoder and a link predictor; choose the epoch on validation pairs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from graphcl.links.ncn import GAE
from graphcl.links.neighbourhoods import Neighbourhoods
from graphcl.probes.links import LinkSplit
from graphcl.probes.pairs import sample_non_edges
from graphcl.ranking.ogb import ogb_hits_at_k


@dataclass(frozen=True)
class LinkFit:
    """What came of a training run.

    Attributes:
        test: Hits@K on the test pairs with the weights that were best on validation.
        validation: likewise on the validation pairs.
        best_epoch: from 1.
        losses: mean loss by epoch.
        curve: validation Hits@K by epoch.
        k: K.
    """

    test: float
    validation: float
    best_epoch: int
    losses: Sequence[float]
    curve: Sequence[float]
    k: int


def fit_links(
    encoder: nn.Module,
    predictor: GAE,
    x: Tensor,
    split: LinkSplit,
    *,
    epochs: int = 100,
    batch_size: int = 1152,
    lr_encoder: float = 4e-3,
    lr_predictor: float = 2e-3,
    k: int = 100,
    patience: int = 0,
    progress: bool = True,
) -> LinkFit:
    """Binary cross-entropy of training edges against as many non-edges, as NCN trains.

    The edges of a batch are taken out of the graph, in both directions, before the encoder and the
    predictor see it (target removal). Test pairs are scored once, at the end, with the weights of
    the epoch that was best on validation; the first of equals. Draws come from torch's global
    generator. Encoder and predictor hold those weights afterwards.

    Args:
        encoder: maps (x, edge_index) to (N, D).
        predictor: GAE, NCN or NCNC of width D.
        x: (N, F) features.
        split: see :func:`graphcl.probes.links.hold_out_links`.
        epochs: at most.
        batch_size: training edges per step.
        lr_encoder: Adam's rate for the encoder.
        lr_predictor: Adam's rate for the predictor.
        k: K of Hits@K, on which the epoch is chosen.
        patience: stop after so many epochs without a better one; 0 for never.
        progress: show a progress bar.

    Raises:
        ValueError: epochs or batch_size below 1, or features that do not fit the split.
        FloatingPointError: the loss is not finite.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: give positive numbers")
    if x.shape[0] != split.num_nodes:
        raise ValueError(f"x has {x.shape[0]} rows, the split {split.num_nodes} nodes")
    graph = Neighbourhoods(split.train_edge_index, split.num_nodes)
    models = nn.ModuleList([encoder, predictor])
    optimizer = torch.optim.Adam(
        [
            {"params": list(encoder.parameters()), "lr": lr_encoder},
            {"params": list(predictor.parameters()), "lr": lr_predictor},
        ]
    )
    losses: list[float] = []
    curve: list[float] = []
    best, kept = -1, copy.deepcopy(models.state_dict())
    bar = tqdm(range(epochs), desc=type(predictor).__name__, disable=not progress)
    for epoch in bar:
        models.train()
        losses.append(_epoch(encoder, predictor, optimizer, x, graph, split, batch_size))
        curve.append(
            hits(encoder, predictor, x, graph, split.validation, split.validation_negatives, k)
        )
        bar.set_postfix(loss=losses[-1], validation=curve[-1])
        if best < 0 or curve[-1] > curve[best]:
            best, kept = epoch, copy.deepcopy(models.state_dict())
        elif patience and epoch - best >= patience:
            break
    models.load_state_dict(kept)
    return LinkFit(
        test=hits(encoder, predictor, x, graph, split.test, split.test_negatives, k),
        validation=curve[best],
        best_epoch=best + 1,
        losses=losses,
        curve=curve,
        k=k,
    )


def _epoch(
    encoder: nn.Module,
    predictor: GAE,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    graph: Neighbourhoods,
    split: LinkSplit,
    batch_size: int,
) -> float:
    edges, count = split.train, split.train.shape[1]
    seed = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    negatives = sample_non_edges(graph.edge_index, split.num_nodes, count, generator=seed)
    total = 0.0
    for rows in torch.randperm(count).split(batch_size):
        targets, others = edges[:, rows], negatives[:, rows]
        rest = graph.without(targets)
        h = encoder(x, rest.edge_index)
        logits = predictor(h, rest, torch.cat([targets, others], dim=1))
        good, bad = logits.split(len(rows))
        loss = F.softplus(-good).mean() + F.softplus(bad).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}; try lower learning rates")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / count


@torch.no_grad()
def hits(
    encoder: nn.Module,
    predictor: GAE,
    x: Tensor,
    graph: Neighbourhoods,
    positives: Tensor,
    negatives: Tensor,
    k: int,
    *,
    batch_size: int = 8192,
) -> float:
    """Hits@K of pairs (2, P) against all negatives (2, M), in evaluation mode."""
    encoder.eval()
    predictor.eval()
    h = encoder(x, graph.edge_index)
    scores = [
        torch.cat([predictor(h, graph, part) for part in pairs.split(batch_size, dim=1)])
        for pairs in (positives, negatives)
    ]
    return float(ogb_hits_at_k(scores[0], scores[1], k))
