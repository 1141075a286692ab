"""Figures of samplers, and the negatives of one triple."""

import math

import numpy as np
import pytest
import torch

from graphcl.ranking import KnownTriples
from kge.sampling.corruptions import as_known, corrupted
from kge.sampling.draw_counts import DrawCounts
from kge.sampling.entropy import entropy_bits
from kge.sampling.offers import describe_negatives
from kge.sampling.report import sampler_report


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYSTOW_HOME", str(tmp_path / "pystow"))


@pytest.fixture(scope="module")
def scripted():
    """A sampler that puts fixed entities in place of the tail, the last one masked."""
    from pykeen.sampling import NegativeSampler

    class ScriptedSampler(NegativeSampler):
        tails = (4, 5, 5, 6)

        def corrupt_batch(self, positive_batch):
            negatives = positive_batch[:, None].repeat(1, self.num_negs_per_pos, 1)
            negatives[..., 2] = torch.tensor(self.tails)
            return negatives

        def sample(self, positive_batch):
            negatives = self.corrupt_batch(positive_batch)
            return negatives, negatives[..., 2] != 6

    def make(**kwargs):
        triples = torch.tensor([[0, 0, 1], [2, 0, 3]])
        return ScriptedSampler(mapped_triples=triples, num_entities=8, num_negs_per_pos=4, **kwargs)

    return make


POSITIVES = torch.tensor([[0, 0, 1], [2, 0, 3]])


def test_rates_of_a_scripted_sampler(scripted):
    known = {
        "train": POSITIVES,
        "valid": torch.tensor([[0, 0, 5], [2, 0, 5], [0, 0, 7]]),  # 5 is half of the proposals
        "test": KnownTriples(torch.tensor([[0, 0, 6], [2, 0, 6]])),  # 6 is masked
    }
    report = sampler_report(scripted(), POSITIVES, known, num_negatives=6000)
    assert report.sampler == "ScriptedSampler"
    assert report.negatives == 6000
    assert report.known_rate == {"train": 0, "valid": 0.5, "test": 0.25}
    assert report.kept_known_rate == {"train": 0, "valid": 2 / 3, "test": 0}
    assert report.masked_rate == pytest.approx(0.25)
    # One of three kept is 4, two are 5, for all and for each row.
    bits = math.log2(3) - 2 / 3
    assert report.entropy == pytest.approx(bits, abs=1e-3)
    assert report.row_entropy == pytest.approx(bits, abs=2e-3)
    assert report.effective_entities == pytest.approx(2**bits, rel=1e-2)
    assert report.triples_per_second > 0
    assert report.rejected_rate is None
    assert report.uniform_rate is None


def test_rates_equal_a_loop_for_pykeens_sampler():
    from pykeen.datasets import UMLS
    from pykeen.sampling import BasicNegativeSampler

    data = UMLS()
    train, test = data.training.mapped_triples, data.testing.mapped_triples
    sampler = BasicNegativeSampler(
        mapped_triples=train, num_entities=135, num_relations=46, num_negs_per_pos=10
    )
    state = torch.get_rng_state()
    report = sampler_report(sampler, train, {"train": train, "test": test}, num_negatives=50_000)
    assert (torch.get_rng_state() == state).all()
    # The chance that one uniform corruption is true, side by side.
    expected = {}
    for name, triples in (("train", train), ("test", test)):
        rows = set(map(tuple, triples.tolist()))
        by_head, by_tail = {}, {}
        for h, r, t in rows:
            by_head.setdefault((h, r), set()).add(t)
            by_tail.setdefault((r, t), set()).add(h)
        share = 0.0
        for h, r, t in train.tolist():
            share += len(by_head.get((h, r), set()) - {t}) + len(by_tail.get((r, t), set()) - {h})
        expected[name] = share / (2 * 134 * len(train))
    for name, rate in expected.items():
        deviation = math.sqrt(rate / report.negatives)
        # Negatives of one positive are not independent of each other.
        assert report.known_rate[name] == pytest.approx(rate, abs=12 * deviation)
    assert report.kept_known_rate["train"] > 0  # it does not filter
    assert report.effective_entities == pytest.approx(135, rel=0.02)
    assert report.row_effective_entities == pytest.approx(134, rel=0.05)


