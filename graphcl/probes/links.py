"""Link prediction from frozen embeddings: held-out edges, a probe, AUC, AP and Hits@K."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from graphcl.probes.embeddings import check_embeddings
from graphcl.probes.logistic import GRID, Array, fit_multinomial
from graphcl.probes.pairs import pair_of_number, sample_non_edges, undirected_pairs
from graphcl.ranking.ogb import ogb_mean_mrr

HITS = (20, 50, 100)


@dataclass(frozen=True, eq=False)
class LinkSplit:
    """Held-out links of an undirected graph.

    Attributes:
        num_nodes: Number of nodes.
        train_edge_index: The only edges an encoder may see, both directions, (2, 2 E_train).
        train: Training pairs ``u < v``, (2, E_train).
        validation: Held-out pairs ``u < v``.
        test: Held-out pairs ``u < v``.
        validation_negatives: Pairs that are no edge of the full graph, as many as are held out; of
            an official split as many as it has. Where ``metric`` is ``mrr``, (P, M) second nodes in
            place of each validation pair's own.
        test_negatives: Likewise; none of them in ``validation_negatives`` where they were drawn.
        seed: Seed of the draw; None for an official split.
        metric: Of an official split, such as ``hits@20`` or ``mrr``; empty where it was drawn.
    """

    num_nodes: int
    train_edge_index: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    validation_negatives: Tensor
    test_negatives: Tensor
    seed: int | None
    metric: str = ""

    def to(self, device: torch.device | str) -> "LinkSplit":
        """The same split with its tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return LinkSplit(**moved)


@dataclass(frozen=True)
class LinkResult:
    """Test scores of a link probe, with how they were selected.

    Attributes:
        auc: Area under the ROC curve; 0.5 is chance.
        average_precision: Average precision with as many negatives as positives; 0.5 is chance.
        hits: Hits@K for each K not above the number of negatives.
        validation_auc: Area under the ROC curve on the validation links.
        selected: ``{"C": ...}``, or empty for ``score="dot"``.
        selection: ``"validation"``, or ``"none"`` for ``score="dot"``.
        score: ``"hadamard"`` or ``"dot"``.
        mrr: Mean reciprocal rank of OGB, or None where all positives share their negatives.
    """

    auc: float
    average_precision: float
    hits: dict[int, float]
    validation_auc: float
    selected: dict[str, float]
    selection: str
    score: str
    mrr: float | None = None


def hold_out_links(
    edge_index: Tensor,
    num_nodes: int,
    *,
    validation: float = 0.05,
    test: float = 0.1,
    seed: int = 0,
) -> LinkSplit:
    """Hold out undirected edges for validation and test, with as many sampled non-edges.

    Directions and repeats of an edge count once and move together; self loops are dropped.

    Args:
        edge_index: Edges (2, E) in either or both directions.
        num_nodes: Number of nodes.
        validation: Share of edges for validation, rounded down.
        test: Share of edges for test, rounded down.
        seed: Seed of the draw.

    Raises:
        ValueError: If shares leave a part empty, an edge is out of range, or the graph has too
            few non-edges.

    Example:
        >>> ring = torch.stack([torch.arange(20), (torch.arange(20) + 1) % 20])
        >>> held = hold_out_links(ring, 20, validation=0.1, test=0.1)
        >>> held.train_edge_index.shape, held.test.shape, held.test_negatives.shape
        (torch.Size([2, 32]), torch.Size([2, 2]), torch.Size([2, 2]))
    """
    edges = undirected_pairs(edge_index, num_nodes)
    num_validation, num_test = int(validation * len(edges)), int(test * len(edges))
    num_train = len(edges) - num_validation - num_test
    if min(num_validation, num_test, num_train) < 1:
        raise ValueError(
            f"shares validation={validation} and test={test} of {len(edges)} edges give "
            f"{num_train} train, {num_validation} validation, {num_test} test edges; each part "
            "needs one"
        )
    generator = torch.Generator().manual_seed(seed)
    shuffled = pair_of_number(edges[torch.randperm(len(edges), generator=generator)])
    held, train = shuffled[:, : num_validation + num_test], shuffled[:, num_validation + num_test :]
    negatives = sample_non_edges(
        edge_index, num_nodes, num_validation + num_test, generator=generator
    )
    return LinkSplit(
        num_nodes=num_nodes,
        train_edge_index=torch.cat([train, train.flip(0)], dim=1),
        train=train,
        validation=held[:, :num_validation],
        test=held[:, num_validation:],
        validation_negatives=negatives[:, :num_validation],
        test_negatives=negatives[:, num_validation:],
        seed=seed,
    )


