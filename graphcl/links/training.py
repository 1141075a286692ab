"""Train an encoder and a link predictor; choose the epoch on validation pairs."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from graphcl.links.checkpoint import LinkCheckpoint, checksum, draw_states, set_draw_states
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
        validation: likewise on the validation pairs, or on those that were looked at.
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
    validation_pairs: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
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

    With ``checkpoint`` a run that was interrupted goes on after its last whole epoch and comes to
    the same end as one that was not; more epochs may be asked for then. Build the models with the
    same seed before: their settings and first weights tell which run it is.

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
        validation_pairs: choose the epoch on so many validation pairs, drawn once, the same for
            all runs; 0 for all of them. ogbl-citation2 has 86,596, with 1000 negatives each.
        checkpoint: a file that is kept up to date after every epoch, and read at the start.
        report: called with the epoch, its loss and the metric on validation.
        progress: show a progress bar.

    Raises:
        ValueError: epochs or batch_size below 1, a negative number of pairs, features that do not
            fit the split, a part without edges, a K above the number of negatives, of which every
            positive would be a hit, or a checkpoint of another run or of more epochs.
        FloatingPointError: the loss is not finite.
    """
    metric = split.metric or f"hits@{k}"
    _check_counts(epochs, batch_size, edges_per_epoch, validation_pairs)
    _check_split(split, x, 0 if split.metric else k)
    run = _Run(
        encoder,
        predictor,
        x,
        split,
        metric=metric,
        batch_size=batch_size,
        edges_per_epoch=edges_per_epoch,
        hide_targets=hide_targets,
        rates=(float(lr_encoder), float(lr_predictor)),
    )
    keeper = None
    if checkpoint is not None:
        settings = {
            "patience": patience,
            "validation_edges_at_test": validation_edges_at_test,
            "validation_pairs": validation_pairs,
        }
        keeper = LinkCheckpoint(checkpoint, {**run.identity(), **settings})
        run.load(keeper.read())
        if run.epochs > epochs:
            raise ValueError(
                f"{checkpoint} has {run.epochs} epochs already, epochs={epochs} is less"
            )
    looked_at = _some_validation(split, validation_pairs)
    name, steps = type(predictor).__name__, run.steps
    with tqdm(
        total=epochs * steps, initial=run.epochs * steps, desc=name, disable=not progress
    ) as bar:
        while run.epochs < epochs and not run.waited(patience):
            bar.set_description(f"{name}, epoch {run.epochs + 1}")
            loss = run.train(bar)
            value = judge(encoder, predictor, x, run.graph, *looked_at, metric, progress=progress)
            run.note(loss, value)
            if keeper is not None:
                keeper.write(run.state())
            if report is not None:
                report(run.epochs, loss, value)
            bar.set_postfix(loss=loss, validation=value)
    run.models.load_state_dict(run.kept)
    graph = run.graph
    if validation_edges_at_test:
        known = torch.cat([split.train_edge_index, split.validation], dim=1)
        graph = Neighbourhoods(known, split.num_nodes)
    held = split.test, split.test_negatives
    return LinkFit(
        test=judge(encoder, predictor, x, graph, *held, metric, progress=progress),
        validation=run.curve[run.best],
        best_epoch=run.best + 1,
        losses=run.losses,
        curve=run.curve,
        metric=metric,
    )


def _check_counts(
    epochs: int, batch_size: int, edges_per_epoch: int, validation_pairs: int
) -> None:
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: give positive numbers")
    if min(edges_per_epoch, validation_pairs) < 0:
        raise ValueError(
            f"edges_per_epoch={edges_per_epoch}, validation_pairs={validation_pairs}: give "
            "positive numbers, or 0 for all"
        )


def _check_split(split: LinkSplit, x: Tensor, k: int) -> None:
    """Features fit the split, no part is empty, and not every positive is among the best ``k``."""
    if x.shape[0] != split.num_nodes:
        raise ValueError(f"x has {x.shape[0]} rows, the split {split.num_nodes} nodes")
    for part in ("train", "validation", "test"):
        if not getattr(split, part).shape[1]:
            raise ValueError(f"the split has no {part} edges; hold out more")
    fewest = min(split.validation_negatives.shape[1], split.test_negatives.shape[1])
    if k > fewest:
        raise ValueError(f"hits@{k} needs {k} negatives, the split has {fewest}: choose a lower k")


