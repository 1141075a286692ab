"""The fold of a ranking: how many scores of a tile lie above and at a target's score."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class RankCounts(NamedTuple):
    """Per target, candidates that score above and equal to it, and all candidates; int64 (N,).

    The target itself is counted in none of the three: its optimistic rank is ``1 + greater``, its
    pessimistic rank ``1 + greater + equal``, and it is ranked among ``1 + candidates``.
    """

    greater: Tensor
    equal: Tensor
    candidates: Tensor

    @classmethod
    def zeros(cls, count: int, device: torch.device | str = "cpu") -> RankCounts:
        """Counts of ``count`` targets before the first tile."""
        blank = torch.zeros(count, dtype=torch.int64, device=device)
        return cls(blank, blank.clone(), blank.clone())

    def rows(self, part: slice) -> RankCounts:
        """Views of some targets, to be added to."""
        return RankCounts(self.greater[part], self.equal[part], self.candidates[part])


class NonFiniteScores(ValueError):
    """A score is NaN or infinite, so that ranks would be meaningless.

    Attributes:
        row: the query (or triple) whose score it is.
    """

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def require_finite(scores: Tensor, first_row: int = 0, what: str = "query") -> None:
    """Raise :class:`NonFiniteScores` naming ``first_row`` + the first bad row of (B, C) scores."""
    if scores.numel() == 0:
        return
    extremes = torch.stack(torch.aminmax(scores))  # NaN is passed on by both
    if bool(extremes.isfinite().all()):
        return
    bad = ~scores.isfinite()
    row = int(bad.any(1).nonzero()[0, 0])
    value = scores[row][bad[row]][0].item()
    raise NonFiniteScores(
        f"a score of {what} {first_row + row} is {value}; ranks need finite scores: look for "
        "diverged parameters, or use `exclude` instead of -inf to leave candidates out",
        first_row + row,
    )


def undecided_band(target_score: Tensor, slack: Tensor | None) -> tuple[Tensor, Tensor]:
    """Lowest and highest score (B,) that may equal the target's; never so low as ``-inf``."""
    if slack is None:
        return target_score, target_score
    low = (target_score - slack).clamp_(min=torch.finfo(target_score.dtype).min)
    return low, target_score + slack


def count_tile(
    scores: Tensor, target_score: Tensor, counts: RankCounts, *, slack: Tensor | None = None
) -> Tensor | None:
    """Add one tile of candidates to the counts, in place.

    Args:
        scores: (B, C) floating point; ``-inf`` marks pairs that take no part.
        target_score: (B,) finite, of the same dtype.
        counts: of the same B targets.
        slack: (B,) of the same dtype; scores within ``slack`` of the target's are left undecided.

    Returns:
        Without ``slack`` None: ``equal`` was counted. Otherwise a (B,) int64 tensor, how many
        scores are undecided; they count as candidates, but neither as greater nor as equal.
    """
    low, high = undecided_band(target_score, slack)
    # Comparing into floats and adding them up is several times quicker than going through booleans.
    flags = torch.empty_like(scores)
    above = _row_sums(torch.gt(scores, high[:, None], out=flags))
    within = _row_sums(torch.ge(scores, low[:, None], out=flags)) - above
    counts.greater.add_(above)
    counts.candidates.add_(_row_sums(torch.gt(scores, -torch.inf, out=flags)))
    if slack is not None:
        return within
    counts.equal.add_(within)
    return None


def _row_sums(flags: Tensor) -> Tensor:
    exact = torch.float32 if flags.shape[1] < 1 << 24 else torch.float64
    dtype = torch.promote_types(flags.dtype, exact)
    return flags.sum(1, dtype=dtype).long()
