"""Linear probes: how well a linear classifier reads node classes from frozen embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor

from graphcl.probes.embeddings import check_embeddings, normalize_embeddings
from graphcl.probes.labels import check_labels, node_labels
from graphcl.probes.logistic import (
    BGRL_GRID,
    GRID,
    Array,
    log_likelihood,
    select_multinomial,
    select_one_vs_rest,
    sorted_grid,
)
from graphcl.probes.softmax import select_softmax
from graphcl.probes.splits import Split, make_split


@dataclass(frozen=True)
class ProbeResult:
    """Test scores of a linear probe, with how they were selected.

    Attributes:
        accuracy: Share of test nodes classified correctly.
        micro_f1: Micro-averaged F1; equals ``accuracy``, as each node has one class.
        macro_f1: Macro-averaged F1 over the classes present in test labels or predictions.
        validation_accuracy: Accuracy of the selected model on validation nodes, or on the held-out
            folds of the train nodes.
        selected: What was selected, ``{"C": 1.0}`` or ``{"epoch": 340}``.
        selection: ``"validation"`` or ``"cross-validation"``; never test.
        protocol: Name of the split's protocol.
        auc: Area under the ROC curve, each class against the rest, averaged over classes that the
            test nodes have and lack; NaN without any.
    """

    accuracy: float
    micro_f1: float
    macro_f1: float
    validation_accuracy: float
    selected: dict[str, float]
    selection: str
    protocol: str
    auc: float = float("nan")


def linear_probe(
    embeddings: Tensor,
    labels: Tensor,
    split: Split,
    *,
    classifier: str = "logistic",
    seed: int = 0,
    normalize: str | None = None,
    grid: Sequence[float] | None = None,
    epochs: int = 3000,
    lr: float = 0.01,
    weight_decay: float = 0.0,
) -> ProbeResult:
    """Fit a linear classifier on train, select on validation, report test.

    Test rows enter one prediction by the selected classifier and nothing else. It is never fitted
    on validation nodes.

    - ``classifier="logistic"``: multinomial logistic regression for each strength C of ``grid``,
      warm-started from the smaller C; the highest validation likelihood wins, ties go to the
      smaller C. (The accuracy on a few hundred validation nodes moves in steps and ties; the
      likelihood of the same nodes picks a C nearer to the best one.)
    - ``classifier="logistic"`` with a ``bgrl20`` split: one-vs-rest logistic regression
      (liblinear, tolerance 1e-3, regularised intercept) on L2-normalised embeddings, C by
      stratified 5-fold cross-validation inside train, then fitted to all of train, after BGRL
      (Thakoor et al., 2022, arXiv:2102.06514).
    - ``classifier="adam"``: one softmax layer under full-batch Adam, scored on validation every 20
      epochs; the weights of the best (earliest) validation accuracy are kept, after GCA
      (Zhu et al., 2021, arXiv:2010.14945).

    Args:
        embeddings: Frozen embeddings, (N, D).
        labels: Class of each node, (N,), integers; nodes outside the split may hold -1.
        split: Where to fit, select and report.
        classifier: ``"logistic"`` or ``"adam"``.
        seed: Seed of folds, liblinear and initial weights.
        normalize: ``"l2"`` rows, ``"standard"`` columns by train statistics, or ``"none"``. By
            default ``"l2"`` for logistic and ``"none"`` for adam, as the papers do.
        grid: Strengths C for logistic, by default 2^-10 to 2^10 in factors of 4 (of 2 for
            ``bgrl20``).
        epochs: Epochs of adam.
        lr: Learning rate of adam.
        weight_decay: Weight decay of adam.

    Raises:
        ValueError: If embeddings are not finite, shapes differ, a name or option is unknown, or
            train holds a single class.

    Example:
        >>> z = torch.eye(4).repeat(25, 1)
        >>> y = torch.arange(100) % 4
        >>> order = torch.arange(100)
        >>> linear_probe(z, y, Split("random10", order[:10], order[10:20], order[20:])).accuracy
        1.0
    """
    z = check_embeddings(embeddings)
    y = check_labels(labels, len(z)).to(z.device)
    train, validation, test = (
        part.to(z.device) for part in (split.train, split.validation, split.test)
    )
    check_probe(y, split, classifier=classifier, normalize=normalize)
    z = normalize_embeddings(z, normalize or ("none" if classifier == "adam" else "l2"), train)
    if classifier == "adam":
        predict, accuracy, epoch = select_softmax(
            (z[train], y[train]),
            (z[validation], y[validation]),
            epochs=epochs,
            lr=lr,
            weight_decay=weight_decay,
            seed=seed,
        )
        predicted = predict(z[test]).cpu().numpy()
        shares = predict(z[test], shares=True).double().cpu().numpy()
        selected: dict[str, float] = {"epoch": epoch}
    else:
        by_folds = split.protocol == "bgrl20"
        strengths = sorted_grid((BGRL_GRID if by_folds else GRID) if grid is None else grid)
        fit = _rows(z, train), y[train].cpu().numpy()
        if by_folds:
            model, accuracy, strength = select_one_vs_rest(*fit, strengths, seed=seed)
        else:
            held_rows, held_labels = _rows(z, validation), y[validation].cpu().numpy()
            model, _, strength = select_multinomial(
                *fit,
                lambda fitted: log_likelihood(fitted, held_rows, held_labels),
                strengths,
            )
            accuracy = float((model.predict(held_rows) == held_labels).mean())
        rows = _rows(z, test)
        predicted, shares = model.predict(rows), model.predict_proba(rows)
        selected = {"C": strength}
    truth = y[test].cpu().numpy()
    correct = float((predicted == truth).mean())
    return ProbeResult(
        accuracy=correct,
        micro_f1=correct,
        macro_f1=float(f1_score(truth, predicted, average="macro", zero_division=0)),
        validation_accuracy=accuracy,
        selected=selected,
        selection="cross-validation" if split.protocol == "bgrl20" else "validation",
        protocol=split.protocol,
        auc=_auc(truth, shares, np.unique(y[train].cpu().numpy())),
    )


def linear_probe_seeds(
    embeddings: Tensor, data: Any, protocol: str, seeds: Sequence[int], **options: Any
) -> dict[str, dict[str, Any]]:
    """Probe the same embeddings under several seeds and aggregate.

    Each seed draws its own split (``public`` and stored splits stay the same) and seeds the
    classifier.

    Args:
        embeddings: Frozen embeddings, (N, D).
        data: What :func:`graphcl.probes.splits.make_split` takes; its ``y`` are the labels.
        protocol: Name of the protocol.
        seeds: Seeds, at least one.
        **options: ``count`` goes to the split, the rest to :func:`linear_probe`.

    Returns:
        ``accuracy``, ``micro_f1``, ``macro_f1`` and ``validation_accuracy``, each with ``mean``,
        ``std`` (of the sample, 0.0 for one seed) and ``values``.

    Raises:
        ValueError: If ``seeds`` is empty, and what the split and the probe raise.
    """
    if not len(seeds):
        raise ValueError("seeds is empty, give at least one")
    count = options.pop("count", None)
    labels = node_labels(data)
    results = []
    for seed in seeds:
        split = make_split(data, protocol, seed=seed, count=count)
        results.append(linear_probe(embeddings, labels, split, seed=seed, **options))
    summary = {}
    for name in ("accuracy", "micro_f1", "macro_f1", "validation_accuracy"):
        values = [float(getattr(result, name)) for result in results]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": float(np.mean(values)), "std": std, "values": values}
    return summary


def check_probe(
    labels: Tensor, split: Split, *, classifier: str = "logistic", normalize: str | None = None
) -> None:
    """Refuse what :func:`linear_probe` refuses whatever the embeddings are.

    Args:
        labels: Classes (N,), -1 where there is none.
        split: Nodes to train, select and test on.
        classifier: See :func:`linear_probe`.
        normalize: See :func:`linear_probe`.

    Raises:
        ValueError: An unknown classifier or one that the protocol does not take, nodes that do not
            exist or have no label, or a single class in train.
    """
    y, train = labels, split.train.to(labels.device)
    used = torch.cat([part.to(y.device) for part in (split.train, split.validation, split.test)])
    if classifier not in ("logistic", "adam"):
        raise ValueError(f"classifier must be 'logistic' or 'adam', got {classifier!r}")
    if split.protocol == "bgrl20" and (classifier, normalize or "l2") != ("logistic", "l2"):
        raise ValueError(
            f"protocol 'bgrl20' is logistic regression on L2-normalised embeddings, got "
            f"classifier={classifier!r}, normalize={normalize!r}"
        )
    if int(used.max()) >= len(y):
        raise ValueError(f"split names node {int(used.max())}, embeddings have {len(y)} rows")
    unlabelled = int((y[used] < 0).sum())
    if unlabelled:
        raise ValueError(f"split holds {unlabelled} nodes without a label (y < 0)")
    if len(torch.unique(y[train])) < 2:
        raise ValueError(
            f"train holds {len(train)} nodes of the single class {int(y[train][0])}, a classifier "
            "needs two: use another seed or protocol"
        )


def _auc(truth: Array, shares: Array, classes: Array) -> float:
    """Mean over classes of the ROC area of one class against the rest."""
    areas = [
        roc_auc_score(truth == one, shares[:, column])
        for column, one in enumerate(classes)
        if 0 < int((truth == one).sum()) < len(truth)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def _rows(z: Tensor, index: Tensor) -> Array:
    return z[index].double().cpu().numpy()
