"""Checks and row scaling of the frozen embeddings that the probes judge."""

import torch
from torch import Tensor

NORMALIZATIONS = ("l2", "standard", "none")


def check_embeddings(embeddings: Tensor) -> Tensor:
    """Return detached floating-point embeddings ``(N, D)``, in float32 or wider.

    Raises:
        ValueError: If the tensor is not a matrix, is empty, or holds NaN or infinity.
    """
    if embeddings.dim() != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be a matrix (N, D), got {tuple(embeddings.shape)}")
    z = embeddings.detach()
    if not z.is_floating_point() or z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    bad = (~torch.isfinite(z)).any(dim=1).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"embeddings hold NaN or infinity in {len(bad)} of {len(z)} rows, the first is row "
            f"{int(bad[0])}: training diverged, or a row was divided by a zero norm"
        )
    return z


def normalize_embeddings(embeddings: Tensor, how: str, reference: Tensor) -> Tensor:
    """Scale embeddings before a probe.

    ``"l2"`` divides each row by its norm (zero rows stay zero); ``"standard"`` centres and scales
    each column with the mean and deviation of the rows in ``reference`` alone, so that no other
    row takes part in the fit; ``"none"`` returns the input.

    Raises:
        ValueError: If ``how`` is not one of these names.
    """
    if how == "l2":
        return torch.nn.functional.normalize(embeddings, dim=1)
    if how == "standard":
        rows = embeddings[reference]
        deviation = rows.std(dim=0, correction=0)
        # A column that is constant on the reference carries nothing to scale by.
        deviation = torch.where(deviation > 1e-12, deviation, torch.ones_like(deviation))
        return (embeddings - rows.mean(dim=0)) / deviation
    if how == "none":
        return embeddings
    raise ValueError(f"normalize must be one of {', '.join(NORMALIZATIONS)}, got {how!r}")