def test_a_filtered_sampler_keeps_no_known_triple():
    from pykeen.datasets import UMLS
    from pykeen.sampling import BasicNegativeSampler

    train = UMLS().training.mapped_triples
    sampler = BasicNegativeSampler(
        mapped_triples=train, num_entities=135, num_relations=46, num_negs_per_pos=10,
        filtered=True, filterer="python-set",
    )  # fmt: skip
    report = sampler_report(sampler, train, {"train": train}, num_negatives=3000, num_rows=2)
    assert report.known_rate["train"] > 0.01
    assert report.kept_known_rate["train"] == 0
    assert report.masked_rate > 0.01


def test_lemon_reports_what_fell_back_and_where_it_draws_from():
    from kge.sampling.lemon import LEMONNegativeSampler

    # Entity 9 is alone in its cluster; the others are two clusters of 4 and 5.
    labels = [0] * 4 + [1] * 5 + [2]
    triples = torch.tensor([[0, 0, 1], [9, 0, 4]])
    sampler = LEMONNegativeSampler(
        mapped_triples=triples, num_entities=10, num_negs_per_pos=8, labels=labels, n_near=1,
        anchor="replaced",
    )  # fmt: skip
    report = sampler_report(sampler, triples, {"train": triples}, num_negatives=40_000)
    assert report.uniform_rate == pytest.approx(1 / 4, abs=0.02)  # the head of one of two rows
    assert report.rejected_rate == 0
    # Heads: of 3 members, and uniform over 9; tails: of 3 and of 4 members.
    bits = np.mean(np.log2([3, 9, 3, 4]))
    assert report.row_entropy == pytest.approx(bits, abs=0.02)
    assert report.kept_known_rate["train"] == 0
    assert sampler.draw_counts.slots > report.negatives


def test_hasa_reports_what_was_known_and_what_was_not_mined():
    from kge.sampling.hasa import HaSaNegativeSampler

    # Heads (?, 0, 1) and tails (0, 0, ?) are known for three of four entities; one is left.
    triples = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 0, 3], [1, 0, 1], [2, 0, 1]])
    sampler = HaSaNegativeSampler(
        mapped_triples=triples, num_negs_per_pos=2, num_structural=0, hard_share=0
    )
    report = sampler_report(sampler, triples[:1], {"train": triples}, num_negatives=4000)
    assert report.rejected_rate == pytest.approx(3 / 4, abs=0.03)
    assert report.uniform_rate == 0  # nothing was meant to be mined
    assert report.kept_known_rate["train"] == 0


def test_reports_repeat_themselves():
    from kge.sampling.lemon import LEMONNegativeSampler

    sampler = LEMONNegativeSampler(
        mapped_triples=POSITIVES, num_entities=4, num_negs_per_pos=3, labels=[0, 0, 1, 1], n_near=1
    )
    first, again = (
        sampler_report(sampler, POSITIVES, {"train": POSITIVES}, num_negatives=500)
        for _ in range(2)
    )
    assert first.entropy == again.entropy
    assert first.known_rate == again.known_rate


@pytest.mark.parametrize(
    ("positives", "kwargs", "message"),
    [
        (torch.zeros(0, 3, dtype=torch.long), {}, "positives"),
        (torch.zeros(3, dtype=torch.long), {}, "positives"),
        (POSITIVES, {"num_negatives": 0}, "num_negatives"),
        (POSITIVES, {"num_rows": 0}, "num_rows"),
    ],
)
def test_bad_arguments_are_named(scripted, positives, kwargs, message):
    with pytest.raises(ValueError, match=message):
        sampler_report(scripted(), positives, {}, **kwargs)


