"""Candidates beyond a batch: by the definition in loops, by gradients, and by global ids."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphcl.kernels import Exclude, SimilarityWeight
from graphcl.losses import CandidatePool, CandidateQueue, Candidates, InfoNCE


def keys(count: int, width: int = 3, first: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    return Candidates(
        torch.randn(count, width, dtype=dtype),
        torch.randn(count, width, dtype=dtype),
        torch.arange(first, first + count),
    )


def by_loops(
    z1: Tensor,
    z2: Tensor,
    ids: Tensor,
    beyond: Candidates | None,
    *,
    tau: float,
    intra_view: bool,
    symmetric: bool = True,
    decoupled: bool = False,
) -> Tensor:
    """The definition: one term per anchor and direction, one exponential per candidate."""
    views = [F.normalize(z1), F.normalize(z2)]
    every = [(views[v][i], int(ids[i]), v) for v in (0, 1) for i in range(len(ids))]
    if beyond is not None:
        for v, z in enumerate((beyond.z1, beyond.z2)):
            every += [(F.normalize(z)[i], int(beyond.ids[i]), v) for i in range(len(beyond))]
    terms = []
    for v in (0, 1) if symmetric else (0,):
        for i in range(len(ids)):
            anchor = views[v][i]
            positive = (anchor @ views[1 - v][i] / tau).exp()
            total = 0 if decoupled else positive
            for key, owner, view in every:
                if owner != int(ids[i]) and (view != v or intra_view):
                    total = total + (anchor @ key / tau).exp()
            terms.append(-positive.log() + total.log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize(
    ("intra_view", "symmetric", "decoupled"), list(itertools.product((True, False), repeat=3))
)
@pytest.mark.parametrize("repeated", [False, True], ids=["distinct", "repeated"])
@pytest.mark.parametrize("impl", ["chunked", "reference"])
def test_loss_and_gradients_follow_the_definition(
    intra_view: bool, symmetric: bool, decoupled: bool, repeated: bool, impl: str
) -> None:
    batch, beyond = keys(5), keys(7, first=3)  # nodes 3 and 4 are on both sides
    ids = torch.tensor([0, 1, 2, 1, 4]) if repeated else batch.ids
    leaves = [t.requires_grad_() for t in (batch.z1, batch.z2, beyond.z1, beyond.z2)]
    loss = InfoNCE(0.7, intra_view, symmetric, decoupled, impl=impl)  # type: ignore[arg-type]
    found = loss(batch.z1, batch.z2, ids=ids, beyond=beyond)
    wanted = by_loops(
        batch.z1,
        batch.z2,
        ids,
        beyond,
        tau=0.7,
        intra_view=intra_view,
        symmetric=symmetric,
        decoupled=decoupled,
    )
    torch.testing.assert_close(found, wanted)
    unused = {"allow_unused": True, "materialize_grads": True}
    for own, other in zip(
        torch.autograd.grad(found, leaves, **unused),
        torch.autograd.grad(wanted, leaves, **unused),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


def test_gradcheck() -> None:
    batch, beyond = keys(4), keys(3, first=2)
    leaves = [t.requires_grad_() for t in (batch.z1, batch.z2, beyond.z1, beyond.z2)]

    def value(z1: Tensor, z2: Tensor, k1: Tensor, k2: Tensor) -> Tensor:
        more = Candidates(k1, k2, beyond.ids)
        return InfoNCE(0.5)(z1, z2, ids=batch.ids, beyond=more)

    assert torch.autograd.gradcheck(value, leaves)


def test_candidates_beyond_count_like_those_of_the_batch() -> None:
    """A batch split into anchors and others has, summed, the loss of the whole."""
    whole = keys(9)
    wanted = InfoNCE(0.4)(whole.z1, whole.z2)
    total = 0.0
    for part in (slice(0, 4), slice(4, 9)):
        others = torch.ones(9, dtype=torch.bool)
        others[part] = False
        beyond = Candidates(whole.z1[others], whole.z2[others], whole.ids[others])
        found = InfoNCE(0.4)(whole.z1[part], whole.z2[part], ids=whole.ids[part], beyond=beyond)
        total += (part.stop - part.start) * float(found) / 9
    assert total == pytest.approx(float(wanted), rel=1e-12)


def test_own_keys_in_the_queue_change_nothing() -> None:
    batch = keys(6)
    again = Candidates(torch.randn(6, 3).double(), torch.randn(6, 3).double(), batch.ids)
    one = Candidates(again.z1[:1], again.z2[:1], batch.ids[:1])
    alone = InfoNCE(0.5)(batch.z1, batch.z2)
    with_one = InfoNCE(0.5)(batch.z1, batch.z2, ids=batch.ids, beyond=one)
    assert with_one > alone  # a negative for the other five
    only = InfoNCE(0.5)(batch.z1[:2], batch.z2[:2], ids=torch.tensor([3, 3]), beyond=None)
    assert float(only) == pytest.approx(0.0, abs=1e-12)  # nothing competes but the node itself


def test_similarity_weights_hold_for_all_candidates() -> None:
    batch, beyond = keys(5), keys(4, first=5)
    joined = Candidates.cat([batch, beyond])
    weight = SimilarityWeight(lambda s: 0.3 * s)
    whole = InfoNCE(0.5, symmetric=False, weight=weight)
    anchors = InfoNCE(0.5, symmetric=False, weight=weight)(
        batch.z1, batch.z2, ids=batch.ids, beyond=beyond
    )
    rest = InfoNCE(0.5, symmetric=False, weight=weight)(
        beyond.z1, beyond.z2, ids=beyond.ids, beyond=batch
    )
    wanted = whole(joined.z1, joined.z2)
    torch.testing.assert_close((5 * anchors + 4 * rest) / 9, wanted)


def test_further_exclusions_stay() -> None:
    batch = keys(4)
    group = torch.tensor([0, 0, 1, 1])
    exclude = Exclude.same_group(group, group)
    with_ids = InfoNCE(0.5)(batch.z1, batch.z2, exclude=exclude, ids=batch.ids)
    torch.testing.assert_close(with_ids, InfoNCE(0.5)(batch.z1, batch.z2, exclude=exclude))


def test_ids_and_candidates_that_do_not_fit() -> None:
    batch = keys(4)
    with pytest.raises(ValueError, match="need the ids"):
        InfoNCE()(batch.z1, batch.z2, beyond=batch)
    for count in (1, 5):
        slow = keys(count)
        with pytest.raises(ValueError, match=rf"keys must be .* got \({count}, 3\)"):
            InfoNCE()(batch.z1, batch.z2, ids=batch.ids, keys=slow)
    with pytest.raises(ValueError, match="no candidates with keys="):
        InfoNCE()(batch.z1, batch.z2, ids=batch.ids, keys=batch, exclude=Exclude.diagonal(1))
    with pytest.raises(ValueError, match=r"ids must be 4 integers, got \(3,\)"):
        InfoNCE()(batch.z1, batch.z2, ids=torch.arange(3))
    with pytest.raises(ValueError, match="ids must be 4 int64 numbers"):
        Candidates(batch.z1, batch.z2, torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(M, D\) in both views"):
        Candidates(batch.z1, batch.z2[:3], batch.ids)
    with pytest.raises(ValueError, match="size=0"):
        CandidateQueue(0)


@pytest.mark.parametrize("steps", [(1, 1, 1, 1, 1, 1), (2, 2, 2), (3, 1, 3, 2), (4, 9, 1), (10,)])
def test_a_queue_keeps_the_last_keys(steps: tuple[int, ...]) -> None:
    queue, pushed = CandidateQueue(5), []
    assert queue.candidates() is None
    for count in steps:
        fresh = keys(count, first=len(pushed))
        pushed += [(int(i), z) for i, z in zip(fresh.ids, fresh.z1, strict=True)]
        queue.push(fresh)
        kept = queue.candidates()
        assert kept is not None
        wanted = dict(pushed[-5:])
        assert sorted(kept.ids.tolist()) == sorted(wanted)
        for node, z in zip(kept.ids.tolist(), kept.z1, strict=True):
            assert torch.equal(z, wanted[node])
        assert len(queue) == len(wanted)


def test_a_queue_gives_constants_and_continues() -> None:
    queue = CandidateQueue(4)
    fresh = keys(3)
    fresh.z1.requires_grad_()
    queue.push(fresh)
    kept = queue.candidates()
    assert kept is not None
    assert not kept.z1.requires_grad
    kept.z1.zero_()  # a copy
    assert queue.candidates().z1.any()  # type: ignore[union-attr]
    again = CandidateQueue(4)
    again.load_state_dict(queue.state_dict())
    for one in (queue, again):
        one.push(keys(2, first=7))
    assert torch.equal(queue.candidates().ids, again.candidates().ids)  # type: ignore[union-attr]


def test_a_pool_offers_earlier_batches_only() -> None:
    pool, first, second = CandidatePool(CandidateQueue(100)), keys(3), keys(3, first=3)
    assert pool.beyond(first) is None
    offered = pool.beyond(second)
    assert offered is not None
    assert offered.ids.tolist() == [0, 1, 2]
    assert CandidatePool().beyond(first) is None


@pytest.mark.parametrize(
    ("intra_view", "symmetric", "decoupled"), list(itertools.product((True, False), repeat=3))
)
def test_keys_of_another_encoder(intra_view: bool, symmetric: bool, decoupled: bool) -> None:
    """By the definition in loops, with positives and negatives among the keys."""
    batch, slow, queue = keys(4), keys(4), keys(3, first=2)
    loss = InfoNCE(0.6, intra_view, symmetric, decoupled)
    found = loss(batch.z1, batch.z2, ids=batch.ids, beyond=queue, keys=slow)
    terms = []
    anchors, mates = (F.normalize(batch.z1), F.normalize(batch.z2)), (slow.z2, slow.z1)
    every = Candidates.cat([slow, queue])
    for v in (0, 1) if symmetric else (0,):
        for i in range(4):
            positive = (anchors[v][i] @ F.normalize(mates[v])[i] / 0.6).exp()
            total = 0 if decoupled else positive
            for j, owner in enumerate(every.ids.tolist()):
                for view, z in enumerate((every.z1, every.z2)):
                    if owner != i and (view != v or intra_view):
                        total = total + (anchors[v][i] @ F.normalize(z)[j] / 0.6).exp()
            terms.append(-positive.log() + total.log())
    torch.testing.assert_close(found, torch.stack(terms).mean())
    own = Candidates(batch.z1, batch.z2, batch.ids)
    plain = loss(batch.z1, batch.z2, ids=batch.ids, beyond=queue)
    same = loss(batch.z1, batch.z2, ids=batch.ids, beyond=queue, keys=own)
    torch.testing.assert_close(same, plain)


def test_the_copy_follows_slowly() -> None:
    encoder, head = Twice(), torch.nn.Linear(3, 3)
    pool = CandidatePool(CandidateQueue(10), momentum=0.75)
    views = [(torch.eye(3), torch.empty(0))] * 2
    first = pool.keys((encoder, head), views, torch.arange(2))
    assert first is not None
    torch.testing.assert_close(first.z1, head(2 * torch.eye(3))[:2])
    assert not first.z1.requires_grad
    before = head.weight.detach().clone()
    with torch.no_grad():
        head.weight += 1
    second = pool.keys((encoder, head), views, torch.arange(2))
    assert second is not None
    wanted = (2 * torch.eye(3) @ (before + 0.25).T + head.bias)[:2]
    torch.testing.assert_close(second.z1, wanted)
    again = CandidatePool(CandidateQueue(10), momentum=0.75)
    again.load_state_dict(pool.state_dict())
    saved, loaded = (one.state_dict()["target"] for one in (pool, again))
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)  # before a step too
    for one in (pool, again):
        third = one.keys((encoder, head), views, torch.arange(2))
        assert third is not None
        wanted = (2 * torch.eye(3) @ (before + 0.4375).T + head.bias)[:2]
        torch.testing.assert_close(third.z1, wanted)
    assert CandidatePool().keys((encoder, head), views, torch.arange(2)) is None
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got 1"):
        CandidatePool(momentum=1)


class Twice(torch.nn.Module):
    """Stands for an encoder."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return 2 * x


def test_uniform_value_with_a_queue() -> None:
    """For tau to infinity all candidates weigh the same: log(2 (N + Q) - 1)."""
    batch, beyond = keys(4), keys(6, first=10)
    found = InfoNCE(1e8)(batch.z1, batch.z2, ids=batch.ids, beyond=beyond)
    assert float(found) == pytest.approx(math.log(2 * (4 + 6) - 1), rel=1e-6)
