"""Linear probes against scikit-learn, separable and random embeddings, and poisoned test rows."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.multiclass import OneVsRestClassifier
from torch_geometric.data import Data

from graphcl.probes import Split, linear_probe, linear_probe_seeds, make_split
from graphcl.probes.logistic import log_likelihood, select_multinomial, stratified_folds

MODES = [("random10", "logistic"), ("bgrl20", "logistic"), ("random10", "adam")]
QUICK = {"logistic": {"grid": [2.0**-6, 0.25, 1.0, 16.0]}, "adam": {"epochs": 130, "lr": 0.05}}


def noisy(num_nodes=400, width=8, num_classes=4, noise=0.9, seed=1):
    """Class means plus noise: neither perfect nor hopeless."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(num_classes, (num_nodes,), generator=generator)
    means = torch.randn(num_classes, width, generator=generator)
    return means[y] + noise * torch.randn(num_nodes, width, generator=generator), y


def unit(z):
    return torch.nn.functional.normalize(z, dim=1).double().numpy()


@pytest.mark.parametrize(("protocol", "classifier"), MODES)
def test_labels_as_embeddings_are_read_without_error(protocol, classifier):
    y = torch.arange(300) % 5
    split = make_split(Data(y=y), protocol)
    z = torch.nn.functional.one_hot(y, 5).float()
    result = linear_probe(z, y, split, classifier=classifier, **QUICK[classifier])
    assert result.accuracy == result.micro_f1 == result.macro_f1 == 1.0
    assert result.validation_accuracy == 1.0
    assert result.protocol == protocol
    assert result.selection == ("cross-validation" if protocol == "bgrl20" else "validation")


@pytest.mark.parametrize(("protocol", "classifier"), MODES)
def test_random_embeddings_score_chance(protocol, classifier):
    y = torch.arange(2000) % 4
    z = torch.randn(2000, 8)
    split = make_split(Data(y=y), protocol)
    result = linear_probe(z, y, split, classifier=classifier, **QUICK[classifier])
    # 1600 test nodes: deviation 0.011.
    assert abs(result.accuracy - 0.25) < 0.05


@pytest.mark.parametrize(
    ("protocol", "classifier", "normalize"),
    [
        *((*mode, None) for mode in MODES),
        ("random10", "logistic", "standard"),
        ("random10", "adam", "standard"),
    ],
)
def test_selection_never_sees_test(protocol, classifier, normalize):
    z, y = noisy()
    split = make_split(Data(y=y), protocol, seed=2)
    options = {"classifier": classifier, "normalize": normalize, **QUICK[classifier]}
    clean = linear_probe(z, y, split, **options)
    poisoned_y, poisoned_z = y.clone(), z.clone()
    # Labels of a class that train has never seen, rows far outside the others.
    poisoned_y[split.test] = 9
    poisoned_z[split.test] = 1e3 * torch.randn(len(split.test), z.size(1))
    poisoned = linear_probe(poisoned_z, poisoned_y, split, **options)
    assert poisoned.selected == clean.selected
    assert poisoned.validation_accuracy == clean.validation_accuracy
    assert poisoned.accuracy == 0.0
    assert clean.accuracy > 0.4


@pytest.mark.parametrize("classifier", ["logistic", "adam"])
def test_validation_selects_but_is_not_fitted(classifier):
    z, y = noisy()
    split = make_split(Data(y=y), "random10")
    # One candidate leaves nothing to select, so validation must not matter at all.
    options = {"grid": [1.0]} if classifier == "logistic" else {"epochs": 20}
    clean = linear_probe(z, y, split, classifier=classifier, **options)
    wrong = y.clone()
    wrong[split.validation] = (wrong[split.validation] + 1) % 4
    other = linear_probe(z, wrong, split, classifier=classifier, **options)
    assert other.accuracy == clean.accuracy
    assert other.validation_accuracy != clean.validation_accuracy