class _Run:
    """Models, optimiser and curves; what is kept is as it stands between two epochs."""

    def __init__(
        self,
        encoder: nn.Module,
        predictor: GAE,
        x: Tensor,
        split: LinkSplit,
        *,
        metric: str,
        batch_size: int,
        edges_per_epoch: int,
        hide_targets: bool,
        rates: tuple[float, float],
    ) -> None:
        self.encoder, self.predictor, self.x, self.split = encoder, predictor, x, split
        self.metric, self.hide_targets, self.rates = metric, hide_targets, rates
        self.batch_size, self.edges_per_epoch = batch_size, edges_per_epoch
        self.graph = Neighbourhoods(split.train_edge_index, split.num_nodes)
        self.models = nn.ModuleList([encoder, predictor])
        parts = zip(self.models, rates, strict=True)
        self.optimizer = torch.optim.Adam(
            [{"params": list(part.parameters()), "lr": rate} for part, rate in parts]
        )
        self.losses: list[float] = []
        self.curve: list[float] = []
        self.best = -1
        self.kept = copy.deepcopy(self.models.state_dict())

    @property
    def epochs(self) -> int:
        """Epochs that are over."""
        return len(self.curve)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        edges = self.split.train.shape[1]
        return math.ceil(min(self.edges_per_epoch or edges, edges) / self.batch_size)

    def train(self, bar: tqdm[Any]) -> float:
        """Train for an epoch; the mean loss of its steps."""
        self.models.train()
        order = torch.randperm(self.split.train.shape[1])
        order = order[: self.edges_per_epoch] if self.edges_per_epoch else order
        edges, count = self.split.train[:, order], len(order)
        negatives = _negatives(self.graph, edges, self.split.metric)
        total = 0.0
        for rows in torch.arange(count).split(self.batch_size):
            total += self._step(edges[:, rows], negatives[:, rows]) * len(rows)
            bar.update()
        return total / count

    def _step(self, targets: Tensor, others: Tensor) -> float:
        rest = self.graph.without(targets) if self.hide_targets else self.graph
        h = self.encoder(self.x, rest.edge_index)
        logits = self.predictor(h, rest, torch.cat([targets, others], dim=1))
        good, bad = logits.split(targets.shape[1])
        loss = F.softplus(-good).mean() + F.softplus(bad).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}; try lower learning rates")
        self.optimizer.zero_grad()
        loss.backward()
        if self.split.metric == "mrr":
            nn.utils.clip_grad_norm_(self.models.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def note(self, loss: float, value: float) -> None:
        """An epoch is over."""
        self.losses.append(loss)
        self.curve.append(value)
        if self.best < 0 or value > self.curve[self.best]:
            self.best, self.kept = self.epochs - 1, copy.deepcopy(self.models.state_dict())

    def waited(self, patience: int) -> bool:
        """Whether so many epochs have passed without a better one."""
        return 0 < patience <= self.epochs - 1 - self.best

    def identity(self) -> dict[str, Any]:
        """What makes the run this one; asked for before it begins."""
        split = vars(self.split).values()
        return {
            "predictor": type(self.predictor).__name__,
            "metric": self.metric,
            "batch_size": self.batch_size,
            "rates": list(self.rates),
            "edges_per_epoch": self.edges_per_epoch,
            "hide_targets": self.hide_targets,
            "checksum of x": checksum([self.x]),
            "checksum of the split": checksum(one for one in split if isinstance(one, Tensor)),
            "checksum of the first weights": checksum(self.models.state_dict().values()),
            **_plain_settings(self.models),
        }

    def state(self) -> dict[str, Any]:
        """What :meth:`load` goes on from."""
        return {
            "losses": self.losses,
            "curve": self.curve,
            "best": self.best,
            "kept": self.kept,
            "models": self.models.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": draw_states(self.graph.keys.device),
        }

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a state; without one the run begins."""
        if state is None:
            return
        self.losses, self.curve, self.best = state["losses"], state["curve"], state["best"]
        self.kept = state["kept"]
        self.models.load_state_dict(state["models"])
        self.optimizer.load_state_dict(state["optimizer"])
        set_draw_states(state["draws"], self.graph.keys.device)


def _plain_settings(models: nn.Module) -> dict[str, Any]:
    """Numbers and words that modules hold beside their weights, such as rates of dropout."""
    return {
        f"{type(one).__name__} {name}.{key}": value
        for name, one in models.named_modules()
        for key, value in vars(one).items()
        if isinstance(value, int | float | str) and key != "training" and key[0] != "_"
    }


def _some_validation(split: LinkSplit, count: int) -> tuple[Tensor, Tensor]:
    """Validation pairs and what they are compared with, ``count`` of them if they are more."""
    pairs, negatives = split.validation, split.validation_negatives
    if not 0 < count < pairs.shape[1]:
        return pairs, negatives
    draw = torch.Generator().manual_seed(0)
    rows = torch.randperm(pairs.shape[1], generator=draw)[:count].to(pairs.device)
    return pairs[:, rows], negatives[rows] if split.metric == "mrr" else negatives


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
    progress: bool = False,
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
        progress: show a progress bar where it takes more than some seconds.
    """
    encoder.eval()
    predictor.eval()
    h = encoder(x, graph.edge_index)
    own = metric == "mrr"
    count = positives.shape[1] + (negatives.numel() if own else negatives.shape[1])
    bar = tqdm(total=count, desc=metric, unit=" pairs", leave=False, delay=5, disable=not progress)

    def score(pairs: Tensor) -> Tensor:
        """Scores (B,) of pairs (2, B), some at a time."""
        found = []
        for part in pairs.split(batch_size, dim=1):
            found.append(predictor(h, graph, part))
            bar.update(part.shape[1])
        return torch.cat(found)

    with bar:
        good = score(positives)
        if own:
            return ogb_mean_mrr(score, good, positives[0], negatives, batch_size=batch_size)
        return ogb_hits_at_k(good, score(negatives), int(metric.removeprefix("hits@")))
