"""Train an encoder and a link predictor; choose the epoch on validation pairs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from graphcl.links.ncn import GAE
from graphcl.links.neighbourhoods import Neighbourhoods
from graphcl.probes.links import LinkSplit
from graphcl.probes.pairs import sample_non_edges
from graphcl.ranking.ogb import ogb_hits_at_k, ogb_mean_mrr


@dataclass(frozen=True)
class LinkFit:
    """What came of a training run.

    Attributes:
        test: the metric on the test pairs with the weights that were best on validation.
        validation: likewise on the validation pairs.
        best_epoch: from 1.
        losses: mean loss by epoch.
        curve: the metric on validation by epoch.
        metric: ``mrr``, or Hits@K such as ``hits@100``.
    """

    test: float
    validation: float
    best_epoch: int
    losses: Sequence[float]
    curve: Sequence[float]
    metric: str


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
    edges_per_epoch: int = 0,
    hide_targets: bool = True,
    validation_edges_at_test: bool = False,
    report: Callable[[int, float, float], None] | None = None,
    progress: bool = True,
) -> LinkFit:
    """Binary cross-entropy of training edges against as many non-edges, as NCN trains.

    The edges of a batch are taken out of the graph, in both directions, before the encoder and the
    predictor see it (target removal). Test pairs are scored once, at the end, with the weights of
    the epoch that was best on validation; the first of equals. Draws come from torch's global
    generator. Encoder and predictor hold those weights afterwards.

    An official split is judged by its own metric. Where that is ``mrr``, negatives in training keep
    the source of a positive and draw its target, as the split's own negatives do, and gradients are
    clipped to a norm of one, as NCN does for ogbl-citation2.

    Args:
        encoder: maps (x, edge_index) to (N, D).
        predictor: GAE, NCN or NCNC of width D.
        x: (N, F) features, or what else the encoder takes for N nodes.
        split: see :func:`graphcl.probes.links.hold_out_links` and
            :func:`graphcl.probes.links.official_links`.
        epochs: at most.
        batch_size: training edges per step.
        lr_encoder: Adam's rate for the encoder.
        lr_predictor: Adam's rate for the predictor.
        k: K of Hits@K, on which the epoch is chosen, of a split without a metric of its own.
        patience: stop after so many epochs without a better one; 0 for never.
        edges_per_epoch: train on so many edges, drawn anew for each epoch; 0 for all of them.
        hide_targets: take the edges of a batch out of the graph.
        validation_edges_at_test: add the validation edges to the graph for the test, as OGB allows
            for ogbl-collab.
        report: called with the epoch, its loss and the metric on validation.
        progress: show a progress bar.

    Raises:
        ValueError: epochs or batch_size below 1, features that do not fit the split, a part
            without edges, or a K above the number of negatives, of which every positive would be a
            hit.
        FloatingPointError: the loss is not finite.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: give positive numbers")
    metric = split.metric or f"hits@{k}"
    if x.shape[0] != split.num_nodes:
        raise ValueError(f"x has {x.shape[0]} rows, the split {split.num_nodes} nodes")
    for part in ("train", "validation", "test"):
        if not getattr(split, part).shape[1]:
            raise ValueError(f"the split has no {part} edges; hold out more")
    fewest = min(split.validation_negatives.shape[1], split.test_negatives.shape[1])
    if not split.metric and k > fewest:
        raise ValueError(f"hits@{k} needs {k} negatives, the split has {fewest}: choose a lower k")
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
        losses.append(
            _epoch(
                encoder,
                predictor,
                optimizer,
                x,
                graph,
                split,
                batch_size,
                edges_per_epoch,
                hide_targets,
            )
        )
        held = split.validation, split.validation_negatives
        curve.append(judge(encoder, predictor, x, graph, *held, metric))
        if report is not None:
            report(epoch + 1, losses[-1], curve[-1])
        bar.set_postfix(loss=losses[-1], validation=curve[-1])
        if best < 0 or curve[-1] > curve[best]:
            best, kept = epoch, copy.deepcopy(models.state_dict())
        elif patience and epoch - best >= patience:
            break
    models.load_state_dict(kept)
    if validation_edges_at_test:
        known = torch.cat([split.train_edge_index, split.validation], dim=1)
        graph = Neighbourhoods(known, split.num_nodes)
    return LinkFit(
        test=judge(encoder, predictor, x, graph, split.test, split.test_negatives, metric),
        validation=curve[best],
        best_epoch=best + 1,
        losses=losses,
        curve=curve,
        metric=metric,
    )