# -- entropy


@pytest.mark.parametrize(
    ("outcomes", "draws"), [(10, 1024), (1000, 1024), (5000, 1024), (2000, 100_000)]
)
def test_entropy_of_uniform_draws(outcomes, draws):
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.randint(outcomes, (draws,), generator=generator))
    assert entropy_bits(counts).item() == pytest.approx(math.log2(outcomes), abs=0.2)


def test_entropy_of_unequal_draws_and_of_groups():
    share = 1 / torch.arange(1, 2001, dtype=torch.float64)
    share /= share.sum()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(share, 20_000, replacement=True, generator=generator)
    counts = torch.bincount(drawn, minlength=2000)
    bits = -(share * share.log2()).sum().item()
    assert entropy_bits(counts).item() == pytest.approx(bits, abs=0.05)
    both = entropy_bits(
        torch.cat((counts, torch.tensor([7, 300, 300]))),
        torch.cat((torch.zeros(2000, dtype=torch.long), torch.tensor([2, 1, 1]))),
    )
    assert both.tolist() == [
        pytest.approx(entropy_bits(counts).item()),
        pytest.approx(1, abs=0.01),
        0,
    ]


def test_entropy_equals_the_published_sum():
    counts = torch.tensor([5, 3, 2, 2, 1, 1, 1, 0])
    n, once, twice = 15, 3, 2
    nats = sum(c / n * sum(1 / k for k in range(c, n)) for c in counts.tolist() if c)
    a = 2 * twice / ((n - 1) * once + 2 * twice)
    tail = -math.log(a) - sum((1 - a) ** r / r for r in range(1, n))
    nats += once / n * (1 - a) ** (1 - n) * tail
    assert entropy_bits(counts).item() == pytest.approx(nats / math.log(2), rel=1e-5)


def test_entropy_of_nothing_and_of_one():
    assert entropy_bits(torch.zeros(4, dtype=torch.long)).item() == 0
    assert entropy_bits(torch.tensor([1])).item() == 0
    assert entropy_bits(torch.tensor([0, 9])).item() == 0


# -- one triple


def test_descriptions_tell_all_that_is_known(scripted):
    texts = [f"text {i}" for i in range(8)]
    offered = describe_negatives(
        scripted(),
        (0, 0, 1),
        known={"train": POSITIVES, "test": torch.tensor([[0, 0, 5]])},
        texts=texts,
        clusters=[0, 0, 1, 1, 2, -1, 3, 3],
        hops=lambda sources, targets: torch.where(targets == 4, 2, -1) + 0 * sources,
        score=lambda triples: triples.sum(1, keepdim=True).float(),
    )
    assert [one.entity for one in offered] == [5, 4]  # most frequent first; 6 is masked
    five, four = offered
    assert five.side == four.side == "tail"
    assert five.triple == (0, 0, 5)
    assert five.share == pytest.approx(2 / 3)
    assert (five.text, five.cluster, five.hops, five.score) == ("text 5", None, None, 5.0)
    assert (four.text, four.cluster, four.hops, four.score) == ("text 4", 2, 2, 4.0)
    assert five.known == ("test",)
    assert four.known == ()
    proposals = describe_negatives(scripted(), [0, 0, 1], filtered=False, num=2)
    assert [one.entity for one in proposals] == [5, 4]
    assert describe_negatives(scripted(), [0, 0, 1], filtered=False)[-1].entity == 6
    assert proposals[0].text is proposals[0].score is proposals[0].hops is None