def official_links(data: Any) -> LinkSplit | None:
    """The official split that a graph of OGB brings along, or None where there is none.

    Args:
        data: What :func:`graphcl.data.load_dataset` gives; its ``edge_index`` are the training
            edges.
    """
    if "train_pairs" not in data:
        return None
    own = "valid_neg_targets" in data
    kind = "neg_targets" if own else "neg_pairs"
    return LinkSplit(
        num_nodes=int(data.num_nodes),
        train_edge_index=data.edge_index,
        train=data.train_pairs,
        validation=data.valid_pairs,
        test=data.test_pairs,
        validation_negatives=data[f"valid_{kind}"],
        test_negatives=data[f"test_{kind}"],
        seed=None,
        metric=data.metric,
    )


def link_probe(
    embeddings: Tensor,
    link_split: LinkSplit,
    *,
    score: str = "hadamard",
    seed: int = 0,
    max_positives: int = 20_000,
) -> LinkResult:
    """Score held-out links from frozen embeddings.

    The embeddings must come from an encoder that saw ``link_split.train_edge_index`` only,
    in training and in the pass that computed them: one that saw the full graph has seen the
    answers, and nothing here can tell.

    - ``score="hadamard"``: logistic regression on the products ``z_u * z_v``, each column scaled by
      its training mean and deviation, with C from 2^-10 to 2^10 in factors of 4 by validation AUC
      (ties to the smaller C). Its negatives are as many as its positives, sampled among pairs that
      are no training edge; held-out edges may be among them, the probe does not know them.
    - ``score="dot"``: the inner product ``z_u . z_v``; nothing is trained or selected.

    Where each positive has negatives of its own (``link_split.metric == "mrr"``), the areas compare
    with the first of each and the reciprocal rank with all of them; Hits@K is left out.

    Args:
        embeddings: Frozen embeddings, (N, D).
        link_split: Links from :func:`hold_out_links` or :func:`official_links`.
        score: ``"hadamard"`` or ``"dot"``.
        seed: Seed of the training negatives.
        max_positives: Training positives at most; those of a larger graph are sampled.

    Raises:
        ValueError: If embeddings are not finite, do not have one row per node, or an option is
            out of range.
    """
    z = check_embeddings(embeddings)
    if len(z) != link_split.num_nodes:
        raise ValueError(
            f"embeddings have {len(z)} rows, the graph has {link_split.num_nodes} nodes"
        )
    if score not in ("hadamard", "dot"):
        raise ValueError(f"score must be 'hadamard' or 'dot', got {score!r}")
    if max_positives < 1:
        raise ValueError(f"max_positives must be at least 1, got {max_positives}")
    own = link_split.metric == "mrr"
    validation = _both(link_split.validation, link_split.validation_negatives, own)
    test = _both(link_split.test, link_split.test_negatives, own)
    if score == "dot":
        selected: dict[str, float] = {}

        def inner(pairs: Tensor) -> Array:
            return _products(z, pairs).sum(1)

        validation_auc = float(roc_auc_score(validation[1], _scores(inner, validation[0])))
        score_test: Callable[[Tensor], Array] = inner
    else:
        pairs, fit_labels = _training_pairs(link_split, seed, max_positives)
        fit = _products(z, pairs)
        mean, deviation = fit.mean(axis=0), fit.std(axis=0)
        deviation[deviation <= 1e-12] = 1.0

        def scaled(pairs: Tensor) -> Array:
            rows: Array = (_products(z, pairs) - mean) / deviation
            return rows

        models = fit_multinomial((fit - mean) / deviation, fit_labels, GRID)

        def all_models(pairs: Tensor) -> Array:
            rows = scaled(pairs)
            return np.stack([model.decision_function(rows) for model in models], axis=1)

        def score_test(pairs: Tensor) -> Array:
            return _scores(lambda part: models[best].decision_function(scaled(part)), pairs)

        held_out = _scores(all_models, validation[0])
        areas = [float(roc_auc_score(validation[1], column)) for column in held_out.T]
        best = int(np.argmax(areas))  # the first of equals
        validation_auc, selected = areas[best], {"C": GRID[best]}
    scores = _scores(score_test, test[0])
    num_positives = link_split.test.size(1)
    positives, negatives = scores[:num_positives], scores[num_positives:]
    return LinkResult(
        auc=float(roc_auc_score(test[1], scores)),
        average_precision=float(average_precision_score(test[1], scores)),
        hits={k: hits_at(positives, negatives, k) for k in HITS if k <= len(negatives) and not own},
        validation_auc=validation_auc,
        selected=selected,
        selection="none" if score == "dot" else "validation",
        score=score,
        mrr=ogb_mean_mrr(
            lambda pairs: torch.from_numpy(score_test(pairs)),
            torch.from_numpy(positives),
            link_split.test[0],
            link_split.test_negatives,
        )
        if own
        else None,
    )