def _epoch(
    encoder: nn.Module,
    predictor: GAE,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    graph: Neighbourhoods,
    split: LinkSplit,
    batch_size: int,
    limit: int = 0,
    hide_targets: bool = True,
) -> float:
    order = torch.randperm(split.train.shape[1])
    order = order[:limit] if limit else order
    edges, count = split.train[:, order], len(order)
    negatives = _negatives(graph, edges, split.metric)
    total = 0.0
    for rows in torch.arange(count).split(batch_size):
        targets, others = edges[:, rows], negatives[:, rows]
        rest = graph.without(targets) if hide_targets else graph
        h = encoder(x, rest.edge_index)
        logits = predictor(h, rest, torch.cat([targets, others], dim=1))
        good, bad = logits.split(len(rows))
        loss = F.softplus(-good).mean() + F.softplus(bad).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}; try lower learning rates")
        optimizer.zero_grad()
        loss.backward()
        if split.metric == "mrr":
            nn.utils.clip_grad_norm_([*encoder.parameters(), *predictor.parameters()], 1.0)
        optimizer.step()
        total += loss.item() * len(rows)
    return total / count


def _negatives(graph: Neighbourhoods, edges: Tensor, metric: str) -> Tensor:
    """As many negatives as edges (2, B)."""
    if metric == "mrr":
        targets = torch.randint(graph.num_nodes, (edges.shape[1],)).to(edges.device)
        return torch.stack([edges[0], targets])
    seed = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    count = edges.shape[1]
    drawn = sample_non_edges(graph.edge_index, graph.num_nodes, count, generator=seed)
    return drawn.to(edges.device)


@torch.no_grad()
def judge(
    encoder: nn.Module,
    predictor: GAE,
    x: Tensor,
    graph: Neighbourhoods,
    positives: Tensor,
    negatives: Tensor,
    metric: str,
    *,
    batch_size: int = 8192,
) -> float:
    """OGB's metric of pairs (2, P), in evaluation mode.

    Args:
        encoder: as for :func:`fit_links`.
        predictor: likewise.
        x: likewise.
        graph: edges that are known.
        positives: (2, P).
        negatives: pairs (2, M) for all positives, or with ``mrr`` targets (P, M) for each.
        metric: ``hits@K`` or ``mrr``.
        batch_size: pairs at a time.
    """
    encoder.eval()
    predictor.eval()
    h = encoder(x, graph.edge_index)
    good = score_pairs(lambda part: predictor(h, graph, part), positives, batch_size)
    return judged(good, lambda part: predictor(h, graph, part), positives, negatives, metric)


def judged(
    good: Tensor,
    score: Callable[[Tensor], Tensor],
    positives: Tensor,
    negatives: Tensor,
    metric: str,
    batch_size: int = 8192,
) -> float:
    """OGB's metric from the scores of the positives and a function that scores pairs (2, B)."""
    if metric != "mrr":
        bad = score_pairs(score, negatives, batch_size)
        return float(ogb_hits_at_k(good, bad, int(metric.removeprefix("hits@"))))
    return ogb_mean_mrr(score, good, positives[0], negatives, batch_size=batch_size)


def score_pairs(score: Callable[[Tensor], Tensor], pairs: Tensor, batch_size: int = 8192) -> Tensor:
    """Scores (B,) of pairs (2, B), some at a time."""
    return torch.cat([score(part) for part in pairs.split(batch_size, dim=1)])
