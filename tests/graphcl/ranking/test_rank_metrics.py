"""Metrics against hand-computed values and PyKEEN's."""

import math

import numpy as np
import pytest
import torch

from graphcl.kernels.ranks import RankCounts
from graphcl.ranking.metrics import RankMetrics
from graphcl.ranking.ranks import RANK_TYPES, Ranks
from graphcl.ranking.report import Protocol


def counts_of(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    candidates = torch.randint(0, 60, (n,), generator=g)
    greater = (torch.rand(n, generator=g) * (candidates + 1)).long()
    equal = (torch.rand(n, generator=g) * (candidates - greater + 1)).long()
    equal[: n // 2] = 0
    return RankCounts(greater, equal, candidates)


def test_hand_computed():
    metrics = RankMetrics(hits=(1, 2, 3))
    # Ranks 1 of 5, 2..4 of 5, 3 of 3.
    metrics.update([torch.tensor(x) for x in ([0, 1, 2], [0, 2, 0], [4, 4, 2])], side="tail")
    report = metrics.compute()
    assert report["mean_rank"] == pytest.approx((1 + 3 + 3) / 3)
    assert report["optimistic.mean_rank"] == pytest.approx((1 + 2 + 3) / 3)
    assert report["pessimistic.mr"] == pytest.approx((1 + 4 + 3) / 3)
    assert report["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert report["hits@2"] == pytest.approx(1 / 3)
    assert report["tail.optimistic.hits@2"] == pytest.approx(2 / 3)
    assert report["amri"] == pytest.approx(1 - (7 / 3 - 1) / ((2 + 2 + 1) / 3))
    assert report["count"] == 3


def test_realistic_half_ranks_miss():
    metrics = RankMetrics(hits=(1,))
    metrics.update([torch.tensor([x]) for x in (0, 1, 5)])  # rank 1 or 2
    assert metrics.compute()["mean_rank"] == 1.5
    assert metrics.compute()["hits@1"] == 0
    assert metrics.compute()["optimistic.hits@1"] == 1


def test_equals_pykeen_on_the_same_ranks():
    evaluation = pytest.importorskip("pykeen.evaluation.rank_based_evaluator")
    from pykeen.metrics.ranking import (
        AdjustedArithmeticMeanRankIndex,
        ArithmeticMeanRank,
        Count,
        HitsAtK,
        InverseHarmonicMeanRank,
    )

    metrics = RankMetrics(hits=(1, 3, 5, 10))
    packs = []
    both = {"ranks": {}, "candidates": []}
    for seed, side in enumerate(("head", "tail")):
        counts = counts_of(300, seed)
        metrics.update(counts, side=side)
        greater, equal, candidates = (c.numpy() for c in counts)
        ranks = {"optimistic": greater + 1, "pessimistic": greater + equal + 1}
        ranks["realistic"] = (ranks["optimistic"] + ranks["pessimistic"]) / 2
        both["candidates"].append(candidates + 1)
        for rank_type, rank in ranks.items():
            packs.append(evaluation.RankPack(side, rank_type, rank, candidates + 1, None))
            both["ranks"].setdefault(rank_type, []).append(rank)
    size = np.concatenate(both["candidates"])
    for rank_type, parts in both["ranks"].items():
        packs.append(evaluation.RankPack("both", rank_type, np.concatenate(parts), size, None))
    theirs = evaluation.RankBasedMetricResults.from_ranks(
        metrics=[
            ArithmeticMeanRank(),
            InverseHarmonicMeanRank(),
            AdjustedArithmeticMeanRankIndex(),
            Count(),
            *(HitsAtK(k) for k in (1, 3, 5, 10)),
        ],
        rank_and_candidates=packs,
    )
    ours = metrics.compute()
    compared = 0
    for name, value in ours.to_dict().items():
        if "adjusted" in name and "realistic" not in name:
            continue  # PyKEEN defines it for realistic ranks only
        assert value == pytest.approx(theirs.get_metric(name), rel=1e-12, abs=1e-12), name
        compared += 1
    assert compared == 3 * 3 * 8 - 3 * 2


def test_amri_is_zero_at_chance_and_without_competitors():
    metrics = RankMetrics()
    for n in (3, 10, 50):  # every rank once
        zeros = torch.zeros(n, dtype=torch.int64)
        metrics.update([torch.arange(n), zeros, zeros + n - 1])
    assert metrics.compute()["amri"] == pytest.approx(0, abs=1e-12)
    alone = RankMetrics()
    alone.update([torch.zeros(4, dtype=torch.int64)] * 3)
    assert alone.compute()["amri"] == 0
    assert alone.compute()["mrr"] == 1


def test_by_relation_equals_separate_metrics():
    counts, relation = counts_of(200), torch.randint(0, 7, (200,)) * 3
    side = torch.randint(0, 2, (200,)) * 2
    metrics = RankMetrics()
    metrics.update(counts, side=side, relation=relation)
    report = metrics.compute()
    for where in ("both", "tail"):
        table = report.by_relation("pessimistic", side=where)
        rows = side >= 0 if where == "both" else side == 2
        assert sorted(table) == sorted(set(relation[rows].tolist()))
        for one, values in table.items():
            alone = RankMetrics()
            chosen = rows & (relation == one)
            alone.update([c[chosen] for c in counts])
            expected = alone.compute()
            for name, value in values.items():
                assert value == pytest.approx(expected[f"pessimistic.{name}"])
    with pytest.raises(ValueError, match="relation"):
        report.by_relation(side="relation")


def test_shards_merge_to_the_whole():
    counts = counts_of(100)
    whole, shards = RankMetrics(), [RankMetrics() for _ in range(3)]
    whole.update(counts, side="head", relation=torch.arange(100) % 4)
    for i, shard in enumerate(shards):
        rows = torch.arange(i, 100, 3)
        part = [c[rows] for c in counts]
        shard.update(part, side="head", relation=rows % 4)
    merged = RankMetrics().merge(shards[0]).merge(shards[1]).merge(shards[2])
    expected = whole.compute().to_dict()
    assert merged.compute().to_dict() == pytest.approx(expected)
    assert merged.compute().by_relation()[2] == pytest.approx(whole.compute().by_relation()[2])
    table = RankMetrics()
    table.update(whole.ranks)
    assert table.compute().to_dict() == expected


def test_protocols_do_not_mix_and_are_printed():
    ours = RankMetrics(protocol=Protocol(candidates="all 14 entities", filtered="train"))
    with pytest.raises(ValueError, match="all 14 entities"):
        ours.merge(RankMetrics(protocol=Protocol(candidates="100 sampled")))
    ours.update([torch.tensor([n]) for n in (1, 0, 13)], side="head")
    text = str(ours.compute())
    for part in ("all 14 entities", "train", "head", "realistic", "mrr"):
        assert part in text


def test_ordering_and_ranges_of_rank_types():
    ranks = Ranks(*counts_of(500), torch.zeros(500).long(), torch.zeros(500).long())
    assert (ranks.optimistic <= ranks.realistic).all()
    assert (ranks.realistic <= ranks.pessimistic).all()
    assert (ranks.pessimistic <= ranks.candidates + 1).all()
    assert {t: len(ranks.of(t)) for t in RANK_TYPES} == dict.fromkeys(RANK_TYPES, 500)
    assert len(Ranks.cat([])) == 0
    with pytest.raises(ValueError, match="median"):
        ranks.of("median")


def test_bad_input_is_named():
    metrics = RankMetrics()
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="at least one triple"):
        metrics.compute()
    with pytest.raises(ValueError, match="contradict"):
        metrics.update([one, one, one])
    with pytest.raises(ValueError, match="left"):
        metrics.update([one, one, one + 1], side="left")
    with pytest.raises(ValueError, match=r"\(2,\)"):
        metrics.update([one, one, one + 1], relation=torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="at least 1"):
        RankMetrics(hits=(0,))
    metrics.update([one, one, one + 1])
    with pytest.raises(KeyError, match="auc"):
        metrics.compute()["auc"]
    with pytest.raises(KeyError, match=r"tail\.mrr"):
        metrics.compute()["tail.mrr"]
    assert math.isfinite(metrics.compute()["both.mrr"])