def test_validation_decides_the_strength():
    z, y = noisy(num_nodes=1000)
    split = make_split(Data(y=y), "random10", seed=1)
    x, labels = unit(z), y.numpy()
    grid = [2.0**e for e in range(-10, 11, 2)]
    scores, guesses, tests = [], [], []
    for strength in grid:
        cold = LogisticRegression(C=strength, max_iter=5000, tol=1e-6).fit(
            x[split.train], labels[split.train]
        )
        chances = cold.predict_proba(x[split.validation])
        scores.append(-log_loss(labels[split.validation], chances, labels=cold.classes_))
        guesses.append(cold.predict(x[split.validation]))
        tests.append(cold.predict(x[split.test]))
    best = int(np.argmax(scores))
    assert len(set(scores)) > 3
    result = linear_probe(z, y, split)
    assert result.selected == {"C": grid[best]}
    right = (guesses[best] == labels[split.validation]).mean()
    assert result.validation_accuracy == pytest.approx(right, abs=0.02)
    truth = labels[split.test]
    assert result.accuracy == pytest.approx((tests[best] == truth).mean(), abs=2e-3)
    expected = f1_score(truth, tests[best], average="macro")
    assert result.macro_f1 == pytest.approx(expected, abs=2e-3)
    assert result.micro_f1 == result.accuracy


def test_ties_go_to_the_smaller_strength():
    rows, labels = np.eye(3).repeat(4, 0), np.arange(3).repeat(4)
    assert select_multinomial(rows, labels, lambda model: 0.5, [4.0, 16.0])[1:] == (0.5, 4.0)


def test_order_of_the_grid_does_not_matter():
    z, y = noisy()
    split = make_split(Data(y=y), "random10")
    shuffled = linear_probe(z, y, split, grid=[64.0, 0.25, 4.0])
    assert shuffled == linear_probe(z, y, split, grid=[0.25, 4.0, 64.0])


def test_log_likelihood_of_seen_and_unseen_classes():
    rows, labels = np.eye(3).repeat(4, 0), np.array([0, 2, 5]).repeat(4)
    model = LogisticRegression(C=1.0).fit(rows, labels)
    chances = model.predict_proba(rows)
    seen = np.mean([np.log(chances[i, [0, 2, 5].index(k)]) for i, k in enumerate(labels)])
    assert log_likelihood(model, rows, labels) == pytest.approx(seen)
    assert log_likelihood(model, rows[:2], np.array([1, 9])) == pytest.approx(np.log(1e-12))


def test_bgrl_probe_equals_a_grid_search_over_the_same_folds():
    z, y = noisy(num_nodes=500)
    split = make_split(Data(y=y), "bgrl20", seed=3)
    x, labels = unit(z), y.numpy()
    rows, fit_labels = x[split.train], labels[split.train]
    folds = stratified_folds(fit_labels, 5, seed=7)
    estimator = OneVsRestClassifier(
        LogisticRegression(solver="liblinear", tol=1e-3, max_iter=300, random_state=7)
    )
    search = GridSearchCV(
        estimator, {"estimator__C": [2.0**e for e in range(-10, 11)]}, cv=PredefinedSplit(folds)
    ).fit(rows, fit_labels)
    result = linear_probe(z, y, split, seed=7)
    assert result.selected == {"C": search.best_params_["estimator__C"]}
    # All folds hold 20 rows, so the mean of folds is the share of rows.
    assert result.validation_accuracy == pytest.approx(search.best_score_)
    assert result.accuracy == search.score(x[split.test], labels[split.test])


def test_folds_are_stratified_for_any_class_size():
    labels = np.repeat([4, 0, 7, 2], [53, 1, 3, 18])
    folds = stratified_folds(labels, 5, seed=0)
    assert np.ptp(np.bincount(folds, minlength=5)) <= 1
    for c in (4, 0, 7, 2):
        assert np.ptp(np.bincount(folds[labels == c], minlength=5)) <= 1
    assert not np.array_equal(folds, stratified_folds(labels, 5, seed=1))


