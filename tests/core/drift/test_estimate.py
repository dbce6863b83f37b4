"""Performance without labels: by hand, against the truth under covariate shift, where it refuses, where it is wrong."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from evergreen.tasks.core.drift.estimate import (
    ScoreCalibration,
    estimate_performance,
    expected_metric,
    measure_calibration,
)
from evergreen.tasks.core.drift.performance import Performance
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored

CALIBRATED = ScoreCalibration(error=0.0, expected_error=0.0, p_value=1.0, n=1000)
NAMES = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier_score", "average_precision")


def metric(name, problem="binary"):
    return get_metric(name, problem=problem)


def unlabelled(chance, *, threshold=0.5, classes=("no", "yes")):
    chance = np.asarray(chance, dtype=float)
    label = np.asarray(classes)[(chance >= threshold).astype(int)]
    return Scored(
        y=np.full(len(chance), np.nan), score=chance, label=label, classes=classes, positive_class=classes[1]
    )


def labelled(scored, rng, *, flip=0.0):
    """Draw outcomes from the scores; ``flip`` turns so many of them round."""
    came = (rng.random(len(scored)) < scored.score) ^ (rng.random(len(scored)) < flip)
    return Scored(
        y=np.asarray(scored.classes)[came.astype(int)],
        score=scored.score,
        label=scored.label,
        classes=scored.classes,
        positive_class=scored.positive_class,
    )


def estimate(scored, name, **options):
    return estimate_performance(
        scored, metric(name), calibration=CALIBRATED, rng=np.random.default_rng(0), **options
    )


def test_the_expected_confusion_matrix_by_hand():
    rows = unlabelled([0.9, 0.6, 0.3, 0.2])
    # decided yes: .9 and .6, so 1.5 true and .5 false positives; decided no: .5 missed, 1.5 rightly refused
    assert 3.0 / 4 == pytest.approx(expected_metric(rows, metric("accuracy")))
    assert 1.5 / 2 == pytest.approx(expected_metric(rows, metric("precision")))
    assert 1.5 / 2 == pytest.approx(expected_metric(rows, metric("recall")))
    brier = sum(p * (1 - p) for p in (0.9, 0.6, 0.3, 0.2)) / 4
    assert brier == pytest.approx(expected_metric(rows, metric("brier_score")))


@pytest.mark.parametrize("chances", [(0.9, 0.6, 0.3, 0.2), (0.5, 0.5, 0.1, 0.8)])
def test_the_expected_auc_weighs_pairs_of_different_rows(chances):
    pairs = list(itertools.permutations(chances, 2))
    weight = [p * (1 - q) for p, q in pairs]
    above = [(p > q) + 0.5 * (p == q) for p, q in pairs]
    expected = np.dot(weight, above) / np.sum(weight)
    assert expected == pytest.approx(expected_metric(unlabelled(chances), metric("roc_auc")), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1))
def test_expected_counts_agree_with_all_outcomes_weighed_by_their_chance(chances, threshold):
    rows = unlabelled(chances, threshold=threshold)
    total = 0.0
    for came in itertools.product([0, 1], repeat=len(chances)):
        weight = np.prod([p if one else 1 - p for p, one in zip(chances, came, strict=True)])
        hits = np.mean([(label == "yes") == bool(one) for label, one in zip(rows.label, came, strict=True)])
        total += float(weight) * hits
    assert total == pytest.approx(expected_metric(rows, metric("accuracy")), abs=1e-9)


def test_a_model_of_three_classes_by_hand():
    score = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    rows = Scored(y=np.full(2, np.nan), score=score, label=np.array(["a", "c"]), classes=("a", "b", "c"))
    assert 0.65 == pytest.approx(expected_metric(rows, metric("accuracy", "multiclass")))
    loss = -(score * np.log(score)).sum(axis=1).mean()
    assert loss == pytest.approx(expected_metric(rows, metric("log_loss", "multiclass")))


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_scores_tell_the_truth_under_covariate_shift(name):
    rng = np.random.default_rng(5)
    held = 0
    for window in range(40):
        # the features move: another mean and another spread of the score in each window
        centre, spread = rng.normal(scale=0.8), rng.uniform(0.5, 2.0)
        rows = unlabelled(1 / (1 + np.exp(-(centre + spread * rng.normal(size=800)))), threshold=0.4)
        found = estimate_performance(
            rows, metric(name), calibration=CALIBRATED, rng=np.random.default_rng(window)
        )
        truth = metric(name)(labelled(rows, rng))
        held += found.low <= truth <= found.high
        assert abs(found.value - truth) < 6 * found.se
    # nominal 95 %: fewer than 33 of 40 have a chance below 1 in 1,000
    assert held >= 33


def test_it_is_blind_to_a_concept_that_moved():
    rng = np.random.default_rng(0)
    rows = unlabelled(1 / (1 + np.exp(-2 * rng.normal(size=5000))))
    before, after = (metric("accuracy")(labelled(rows, rng, flip=flip)) for flip in (0.0, 0.3))
    found = estimate(rows, "accuracy")
    assert before - after > 0.1
    assert found.low <= before <= found.high
    assert after < found.low


def test_an_estimate_says_that_it_is_one_and_on_how_many_rows():
    found = estimate(unlabelled(np.linspace(0.05, 0.95, 300)), "accuracy")
    assert isinstance(found, Performance)
    assert (True, 300, "outcome_draws") == (found.estimated, found.n, found.method)


def test_labels_that_are_there_are_not_looked_at():
    rng = np.random.default_rng(0)
    rows = unlabelled(rng.random(400))
    assert estimate(rows, "f1").to_dict() == estimate(labelled(rows, rng, flip=0.5), "f1").to_dict()


@pytest.mark.parametrize(
    ("calibration", "code", "observed"),
    [
        (None, "not_probabilities", None),
        (ScoreCalibration(error=0.05, expected_error=0.05, p_value=0.0, n=1000), "not_calibrated", 0.05),
        (ScoreCalibration(error=0.0, expected_error=0.0, p_value=1.0, n=199), "not_calibrated", 199),
        (
            ScoreCalibration(error=float("nan"), expected_error=0.0, p_value=1.0, n=500),
            "not_calibrated",
            None,
        ),
    ],
)
def test_it_refuses_where_scores_are_no_known_probabilities(calibration, code, observed):
    found = estimate_performance(
        unlabelled([0.2, 0.8]), metric("accuracy"), calibration=calibration, rng=np.random.default_rng(0)
    )
    assert code == found.code
    if observed is not None:
        assert observed == found.observed


@pytest.mark.parametrize(
    ("rows", "name", "problem", "code"),
    [
        (Scored(y=np.zeros(3), score=np.zeros(3)), "rmse", "regression", "not_probabilities"),
        (unlabelled([]), "accuracy", "binary", "no_rows"),
        (unlabelled([0.0, 0.0, 0.0]), "roc_auc", "binary", "metric_undefined"),
        (unlabelled([0.2, 0.8]), "business_value", "binary", "metric_undefined"),
    ],
)
def test_it_refuses_with_a_reason_where_there_is_nothing_to_estimate(rows, name, problem, code):
    found = estimate_performance(
        rows, metric(name, problem), calibration=CALIBRATED, rng=np.random.default_rng(0)
    )
    assert code == found.code


def test_calibration_error_agrees_with_the_curve_of_scikit_learn():
    rng = np.random.default_rng(0)
    score = rng.random(4000)
    rows = Scored(y=(rng.random(4000) < score**2).astype(int), score=score, classes=(0, 1))
    share, mean = calibration_curve(rows.y, score, n_bins=20, strategy="quantile")
    assert np.abs(share - mean).mean() == pytest.approx(measure_calibration(rows).expected_error, abs=0.002)
    # E |p² - p| of a uniform score is 1/6; the root mean square is sqrt(1/30), and chance is taken off
    assert np.sqrt(1 / 30) == pytest.approx(measure_calibration(rows).error, abs=0.01)


def test_calibrated_scores_are_found_calibrated_at_every_size():
    rng = np.random.default_rng(1)
    rejected, errors = 0, {250: [], 1000: [], 4000: []}
    for n in (250, 1000, 4000) * 50:
        score = rng.beta(0.6, 1.4, size=n)
        found = measure_calibration(
            Scored(y=(rng.random(n) < score).astype(int), score=score, classes=(0, 1))
        )
        rejected += found.p_value < 0.05
        errors[n].append(found.error)
    assert rejected <= 15  # nominal 7.5 of 150
    assert np.mean(errors[4000]) < 0.007
    assert np.mean(errors[250]) < 0.025


def test_the_worst_class_of_several_counts():
    rng = np.random.default_rng(0)
    score = rng.dirichlet([1, 1, 1], size=3000)
    y = (rng.random((3000, 1)) > score.cumsum(axis=1)).sum(axis=1)
    good = measure_calibration(Scored(y=y, score=score, classes=(0, 1, 2)))
    off = np.column_stack([score[:, 0], score[:, 1] ** 3, 1 - score[:, 0] - score[:, 1] ** 3])
    bad = measure_calibration(Scored(y=y, score=off, classes=(0, 1, 2)))
    assert good.error < 0.02
    assert bad.error > 0.1


def test_calibration_without_rows_or_probabilities():
    assert measure_calibration(Scored(y=np.zeros(3), score=np.zeros(3))) is None
    empty = measure_calibration(unlabelled([0.2, 0.8]))
    assert 0 == empty.n
    assert np.isnan(empty.error)
    assert ScoreCalibration.from_dict(empty.to_dict()).to_dict() == empty.to_dict()
