import math

import pytest
import torch
from pykeen.losses import (
    InfoNCELoss,
    NoSampleWeightSupportError,
    UnsupportedLabelSmoothingError,
)

from kge.losses.hasa import HaSaLoss
from kge.losses.negative_mass import Columns, log_negative_mass

BATCH, WIDTH, STRUCTURAL = 5, 9, 3


def _scores(seed=0, batch=BATCH, width=WIDTH, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randn(batch, 1, dtype=torch.float64, generator=generator) * scale
    negative = torch.randn(batch, width, dtype=torch.float64, generator=generator) * scale
    return positive, negative


def _mask(seed=1):
    mask = torch.rand(BATCH, WIDTH, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[1, :-STRUCTURAL] = False  # no negative
    mask[2, -STRUCTURAL:] = False  # no structural candidate
    return mask


def _filtered(loss, positive, columns, mask):
    """As PyKEEN's loop calls a loss when the sampler masked columns."""
    return loss.process_slcwa_scores(
        positive_scores=positive,
        negative_scores=columns[mask],
        label_smoothing=0.0,
        batch_filter=mask,
        num_entities=100,
    )


def _by_hand(positive, columns, mask, *, beta, tau_plus, tau, margin, floor, structural):
    """The formulas of the paper, number by number."""
    losses = []
    for i in range(len(positive)):
        split = columns.shape[1] - structural
        s = [float(columns[i, j]) for j in range(split) if mask[i, j]]
        u = [float(columns[i, j]) for j in range(split, columns.shape[1]) if mask[i, j]]
        if not s:
            losses.append(0.0)
            continue
        total = sum(math.exp(beta * x) for x in s)
        hard = sum(math.exp(beta * x) / total * math.exp(x / tau) for x in s)
        share, hidden = 0.0, 0.0
        if u:
            share = tau_plus
            total = sum(math.exp(beta * x) for x in u)
            hidden = sum(math.exp(beta * x) / total * math.exp(x / tau) for x in u)
        least = {"relative": 0.01 * hard, "cosine": math.exp(-1 / tau), "zero": 0.0}[floor]
        left = hard - share * hidden
        g = len(s) / (1 - share) * (max(left, least) if u else hard)
        a = math.exp((float(positive[i, 0]) - margin) / tau)
        losses.append(-math.log(a / (a + g)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("floor", ["relative", "cosine", "zero"])
@pytest.mark.parametrize("tau_plus", [0.0, 0.05, 0.6])
@pytest.mark.parametrize("beta", [0.0, 0.7, 2.0])
@pytest.mark.spec(27)
def test_equals_the_formula_with_and_without_masks(beta, tau_plus, floor):
    positive, columns = _scores()
    options = {"beta": beta, "tau_plus": tau_plus, "margin": 0.1, "floor": floor}
    loss = HaSaLoss(num_structural=STRUCTURAL, temperature=0.8, **options)
    everything = torch.ones(BATCH, WIDTH, dtype=torch.bool)
    hand = {"structural": STRUCTURAL, "tau": 0.8, **options}
    dense = loss.process_slcwa_scores(positive_scores=positive, negative_scores=columns)
    assert float(dense) == pytest.approx(_by_hand(positive, columns, everything, **hand))
    sparse = _filtered(loss, positive, columns, _mask())
    assert float(sparse) == pytest.approx(_by_hand(positive, columns, _mask(), **hand))


@pytest.mark.spec(1)
def test_without_weights_and_correction_it_is_infonce():
    positive, columns = _scores(2)
    ours = HaSaLoss(beta=0.0, tau_plus=0.0, temperature=0.05, margin=0.02, num_structural=0)
    theirs = InfoNCELoss(margin=0.02, log_adversarial_temperature=math.log(0.05))
    expected = theirs.process_slcwa_scores(positive_scores=positive, negative_scores=columns)
    found = ours.process_slcwa_scores(positive_scores=positive, negative_scores=columns)
    assert abs(found - expected) < 1e-10
    mask = torch.rand(BATCH, WIDTH) < 0.5
    mask[:, 0] = True
    assert (
        abs(_filtered(ours, positive, columns, mask) - _filtered(theirs, positive, columns, mask))
        < 1e-10
    )


@pytest.mark.spec(3)
def test_structural_columns_equal_to_the_negatives_change_nothing():
    positive, columns = _scores(3)
    both = torch.cat((columns, columns), 1)
    for tau_plus in (0.01, 0.5, 0.9):
        for beta in (0.0, 1.5):
            with_, without = (
                HaSaLoss(beta=beta, tau_plus=tau_plus, num_structural=count) for count in (WIDTH, 0)
            )
            a = with_.process_slcwa_scores(positive_scores=positive, negative_scores=both)
            b = without.process_slcwa_scores(positive_scores=positive, negative_scores=columns)
            assert float(a) == pytest.approx(float(b), abs=1e-12)


@pytest.mark.spec(4)
def test_infinite_beta_leaves_the_hardest_negative_n_times():
    _, columns = _scores(4)
    everything = torch.ones_like(columns, dtype=torch.bool)
    mass = log_negative_mass(Columns(columns, everything), None, beta=1e6, tau=0.5)
    expected = math.log(WIDTH) + columns.max(1).values / 0.5
    assert torch.allclose(mass, expected, atol=1e-9)


@pytest.mark.spec(5)
def test_shift_of_all_scores_of_a_row():
    positive, columns = _scores(5)
    shift = torch.tensor([[100.0], [-50.0], [3.0], [0.0], [1e4]], dtype=torch.float64)
    for floor, same in (("relative", True), ("cosine", False)):
        loss = HaSaLoss(tau_plus=0.9, num_structural=STRUCTURAL, floor=floor)
        a = loss.process_slcwa_scores(positive, columns)
        b = loss.process_slcwa_scores(positive + shift, columns + shift)
        assert torch.allclose(a, b, atol=1e-8) == same


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("floor", ["relative", "cosine", "zero"])
@pytest.mark.spec(6)
def test_huge_scores_are_finite(dtype, floor):
    positive, columns = (scores.to(dtype) * 1e5 for scores in _scores(6))
    positive.requires_grad_()
    columns.requires_grad_()
    loss = HaSaLoss(beta=1.0, tau_plus=0.1, temperature=0.05, num_structural=3, floor=floor)
    value = _filtered(loss, positive, columns, _mask())
    value.backward()
    assert value.isfinite()
    assert positive.grad.isfinite().all()
    assert columns.grad.isfinite().all()


def _gradients(loss, positive, columns, mask=None):
    positive, columns = positive.clone().requires_grad_(), columns.clone().requires_grad_()
    if mask is None:
        loss.process_slcwa_scores(positive, columns).backward()
    else:
        _filtered(loss, positive, columns, mask).backward()
    return positive.grad, columns.grad


@pytest.mark.spec(7)
def test_signs_of_the_gradient():
    positive, columns = _scores(7)
    up, down = _gradients(HaSaLoss(tau_plus=0.05, num_structural=3), positive, columns)
    assert (up < 0).all()
    assert (down[:, :-3] > 0).all()
    assert (down[:, -3:] < 0).all()
    _, plain = _gradients(HaSaLoss(tau_plus=0.0, num_structural=3), positive, columns)
    assert (plain[:, -3:] == 0).all()
    columns[:, -3:] += 50  # the correction exceeds the mass: floored
    _, floored = _gradients(HaSaLoss(tau_plus=0.3, num_structural=3), positive, columns)
    assert (floored[:, -3:] == 0).all()
    assert (floored[:, :-3] > 0).all()
    zero = HaSaLoss(tau_plus=0.3, num_structural=3, floor="zero")
    assert zero.process_slcwa_scores(positive, columns) == 0
    assert all((gradient == 0).all() for gradient in _gradients(zero, positive, columns))


def test_masked_rows_have_no_loss_and_no_gradient():
    positive, columns = _scores(8)
    mask = _mask()
    loss = HaSaLoss(tau_plus=0.2, num_structural=STRUCTURAL, reduction="sum")
    up, down = _gradients(loss, positive, columns, mask)
    assert up[1] == 0
    assert (down[1] == 0).all()
    assert (down[~mask] == 0).all()
    rest = torch.tensor([0, 2, 3, 4])
    assert float(_filtered(loss, positive, columns, mask)) == pytest.approx(
        float(_filtered(loss, positive[rest], columns[rest], mask[rest]))
    )
    nothing = torch.zeros_like(mask)
    assert _filtered(loss, positive, columns, nothing) == 0
    assert all((g == 0).all() for g in _gradients(loss, positive, columns, nothing))


def test_a_row_without_structural_candidates_is_not_corrected():
    positive, columns = _scores(9)
    mask = torch.ones(BATCH, WIDTH, dtype=torch.bool)
    mask[:, -3:] = False
    with_ = HaSaLoss(tau_plus=0.2, num_structural=3)
    without = HaSaLoss(tau_plus=0.0, num_structural=0)
    assert float(_filtered(with_, positive, columns, mask)) == pytest.approx(
        float(without.process_slcwa_scores(positive, columns[:, :-3])), abs=1e-12
    )


@pytest.mark.spec(9)
def test_gradient_treats_weights_as_constants():
    positive, columns = _scores(10)
    beta, tau_plus = 1.3, 0.1
    split = WIDTH - 3
    w = (beta * columns[:, :split]).softmax(1)
    v = (beta * columns[:, split:]).softmax(1)

    def frozen(positive, columns):
        g = (
            split
            / (1 - tau_plus)
            * (
                (w * columns[:, :split].exp()).sum(1)
                - tau_plus * (v * columns[:, split:].exp()).sum(1)
            )
        )
        return (g + positive[:, 0].exp()).log().sub(positive[:, 0]).mean()

    a, b = positive.clone().requires_grad_(), columns.clone().requires_grad_()
    frozen(a, b).backward()
    ours = _gradients(HaSaLoss(beta=beta, tau_plus=tau_plus, num_structural=3), positive, columns)
    assert torch.allclose(ours[0], a.grad, atol=1e-14)
    assert torch.allclose(ours[1], b.grad, atol=1e-14)


@pytest.mark.parametrize("floor", ["relative", "cosine"])
@pytest.mark.parametrize("reverse", ["joint", "plain", "corrected"])
def test_gradcheck(floor, reverse):
    # With beta = 0 no weight depends on scores, so that numeric differences see the same.
    positive, columns = _scores(11, width=10)
    mask = torch.rand(BATCH, 10, generator=torch.Generator().manual_seed(0)) < 0.7
    loss = HaSaLoss(beta=0.0, tau_plus=0.3, num_structural=4, floor=floor, reverse=reverse)

    def value(positive, columns):
        return _filtered(loss, positive, columns, mask)

    inputs = (positive.requires_grad_(), columns.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.spec(8)
def test_order_of_negatives_and_of_structural_columns_does_not_matter():
    positive, columns = _scores(12)
    loss = HaSaLoss(tau_plus=0.1, num_structural=3)
    shuffled = torch.cat((columns[:, :6].flip(1), columns[:, [7, 8, 6]]), 1)
    a, b = (loss.process_slcwa_scores(positive, c) for c in (columns, shuffled))
    assert float(a) == pytest.approx(float(b), abs=1e-12)


@pytest.mark.spec(10)
def test_tau_plus_lowers_the_loss_where_structural_scores_are_high():
    positive, columns = _scores(13)

    def value(shift, tau_plus):
        moved = columns.clone()
        moved[:, -3:] = columns[:, :-3].max(1, keepdim=True).values + shift
        return float(
            HaSaLoss(tau_plus=tau_plus, num_structural=3).process_slcwa_scores(positive, moved)
        )

    assert value(0.5, 0.05) < value(0.5, 0.02) < value(0.5, 0.0)
    assert value(-9.0, 0.05) > value(-9.0, 0.02) > value(-9.0, 0.0)


@pytest.mark.spec(11)
def test_mass_grows_with_the_count_of_negatives_not_with_the_width_of_the_embeddings():
    _, columns = _scores(14)
    mask = _mask()
    once = log_negative_mass(Columns(columns, mask), None, beta=1.0)
    twice = log_negative_mass(
        Columns(torch.cat((columns, columns), 1), torch.cat((mask, mask), 1)), None, beta=1.0
    )
    assert torch.allclose(twice, once + math.log(2))  # bug 1.4-1: N is a count
    # Scores do not change when vectors are padded with zeros, and the loss sees nothing else.
    with pytest.raises(TypeError, match="positional"):
        HaSaLoss(500)


@pytest.mark.spec(13)
def test_weights_are_those_of_raw_scores():
    # Bug 1.4-2: normalising the scores first leaves weights that hardly differ.
    scores = torch.zeros(1, 50, dtype=torch.float64)
    scores[0, -1] = 10.0
    scores.requires_grad_()
    mask = torch.ones(1, 50, dtype=torch.bool)
    log_negative_mass(Columns(scores, mask), None, beta=1.0, tau=1e9).sum().backward()
    share = scores.grad / scores.grad.sum()  # at a huge temperature, exactly the weights
    assert float(share[0, -1]) == pytest.approx(math.exp(10) / (math.exp(10) + 49), abs=1e-6)


@pytest.mark.spec(14)
def test_float32_is_accurate_and_sub_batches_add_up():
    positive, columns = _scores(15, batch=64, scale=0.5)
    loss = HaSaLoss(tau_plus=0.02, temperature=0.05, beta=2.0, num_structural=3)
    exact = loss.process_slcwa_scores(positive, columns)
    rough = loss.process_slcwa_scores(positive.float(), columns.float())
    assert float(abs(rough - exact) / exact) < 1e-5
    whole = _gradients(loss, positive, columns)
    for part in (slice(0, 20), slice(20, 64)):
        up, down = _gradients(loss, positive[part], columns[part])
        size = part.stop - part.start
        assert torch.allclose(up * size / 64, whole[0][part], atol=1e-15)
        assert torch.allclose(down * size / 64, whole[1][part], atol=1e-15)


@pytest.mark.parametrize("reverse", ["plain", "corrected"])
@pytest.mark.parametrize("structural", [0, 3, 4])
def test_reverse_adds_the_loss_of_the_odd_columns(reverse, structural):
    positive, columns = _scores(16, width=12)
    options = {"beta": 0.8, "tau_plus": 0.1, "margin": 0.2}
    loss = HaSaLoss(num_structural=structural, reverse=reverse, **options)
    split = 12 - structural
    tails = [j for j in range(12) if j % 2 == 0]
    heads = [j for j in range(12) if j % 2]
    every = torch.ones(BATCH, 6, dtype=torch.bool)
    hand = {"tau": 1.0, "floor": "relative", **options}
    count = sum(j >= split for j in tails)
    expected = _by_hand(positive, columns[:, tails], every, structural=count, **hand)
    count = sum(j >= split for j in heads)
    if reverse == "corrected":
        expected += _by_hand(positive, columns[:, heads], every, structural=count, **hand)
    else:
        heads = heads[: len(heads) - count]
        hand |= {"beta": 0.0, "tau_plus": 0.0}
        expected += _by_hand(
            positive, columns[:, heads], every[:, : len(heads)], structural=0, **hand
        )
    assert float(loss.process_slcwa_scores(positive, columns)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="even number of columns, got 11"):
        loss.process_slcwa_scores(positive, columns[:, :11])


@pytest.mark.spec(15)
def test_official_compat_on_a_two_by_two_example():
    # Two queries, two negatives each, one structural candidate; embeddings of width 4.
    positive = torch.tensor([[1.5], [2.0]], dtype=torch.float64)
    columns = torch.tensor([[0.6, 0.8, 0.3], [0.0, -1.0, 5.0]], dtype=torch.float64)
    loss = HaSaLoss(
        compat="official",
        beta=1,
        temperature=1,
        floor="zero",
        margin=1.0,
        tau_plus=0.5,
        num_structural=1,
        width=4,
        reduction="sum",
    )
    length = math.sqrt(1.5**2 + 0.6**2 + 0.8**2)
    e = [math.exp(-10), math.exp(0.6 / length), math.exp(0.8 / length)]
    mass = (e[1] * math.exp(0.6) + e[2] * math.exp(0.8)) / sum(e) - 0.5 * math.exp(0.3)
    first = math.log(1 + 4 / (1 - 0.5) * mass / math.exp(1.5 - 1))
    # In the second row the correction exceeds the mass: clamped to 0, no loss.
    assert float(loss.process_slcwa_scores(positive, columns)) == pytest.approx(first, abs=1e-12)
    alone = HaSaLoss(
        compat="official", beta=1, temperature=1, floor="zero", margin=1.0, tau_plus=0.0, width=4
    )
    length = math.sqrt(2.0**2 + 1)
    e = [math.exp(-10), 1.0, math.exp(-1 / length)]
    mass = (e[1] + e[2] * math.exp(-1)) / sum(e)
    expected = math.log(1 + 4 * mass / math.exp(1.0))
    found = alone.process_slcwa_scores(positive[1:], columns[1:, :2])
    assert float(found) == pytest.approx(expected, abs=1e-12)
    # Official weights hardly differ, whatever the scores; ours do.
    spread = torch.zeros(1, 50, dtype=torch.float64)
    spread[0, -1] = 10
    low, high = (
        float(one.process_slcwa_scores(positive[:1], spread))
        for one in (
            HaSaLoss(
                compat="official", beta=1, temperature=1, floor="zero", tau_plus=0.0, width=50
            ),
            HaSaLoss(beta=1, tau_plus=0.0),
        )
    )
    assert low < high - 2


def test_lcwa_scores_are_hard_infonce_over_all_that_is_not_true():
    predictions = torch.randn(3, 7, dtype=torch.float64)
    labels = torch.zeros(3, 7)
    labels[0, 2] = labels[1, 0] = labels[1, 5] = 1.0
    loss = HaSaLoss(beta=0.6, temperature=0.7, margin=0.1)
    expected = []
    for i in range(3):
        true = [j for j in range(7) if labels[i, j]]
        negative = predictions[i, [j for j in range(7) if j not in true]][None]
        every = torch.ones_like(negative, dtype=torch.bool)
        hand = {"beta": 0.6, "tau_plus": 0.0, "tau": 0.7, "margin": 0.1, "floor": "relative"}
        losses = [
            _by_hand(predictions[i, j].view(1, 1), negative, every, structural=0, **hand)
            for j in true
        ]
        expected.append(sum(losses) / max(1, len(losses)))
    found = loss.process_lcwa_scores(predictions=predictions, labels=labels, num_entities=7)
    assert float(found) == pytest.approx(sum(expected) / 3)
    full = torch.ones(1, 7)  # nothing is false: nothing to contrast
    predictions.requires_grad_()
    loss.process_lcwa_scores(predictions=predictions[:1], labels=full).backward()
    assert (predictions.grad == 0).all()


def test_estimated_tau_plus_is_a_buffer():
    positive, columns = _scores(17)
    loss = HaSaLoss(num_structural=3)
    assert loss.needs_estimate
    with pytest.raises(ValueError, match="bindmodel"):
        loss.process_slcwa_scores(positive, columns)
    loss.tau_plus_estimate.fill_(0.07)
    other = HaSaLoss(num_structural=3)
    other.load_state_dict(loss.state_dict())
    fixed = HaSaLoss(num_structural=3, tau_plus=0.07)
    assert not other.needs_estimate
    assert float(other.process_slcwa_scores(positive, columns)) == pytest.approx(
        float(fixed.process_slcwa_scores(positive, columns)), abs=1e-7
    )
    # Without structural columns nothing needs it.
    assert HaSaLoss().process_slcwa_scores(positive, columns).isfinite()


def test_what_the_loss_cannot_do_is_named():
    positive, columns = _scores(18)
    for options, message in (
        ({"beta": -1.0}, "beta"),
        ({"beta": math.inf}, "beta"),
        ({"tau_plus": 1.0}, "tau_plus"),
        ({"tau_plus": "guess"}, "tau_plus"),
        ({"num_structural": -1}, "num_structural"),
        ({"temperature": 0.0}, "temperature"),
        ({"margin": -0.1}, "margin"),
        ({"floor": "none"}, "floor"),
        ({"reverse": "yes"}, "reverse"),
        ({"compat": "paper"}, "compat"),
        ({"compat": "official", "floor": "relative"}, "compat='official' needs"),
        ({"width": 0}, "width"),
    ):
        with pytest.raises(ValueError, match=message):
            HaSaLoss(**options)
    with pytest.raises(ValueError, match="num_structural=9 leaves no negative of 9"):
        HaSaLoss(num_structural=9, tau_plus=0.1).process_slcwa_scores(positive, columns)
    loss = HaSaLoss()
    with pytest.raises(UnsupportedLabelSmoothingError):
        loss.process_slcwa_scores(positive, columns, label_smoothing=0.1)
    with pytest.raises(NoSampleWeightSupportError):
        loss.process_slcwa_scores(positive, columns, pos_weights=torch.ones(BATCH, 1))
    with pytest.raises(NoSampleWeightSupportError):
        loss.process_lcwa_scores(columns, columns > 0, weights=torch.ones_like(columns))


def test_a_score_of_nan_is_not_left_out() -> None:
    """Training has to notice it."""
    positive = torch.zeros(2, 1)
    negative = torch.zeros(2, 3)
    negative[1, 2] = torch.nan
    assert torch.isnan(HaSaLoss().process_slcwa_scores(positive, negative))


def test_the_official_form_brings_its_floor() -> None:
    assert HaSaLoss(compat="official").floor == "zero"
    assert HaSaLoss().floor == "relative"
