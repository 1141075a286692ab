"""Memory of the log-sum-exp: no tensor of the order of Q x K, a bounded number of tiles at once."""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphcl.kernels import (
    Exclude,
    GroupWeight,
    KeyWeight,
    LowRankWeight,
    SimilarityWeight,
    TileWeight,
    negative_logsumexp,
    two_sided_logsumexp,
)

N, D, SIDE, GROUPS, RANK = 3000, 16, 250, 7, 4
TILE_BYTES = SIDE * SIDE * 4
FEATURE_BYTES = N * D * 4


class Allocations(TorchDispatchMode):
    """The largest storage that any operation returns, and the most bytes alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.alive = self.peak = 0
        self.culprit = ""
        self._users: Counter[int] = Counter()
        self._known: set[int] = set()

    def watch(self, *tensors: Tensor) -> None:
        """Leave these tensors, which existed before, out of the count."""
        self._known.update(t.untyped_storage().data_ptr() for t in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor, str(func))
        return out

    def _count(self, tensor: Tensor, operation: str) -> None:
        storage = tensor.untyped_storage()
        where, size = storage.data_ptr(), storage.nbytes()
        if size == 0 or where in self._known:
            return
        if size > self.largest:
            self.largest, self.culprit = size, f"{operation} -> {tuple(tensor.shape)}"
        self._users[where] += 1
        if self._users[where] == 1:
            self.alive += size
            self.peak = max(self.peak, self.alive)
        weakref.finalize(tensor, self._release, where, size)

    def _release(self, where: int, size: int) -> None:
        self._users[where] -= 1
        if self._users[where] == 0:
            self.alive -= size


class PairGate(TileWeight):
    """A learnable weight of pairs, (r, c, 2) inside a tile."""

    symmetric = True

    def __init__(self, u: Tensor) -> None:
        self.parameters = (u,)

    def check(self, num_queries: int, num_keys: int) -> None:
        assert num_queries == num_keys == self.parameters[0].shape[0]

    def tile(
        self, parameters: tuple[Tensor, ...], rows: slice, columns: slice, similarity: Tensor | None
    ) -> Tensor:
        u = parameters[0]
        return logsigmoid(torch.tanh(u[rows, None] + u[None, columns]).sum(2))


def leaf(*shape: int) -> Tensor:
    return torch.rand(*shape).requires_grad_()


def labels(groups: int = GROUPS) -> Tensor:
    return torch.randint(groups, (N,))


WEIGHTS: dict[str, Callable[[], TileWeight | None]] = {
    "none": lambda: None,
    "key": lambda: KeyWeight(leaf(N)),
    "group": lambda: GroupWeight(leaf(GROUPS, GROUPS), labels(), labels()),
    "low_rank": lambda: LowRankWeight(leaf(N, RANK), leaf(N, RANK)),
    "similarity": lambda: SimilarityWeight(torch.sin, detach=False),
    "custom": lambda: PairGate(leaf(N, 2)),
    "sum": lambda: (
        KeyWeight(leaf(N))
        + GroupWeight(leaf(GROUPS, GROUPS), labels(), labels())
        + LowRankWeight(leaf(N, RANK), leaf(N, RANK))
        + SimilarityWeight(torch.mul, leaf(N), detach=False)
    ),
}


def csr() -> Exclude:
    return Exclude.csr(torch.arange(0, 5 * N + 1, 5), torch.randint(N, (5 * N,)))


def own_groups() -> Exclude:
    group = labels(50)
    return Exclude.same_group(group, group)


EXCLUSIONS: dict[str, Callable[[], Exclude | None]] = {
    "none": lambda: None,
    "diagonal": Exclude.diagonal,
    "csr": csr,
    "group": own_groups,
    "union": lambda: Exclude.diagonal(3) | csr() | own_groups(),
}


def run(
    path: str, weight: TileWeight | None, exclude: Exclude | None, tau: float, impl: str = "auto"
) -> tuple[Allocations, int]:
    """Forward and backward; the memory log and the bytes held between the two."""
    queries = torch.randn(N, D).mul_(0.3).requires_grad_()
    keys = queries if path == "self" else torch.randn(N, D).mul_(0.3).requires_grad_()
    temperature = torch.tensor(tau, requires_grad=True)
    leaves = [] if weight is None else [p for p in weight.parameters if p.requires_grad]
    inputs = [queries, temperature, *leaves] + ([] if path == "self" else [keys])
    options: dict[str, Any] = {
        "tau": temperature,
        "log_weight": weight,
        "exclude": exclude,
        "impl": impl,
    }
    call: Any = two_sided_logsumexp if path == "both" else negative_logsumexp
    with Allocations() as memory:
        memory.watch(*inputs, *(() if weight is None else weight.parameters))
        found = call(queries, keys, **options)
        outputs = list(found) if path == "both" else [found]
        held = memory.alive
        given = [torch.randn(N) for _ in outputs]
        grads = torch.autograd.grad(outputs, inputs, given, allow_unused=True)
    for grad in grads:
        assert grad is not None
        assert bool(grad.isfinite().all())
    return memory, held


def assert_bounded(memory: Allocations, held: int, tile_factor: int = 1, tiles: int = 8) -> None:
    limit = max(tile_factor * TILE_BYTES, FEATURE_BYTES)
    assert memory.largest <= limit, f"{memory.culprit}: {memory.largest} bytes"
    assert limit < N * N // 2
    # Between forward and backward: totals, not tiles.
    assert held <= 3 * N * 4
    # A tile, its copies, scaled inputs and their gradients; weights add tiles of their own.
    assert memory.peak <= tiles * limit
    assert memory.peak >= TILE_BYTES


@pytest.mark.parametrize(
    ("weight", "path"),
    [(weight, path) for weight in WEIGHTS for path in ("rows", "both")]
    + [(weight, "self") for weight in ("none", "similarity", "custom")],
)
def test_weights_stay_in_tiles(small_tiles: Callable[[int], None], weight: str, path: str) -> None:
    small_tiles(SIDE)
    memory, held = run(path, WEIGHTS[weight](), Exclude.diagonal(), tau=0.5)
    # The network of the custom weight has two hidden units per pair.
    assert_bounded(memory, held, tile_factor=2 if weight == "custom" else 1, tiles=16)


# Logits of order 1 and of order 300 take different paths.
@pytest.mark.parametrize(
    ("exclude", "path", "tau"),
    [(exclude, "rows", 0.5) for exclude in EXCLUSIONS]
    + [("union", "rows", 0.005), ("union", "both", 0.5), ("union", "both", 0.005)]
    + [("group", "self", 0.5), ("group", "self", 0.005), ("none", "self", 0.005)],
)
def test_exclusions_stay_in_tiles(
    small_tiles: Callable[[int], None], exclude: str, path: str, tau: float
) -> None:
    small_tiles(SIDE)
    assert_bounded(*run(path, None, EXCLUSIONS[exclude](), tau))


def test_peak_does_not_grow_with_the_square(
    small_tiles: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the rows: at most twice the memory, of which the tiles are a constant part."""
    small_tiles(100)
    peaks = []
    for count in (1500, 3000):
        monkeypatch.setitem(globals(), "N", count)
        peaks.append(run("self", None, Exclude.diagonal(), 0.5)[0].peak)
    assert peaks[1] <= 2.05 * peaks[0]


def test_the_meter_sees_the_dense_matrix() -> None:
    """The reference forms the matrix; the meter must notice."""
    memory, held = run("rows", None, Exclude.diagonal(), 0.5, impl="reference")
    assert memory.largest >= 4 * N * N
    assert memory.peak >= 8 * N * N
    assert held >= 4 * N * N


def test_fresh_memory_is_poisoned() -> None:
    for fresh in (torch.empty(3), torch.empty_like(torch.zeros(3)), torch.zeros(1).new_empty(3)):
        assert bool(fresh.isnan().all())
    assert torch.empty(3, dtype=torch.long).shape == (3,)
