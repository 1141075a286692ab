"""Logistic regression whose strength C is selected on held-out rows."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

Array = NDArray[Any]

GRID = tuple(2.0**e for e in range(-10, 11, 2))
BGRL_GRID = tuple(2.0**e for e in range(-10, 11))
BGRL_FOLDS = 5


def sorted_grid(grid: Sequence[float]) -> list[float]:
    """Strengths C in ascending order.

    Raises:
        ValueError: If the grid is empty or holds a C that is not positive.
    """
    strengths = sorted(float(c) for c in grid)
    if not strengths or strengths[0] <= 0:
        raise ValueError(f"grid must hold positive strengths C, got {list(grid)}")
    return strengths


def select_multinomial(
    rows: Array,
    labels: Array,
    score: Callable[[LogisticRegression], float],
    grid: Sequence[float],
) -> tuple[LogisticRegression, float, float]:
    """Fit an ascending grid of strengths and keep the model with the highest score.

    Ties go to the smaller C.

    Args:
        rows: Training rows (N, D).
        labels: Their classes (N,).
        score: Judges a fitted model on held-out rows.
        grid: Strengths C, ascending.

    Returns:
        The fitted model, its score and its C.
    """
    models = fit_multinomial(rows, labels, grid)
    reached = [score(model) for model in models]
    best = int(np.argmax(reached))  # the first of equals
    return models[best], float(reached[best]), grid[best]


def fit_multinomial(rows: Array, labels: Array, grid: Sequence[float]) -> list[LogisticRegression]:
    """A model for each of an ascending grid of strengths; each fit starts from the one before."""
    model = LogisticRegression(max_iter=300, warm_start=True)
    models = []
    for strength in grid:
        with _unconverged_is_fine():
            model.set_params(C=strength).fit(rows, labels)
        models.append(copy.deepcopy(model))
    return models


def log_likelihood(model: LogisticRegression, rows: Array, labels: Array) -> float:
    """Mean log-probability a model gives the true classes of held-out rows.

    A class the model was not fitted on has probability zero; it counts as 1e-12, for every model
    alike.
    """
    found = np.searchsorted(model.classes_, labels).clip(max=len(model.classes_) - 1)
    chance = model.predict_proba(rows)[np.arange(len(rows)), found]
    chance = np.where(model.classes_[found] == labels, chance, 0.0)
    return float(np.log(np.maximum(chance, 1e-12)).mean())


def select_one_vs_rest(
    rows: Array, labels: Array, grid: Sequence[float], *, seed: int
) -> tuple[OneVsRestClassifier, float, float]:
    """Select C by 5-fold cross-validation on the given rows, then fit all of them.

    One-vs-rest liblinear as in BGRL; every fit, in folds and at the end, has tolerance 1e-3.
    Ties go to the smaller C.

    Returns:
        The fitted model, its share of held-out rows classified correctly, and its C.

    Raises:
        ValueError: If there are fewer rows than folds.
    """
    if len(rows) < BGRL_FOLDS:
        raise ValueError(f"{len(rows)} train nodes are too few for {BGRL_FOLDS} folds")
    folds = stratified_folds(labels, BGRL_FOLDS, seed=seed)

    def fitted(strength: float, keep: Array) -> OneVsRestClassifier:
        binary = LogisticRegression(
            solver="liblinear", C=strength, tol=1e-3, max_iter=300, random_state=seed
        )
        with _unconverged_is_fine():
            return OneVsRestClassifier(binary).fit(rows[keep], labels[keep])

    best_correct, best_strength = -1, grid[0]
    for strength in grid:
        correct = 0
        for fold in range(BGRL_FOLDS):
            held = folds == fold
            correct += int((fitted(strength, ~held).predict(rows[held]) == labels[held]).sum())
        if correct > best_correct:
            best_correct, best_strength = correct, strength
    model = fitted(best_strength, np.ones(len(rows), dtype=bool))
    return model, best_correct / len(rows), best_strength


def stratified_folds(labels: Array, num_folds: int, *, seed: int) -> Array:
    """Fold number of each row: shuffled rows are dealt out class by class.

    Each fold holds each class within one row of an equal share, whatever the class sizes;
    scikit-learn's folds refuse or warn where a class has fewer rows than there are folds.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % num_folds
    return folds


@contextmanager
def _unconverged_is_fine() -> Iterator[None]:
    # With a large C on separable rows the optimum is far away, the predictions settle long before.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