def hits_at(positives: ArrayLike, negatives: ArrayLike, k: int) -> float:
    """Hits@K as in OGB: share of positives scored above the K-th best negative.

    A positive that ties with that negative is no hit. All positives face the same negatives.

    Raises:
        ValueError: If ``k`` is not within 1 to the number of negatives, there is no positive, or
            a score is NaN.

    Example:
        >>> hits_at([0.9, 0.5, 0.1], [0.7, 0.3, 0.2], 2)
        0.6666666666666666
    """
    above, below = np.asarray(positives), np.asarray(negatives)
    if not 1 <= k <= len(below) or not len(above):
        raise ValueError(
            f"Hits@{k} needs at least {k} negatives and one positive, got {len(below)} and "
            f"{len(above)}"
        )
    missing = int(np.isnan(above).sum() + np.isnan(below).sum())
    if missing:
        raise ValueError(
            f"{missing} of {len(above) + len(below)} scores are NaN, they have no rank"
        )
    return float((above > np.partition(below, len(below) - k)[len(below) - k]).mean())


def _both(positives: Tensor, negatives: Tensor, own: bool = False) -> tuple[Tensor, Array]:
    """Pairs with positives first, and their 1/0 labels."""
    if own:
        negatives = torch.stack([positives[0], negatives[:, 0].long()])
    labels = np.repeat([1, 0], [positives.size(1), negatives.size(1)])
    return torch.cat([positives, negatives], dim=1), labels


def _scores(score: Callable[[Tensor], Array], pairs: Tensor, block: int = 1 << 16) -> Array:
    """Scores of pairs, some at a time: a large graph holds out millions."""
    return np.concatenate([score(part) for part in pairs.split(block, dim=1)])


def _products(z: Tensor, pairs: Tensor) -> Array:
    u, v = pairs.to(z.device)
    return (z[u] * z[v]).double().cpu().numpy()


def _training_pairs(split: LinkSplit, seed: int, limit: int) -> tuple[Tensor, Array]:
    generator = torch.Generator().manual_seed(seed)
    positives = split.train
    if positives.size(1) > limit:
        positives = positives[:, torch.randperm(positives.size(1), generator=generator)[:limit]]
    negatives = sample_non_edges(
        split.train, split.num_nodes, positives.size(1), generator=generator
    )
    return _both(positives, negatives)
