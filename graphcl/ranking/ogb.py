"""The link prediction protocol of the Open Graph Benchmark, in torch and in bounded memory.

Values are those of ``ogb.linkproppred.Evaluator`` (Hu et al., 2020, arXiv 2005.00687), which is not
imported: Hits@K compares all positives with one shared set of negatives, MRR compares each
positive with negatives of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from graphcl.kernels.ranks import NonFiniteScores, RankCounts, count_tile
from graphcl.kernels.tiles import blocks

# Scores compared at once.
_AT_ONCE = 1 << 20


def ogb_hits_at_k(positive: Tensor, negative: Tensor | Iterable[Tensor], k: int) -> float:
    """Share of positives that score strictly above the k-th best negative.

    As in OGB a tie with that negative is a miss, and with fewer than ``k`` negatives the value
    is 1.

    Args:
        positive: (P,) scores, P at least 1.
        negative: (N,) scores, or an iterable of parts of them, of which only k are kept.
        k: at least 1.

    Raises:
        NonFiniteScores: a score is NaN; infinite scores are compared like others.
        ValueError: wrong shapes, no positives, or k below 1.

    Example:
        >>> ogb_hits_at_k(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0, 0.0]), k=2)
        0.5
    """
    _check_positive(positive)
    if k < 1:
        raise ValueError(f"hits@k needs k of at least 1, got {k}")
    best, count = None, 0
    for part in [negative] if isinstance(negative, Tensor) else negative:
        if part.dim() != 1:
            raise ValueError(f"negative must be (N,), got shape {tuple(part.shape)}")
        _refuse_nan(part, "negative")
        count += len(part)
        kept = part if best is None else torch.cat((best, part))
        best = kept.topk(min(k, len(kept))).values
    if best is None or count < k:
        return 1.0
    return int((positive > best[-1].to(positive.device)).sum()) / len(positive)


def ogb_mrr(positive: Tensor, negative: Tensor | Iterable[Tensor]) -> dict[str, Tensor]:
    """Reciprocal rank and hits of each positive among its own negatives, ties averaged.

    Args:
        positive: (P,) scores.
        negative: (P, M) scores, or an iterable of chunks (P, m) of their columns, for scores that
            do not fit into memory together.

    Returns:
        Float32 tensors (P,) under OGB's names ``hits@1_list``, ``hits@3_list``, ``hits@10_list``
        and ``mrr_list``; their means are the reported metrics.

    Raises:
        NonFiniteScores: a score is NaN; infinite scores are compared like others.
        ValueError: shapes that do not fit.

    Example:
        >>> result = ogb_mrr(torch.tensor([1.0]), torch.tensor([[2.0, 1.0, 0.0]]))
        >>> result["mrr_list"]  # rank 2 or 3
        tensor([0.4000])
    """
    _check_positive(positive)
    counts = RankCounts.zeros(len(positive), positive.device)
    for chunk in [negative] if isinstance(negative, Tensor) else negative:
        if chunk.dim() != 2 or len(chunk) != len(positive):
            raise ValueError(
                f"negative must be ({len(positive)}, M), got shape {tuple(chunk.shape)}"
            )
        dtype = torch.promote_types(positive.dtype, chunk.dtype)
        for rows, part in _parts(chunk):
            _refuse_nan(part, "negative", rows.start)
            scores = part.to(positive.device, dtype)
            count_tile(scores, positive[rows].to(dtype), counts.rows(rows))
    rank = 1.0 + counts.greater + 0.5 * counts.equal
    hits = {f"hits@{k}_list": (rank <= k).float() for k in (1, 3, 10)}
    return {**hits, "mrr_list": rank.float().reciprocal()}


def ogb_mean_mrr(
    score: Callable[[Tensor], Tensor],
    positive: Tensor,
    source: Tensor,
    negatives: Tensor,
    *,
    batch_size: int = 1 << 16,
) -> float:
    """OGB's MRR of pairs whose negatives share their source, some of them scored at a time.

    Args:
        score: ``score(pairs (2, B)) -> (B,)``.
        positive: (P,) scores of the pairs themselves.
        source: (P,) their first nodes.
        negatives: (P, M) other second nodes of each.
        batch_size: about how many pairs to score at once.

    Raises:
        NonFiniteScores: a score is NaN.
        ValueError: shapes that do not fit, no pairs or no negatives.
    """
    _check_positive(positive)
    if source.shape != positive.shape or negatives.dim() != 2 or len(negatives) != len(source):
        raise ValueError(
            f"source must be ({len(positive)},) and negatives ({len(positive)}, M), got "
            f"{tuple(source.shape)} and {tuple(negatives.shape)}"
        )
    total, width = 0.0, negatives.shape[1]
    if not width:
        raise ValueError("each pair needs at least one negative, got negatives of width 0")
    for rows in torch.arange(len(source)).split(max(1, batch_size // width)):
        pairs = torch.stack(
            [source[rows].repeat_interleave(width), negatives[rows].flatten().long()]
        )
        found = ogb_mrr(positive[rows], score(pairs).view(-1, width))
        total += float(found["mrr_list"].double().sum())
    return total / len(source)


def _parts(chunk: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cut (P, m) scores into pieces of a bounded number of elements."""
    width = max(1, min(chunk.shape[1], _AT_ONCE))
    for rows in blocks(len(chunk), max(1, _AT_ONCE // width)):
        for columns in blocks(chunk.shape[1], width):
            yield rows, chunk[rows, columns]


def _check_positive(positive: Tensor) -> None:
    if positive.dim() != 1 or len(positive) == 0:
        raise ValueError(f"positive must be (P,) with P >= 1, got shape {tuple(positive.shape)}")
    _refuse_nan(positive, "positive")


def _refuse_nan(scores: Tensor, what: str, first: int = 0) -> None:
    # A sum of squares would overflow; the extremes pass NaN on without another copy.
    if scores.numel() and bool(torch.stack(torch.aminmax(scores)).isnan().any()):
        row = first + int(scores.isnan().nonzero()[0, 0])
        raise NonFiniteScores(f"score of {what} {row} is NaN; look for diverged parameters", row)