@pytest.mark.parametrize("protocol", ["random10", "bgrl20"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_no_warning_is_raised(protocol, num_classes):
    y = torch.arange(200) % 2
    if num_classes == 3:
        y[:12] = 2  # so rare that folds lack it
    split = make_split(Data(y=y), protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe(torch.randn(200, 6) + y[:, None], y, split)


def test_adam_keeps_the_first_best_evaluated_epoch():
    z, y = noisy(noise=1.5)
    split = make_split(Data(y=y), "random10", seed=5)
    width, classes = z.size(1), 4
    layer = torch.nn.Linear(width, classes)
    limit = (6 / (width + classes)) ** 0.5
    with torch.no_grad():
        draw = torch.rand(classes, width, generator=torch.Generator().manual_seed(3))
        layer.weight.copy_(draw * 2 * limit - limit)
        layer.bias.zero_()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03, weight_decay=1e-3)
    history = []
    for epoch in range(1, 311):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(z[split.train]), y[split.train])
        loss.backward()
        optimizer.step()
        if epoch % 20 == 0 or epoch == 310:
            guess = layer(z).argmax(dim=1) == y
            history.append(
                (epoch, guess[split.validation].double().mean(), guess[split.test].double().mean())
            )
    best = max(history, key=lambda row: row[1])
    assert history[0][1] < best[1]
    result = linear_probe(
        z, y, split, classifier="adam", seed=3, epochs=310, lr=0.03, weight_decay=1e-3
    )
    assert result.selected == {"epoch": best[0]}
    assert result.validation_accuracy == pytest.approx(float(best[1]))
    assert result.accuracy == pytest.approx(float(best[2]), abs=5e-3)


def test_adam_ties_go_to_the_earlier_epoch():
    y = torch.arange(300) % 3
    z = 5 * torch.nn.functional.one_hot(y, 3).float()
    split = make_split(Data(y=y), "random10")
    result = linear_probe(z, y, split, classifier="adam", epochs=100, lr=0.5)
    assert result.selected == {"epoch": 20}


def test_adam_works_inside_inference_mode():
    z, y = noisy()
    split = make_split(Data(y=y), "random10")
    outside = linear_probe(z, y, split, classifier="adam", epochs=40)
    with torch.inference_mode():
        assert linear_probe(z * 1, y, split, classifier="adam", epochs=40) == outside


@pytest.mark.parametrize(("protocol", "classifier"), MODES)
def test_relabelling_nodes_changes_nothing(protocol, classifier):
    z, y = noisy()
    split = make_split(Data(y=y), protocol)
    new_name = torch.randperm(len(y))
    moved_z, moved_y = torch.empty_like(z), torch.empty_like(y)
    moved_z[new_name], moved_y[new_name] = z, y
    moved = dataclasses.replace(
        split,
        train=new_name[split.train],
        validation=new_name[split.validation],
        test=new_name[split.test],
    )
    options = {"classifier": classifier, **QUICK[classifier]}
    assert linear_probe(moved_z, moved_y, moved, **options) == linear_probe(z, y, split, **options)


def test_standardising_uses_train_rows_alone():
    z, y = noisy()
    z = z * torch.logspace(-3, 3, z.size(1)) + 50
    z = torch.cat([z, torch.full((len(z), 1), 2.5)], dim=1)
    split = make_split(Data(y=y), "random10", seed=1)
    by_hand = (z - z[split.train].mean(0)) / z[split.train].std(0, correction=0).clamp_min(1e-6)
    expected = linear_probe(by_hand, y, split, normalize="none")
    result = linear_probe(z, y, split, normalize="standard")
    assert result.accuracy == pytest.approx(expected.accuracy, abs=0.01)
    assert result.accuracy > linear_probe(z, y, split, normalize="l2").accuracy + 0.1


def test_inputs_are_not_changed_and_need_no_label_outside_the_split():
    z, y = noisy()
    y[::7] = -1
    split = make_split(Data(y=y), "random10")
    before = z.clone(), y.clone()
    column = linear_probe(z.requires_grad_(), y[:, None], split, grid=[1.0])
    assert torch.equal(z, before[0])
    assert torch.equal(y, before[1])
    assert column == linear_probe(z, y, split, grid=[1.0])


def test_half_precision_embeddings_are_read():
    y = torch.arange(100) % 2
    z = torch.nn.functional.one_hot(y, 2).bfloat16()
    for classifier in ("logistic", "adam"):
        split = make_split(Data(y=y), "random10")
        result = linear_probe(z, y, split, classifier=classifier, **QUICK[classifier])
        assert result.accuracy == 1.0


class TestErrors:
    z, y = noisy(num_nodes=100)
    split = make_split(Data(y=y), "random10")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_non_finite_embeddings(self, value):
        bad = self.z.clone()
        bad[[17, 40], 3] = value
        with pytest.raises(ValueError, match="2 of 100 rows, the first is row 17"):
            linear_probe(bad, self.y, self.split)

    def test_wrong_shapes(self):
        with pytest.raises(ValueError, match=r"shape \(100,\), got \(99,\)"):
            linear_probe(self.z, self.y[:-1], self.split)
        with pytest.raises(ValueError, match=r"\(N, D\), got \(100,\)"):
            linear_probe(self.z[:, 0], self.y, self.split)
        with pytest.raises(ValueError, match="embeddings have 50 rows"):
            linear_probe(self.z[:50], self.y[:50], self.split)

    def test_wrong_labels(self):
        with pytest.raises(ValueError, match=r"integer class numbers, got torch\.float32"):
            linear_probe(self.z, self.y.float(), self.split)
        unlabelled = self.y.clone()
        unlabelled[self.split.test[:3]] = -1
        with pytest.raises(ValueError, match="3 nodes without a label"):
            linear_probe(self.z, unlabelled, self.split)
        with pytest.raises(ValueError, match="single class 2"):
            linear_probe(self.z, torch.full_like(self.y, 2), self.split)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"classifier": "svm"}, "'svm'"),
            ({"normalize": "unit"}, "l2, standard, none, got 'unit'"),
            ({"grid": []}, r"grid must hold positive strengths C, got \[\]"),
            ({"grid": [1.0, 0.0]}, "grid must hold positive"),
            ({"classifier": "adam", "epochs": 0}, "epochs"),
        ],
    )
    def test_unknown_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            linear_probe(self.z, self.y, self.split, **options)

    @pytest.mark.parametrize("options", [{"classifier": "adam"}, {"normalize": "standard"}])
    def test_bgrl_protocol_fixes_its_probe(self, options):
        split = make_split(Data(y=self.y), "bgrl20")
        with pytest.raises(ValueError, match="protocol 'bgrl20' is"):
            linear_probe(self.z, self.y, split, **options)

    def test_too_few_rows_for_folds(self):
        order = torch.arange(20)
        with pytest.raises(ValueError, match="4 train nodes are too few"):
            linear_probe(
                self.z[:20],
                torch.arange(20) % 2,
                Split("bgrl20", order[:4], order[:0], order[4:]),
            )


def test_seeds_are_aggregated():
    z, y = noisy()
    data = Data(y=y)
    summary = linear_probe_seeds(z, data, "random10", [0, 1, 5], grid=[1.0, 4.0])
    singles = [
        linear_probe(z, y, make_split(data, "random10", seed=s), seed=s, grid=[1.0, 4.0])
        for s in (0, 1, 5)
    ]
    assert set(summary) == {"accuracy", "micro_f1", "macro_f1", "validation_accuracy"}
    for name, row in summary.items():
        values = [getattr(single, name) for single in singles]
        assert row["values"] == values
        assert row["mean"] == pytest.approx(sum(values) / 3)
        assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert summary["accuracy"]["std"] > 0


def test_one_seed_has_no_deviation_and_count_reaches_the_split():
    y = torch.arange(2200) % 2
    z = torch.nn.functional.one_hot(y, 2).float()
    summary = linear_probe_seeds(z, Data(y=y), "labels_per_class", [3], count=20, grid=[1.0])
    assert summary["accuracy"] == {"mean": 1.0, "std": 0.0, "values": [1.0]}
    with pytest.raises(ValueError, match="seeds is empty"):
        linear_probe_seeds(z, Data(y=y), "random10", [])
