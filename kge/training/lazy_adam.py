"""Adam that touches only the rows of a parameter that a gradient of rows names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

# Numbers of a block of rows, so that its moments and gradients stay in a core's cache.
_BLOCK = 2**17


class LazyAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, 2015, arXiv 1412.6980) whose moments of a row rest while it is unused.

    A sparse gradient moves its own rows and their moments alone, with the count of all steps in the
    correction of bias, as ``torch.optim.SparseAdam`` does; ``eps`` stands where Adam has it. A
    dense gradient makes Adam's own step, so that both kinds may follow each other. Rows are read
    and written once, in blocks that fit a cache. PyKEEN knows it as ``optimizer="lazyadam"`` and
    searches its ``lr`` where it would Adam's.

    Args:
        params: parameters, or groups of them.
        lr: step size.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.

    Raises:
        ValueError: settings out of range.
        NotImplementedError: a gradient that is sparse in more than its rows.

    Example:
        >>> table = torch.nn.Embedding(5, 2, sparse=True)
        >>> optimizer = LazyAdam(table.parameters(), lr=0.1)
        >>> before = table.weight.detach().clone()
        >>> table(torch.tensor([1, 3])).sum().backward()
        >>> optimizer.step()
        >>> (table.weight != before).any(1).nonzero().flatten().tolist()
        [1, 3]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= lr < float("inf"):
            raise ValueError(f"lr must be finite and not negative, got {lr}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be from 0 and below 1, got {betas}")
        if not eps >= 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; ``closure`` evaluates the loss again, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        tables = (parameter, state["exp_avg"], state["exp_avg_sq"])
        if not gradient.is_sparse:
            _adam(tables, gradient, state["step"], group)
            return
        rows, values = _distinct_rows(gradient)
        width = max(1, parameter[:1].numel())
        many = max(1, _BLOCK // width if parameter.device.type == "cpu" else len(rows))
        for block, gradients in zip(rows.split(many), values.split(many), strict=True):
            parts = tuple(table.index_select(0, block) for table in tables)
            _adam(parts, gradients, state["step"].clone(), group)
            for table, part in zip(tables, parts, strict=True):
                table.index_copy_(0, block, part)
        state["step"] += 1


def _adam(
    tables: tuple[Tensor, ...], gradient: Tensor, step: Tensor, group: dict[str, Any]
) -> None:
    """Adam's step on a parameter and its moments, in place; one is added to ``step``.

    On a GPU the fused step would want the count of steps there.
    """
    parameter, first, second = tables
    beta1, beta2 = group["betas"]
    adam(
        [parameter],
        [gradient],
        [first],
        [second],
        [],
        [step],
        foreach=False,
        fused=parameter.device.type == "cpu" and parameter.is_floating_point(),
        has_complex=parameter.is_complex(),
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=0.0,
        eps=group["eps"],
        maximize=False,
    )


def _distinct_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n,) and values (n, ...) of a sparse gradient, no row twice."""
    if gradient.sparse_dim() != 1:
        raise NotImplementedError(
            f"LazyAdam takes gradients of rows, got one of {gradient.sparse_dim()} sparse "
            f"dimensions and shape {tuple(gradient.shape)}; use torch.optim.SparseAdam"
        )
    if not gradient.is_coalesced() and not bool((gradient._indices()[0].diff() > 0).all()):
        gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()