def test_descriptions_of_both_sides_are_bounded_and_leave_no_trace():
    from pykeen.datasets import Nations
    from pykeen.sampling import BasicNegativeSampler, BernoulliNegativeSampler

    train = Nations().training.mapped_triples
    state = torch.get_rng_state()
    for cls in (BasicNegativeSampler, BernoulliNegativeSampler):
        sampler = cls(mapped_triples=train, num_entities=14, num_relations=55, num_negs_per_pos=4)
        offered = describe_negatives(sampler, train[7], num=5, known={"train": train})
        for side in ("head", "tail"):
            some = [one for one in offered if one.side == side]
            assert len({one.entity for one in some}) == len(some) == 5
            assert [one.share for one in some] == sorted((o.share for o in some), reverse=True)
        rows = set(map(tuple, train.tolist()))
        assert all((one.known == ("train",)) == (one.triple in rows) for one in offered)
    assert (torch.get_rng_state() == state).all()


def test_hops_of_the_structure_index_fit():
    structure = pytest.importorskip("kge.structure")
    from kge.sampling.lemon import LEMONNegativeSampler

    triples = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 0, 3], [4, 0, 5]])
    index = structure.StructureIndex(triples, num_entities=6, num_relations=1)
    sampler = LEMONNegativeSampler(
        mapped_triples=triples, num_entities=6, num_negs_per_pos=4, labels=[0] * 6, n_near=1
    )
    offered = describe_negatives(sampler, (0, 0, 1), hops=index.distances)
    tails = {one.entity: one.hops for one in offered if one.side == "tail"}
    assert tails == {2: 2, 3: None, 4: None, 5: None}


def test_corruptions_are_located():
    positives = torch.tensor([[0, 0, 1]])
    negatives = torch.tensor([[[3, 0, 1], [0, 0, 4], [0, 0, 1]]])
    entity, column = corrupted(positives, negatives)
    assert entity.tolist() == [[3, 4, -1]]
    assert column.tolist() == [[0, 2, -1]]


def test_known_sets_may_be_tensors():
    known = KnownTriples(POSITIVES)
    assert as_known(known) is known
    assert len(as_known(POSITIVES)) == 2


def test_counts_are_differences():
    counts = DrawCounts()
    counts.add(10, 2, 1)
    before = DrawCounts(counts.slots, counts.rejected, counts.uniform)
    counts.add(5, 1, 0)
    assert counts.since(before) == DrawCounts(5, 1, 0)


def test_what_a_batch_shares_is_drawn_anew_for_each_look() -> None:
    """HaSa's pool of a batch and of a row differ in what one batch holds, not in what comes."""
    from pykeen.models import DistMult
    from pykeen.triples import CoreTriplesFactory

    from kge.sampling.hasa import HaSaNegativeSampler

    generator = torch.Generator().manual_seed(0)
    triples = torch.randint(400, (300, 3), generator=generator) * torch.tensor([1, 0, 1])
    factory = CoreTriplesFactory(triples, num_entities=400, num_relations=1)
    model = DistMult(triples_factory=factory, embedding_dim=4, random_seed=0)

    class Loop:
        def __init__(self) -> None:
            self.model, self.loss, self.mode = model, model.loss, None

    loop, found = Loop(), {}
    for mining in ("lists", "pool", "row_pool"):
        sampler = HaSaNegativeSampler(
            mapped_triples=triples,
            num_entities=400,
            num_relations=1,
            num_negs_per_pos=8,
            hard_share=1.0,
            pool_size=12,
            mining=mining,  # type: ignore[arg-type]
        )
        sampler.bind(loop)  # type: ignore[arg-type]
        found[mining] = sampler_report(sampler, triples, {"train": triples}, num_negatives=8000)
        if mining != "lists":  # a list is of one pool, until it is renewed
            offered = describe_negatives(sampler, triples[0], num=400, draws=800)
            assert len([one for one in offered if one.side == "tail"]) > 60  # of several pools
        # What is mined without a filter may be known.
        assert found[mining].known_rate["train"] > 0
        assert found[mining].kept_known_rate["train"] == 0
    assert found["pool"].row_entropy == pytest.approx(found["row_pool"].row_entropy, rel=0.05)
    assert found["pool"].entropy == pytest.approx(found["row_pool"].entropy, rel=0.05)
