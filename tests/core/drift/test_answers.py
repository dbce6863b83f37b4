"""A window's answers: what moves when something moved, and what is said where nothing can be measured."""

import numpy as np
import pytest

from evergreen.tasks.core.drift.answers import answer_signals, prepare_answers
from evergreen.tasks.core.drift.estimate import MOST_CALIBRATION_ERROR, Reference, loss_metric
from evergreen.tasks.core.drift.types import DriftKind, Phase
from evergreen.tasks.core.metrics.registry import deciding_metric, get_metric
from evergreen.tasks.core.metrics.scored import Scored
from tests.support.monitoring import Trained

PROBLEMS = ("binary", "multiclass", "regression", "ranking")
KINDS = (DriftKind.OUTCOME, DriftKind.CONCEPT, DriftKind.PERFORMANCE)


@pytest.fixture(scope="module", params=PROBLEMS)
def trained(request):
    return Trained(request.param)


@pytest.fixture(scope="module")
def binary():
    return Trained()


def look(trained, phase, *, watch=None, rng=0, **window):
    rows, scored = trained.window(**window)
    return answer_signals(
        watch or trained.watch(),
        scored,
        phase=phase,
        features=trained.features(rows),
        rng=np.random.default_rng(rng),
    )


def z_of(found, whole, kind, *, name=None):
    """Return the deviations from the reference in units of the window's and the reference's error."""
    at = {key: place for place, key in enumerate(whole.keys)}
    chosen = [
        place
        for place, key in enumerate(found.keys)
        if key.kind is kind and (name is None or key.name == name)
    ]
    places = [at[found.keys[place]] for place in chosen]
    error = np.sqrt(found.errors[chosen] ** 2 + whole.errors[places] ** 2)
    return (found.values[chosen] - whole.values[places]) / np.where(error > 0, error, np.inf)


def test_a_window_like_the_reference_moves_nothing(trained):
    watch = trained.watch()
    for phase, kinds in ((Phase.INPUTS, (DriftKind.PREDICTION,)), (Phase.OUTCOMES, KINDS)):
        found = look(trained, phase, watch=watch, seed=7, n=800)
        assert np.isfinite(found.signals.values).all()
        for kind in kinds:
            assert np.abs(z_of(found.signals, watch.whole, kind)).max() < 5


def test_the_keys_are_those_of_the_whole_reference_whatever_the_window(trained):
    watch = trained.watch()
    found = [look(trained, phase, watch=watch, n=n).signals for phase in Phase for n in (0, 1, 400)]
    assert found[0].keys == found[1].keys == found[2].keys
    assert found[3].keys == found[4].keys == found[5].keys
    assert watch.whole.keys == found[0].keys + found[3].keys
    assert all(len(one.keys) == len(one.values) == len(one.errors) == len(one.floors) for one in found)


def test_features_that_move_move_the_score(trained):
    watch = trained.watch()
    found = look(trained, Phase.INPUTS, watch=watch, n=800, shift=0.5)
    assert np.abs(z_of(found.signals, watch.whole, DriftKind.PREDICTION)).max() > 6


def test_outcomes_that_no_longer_follow_the_features_raise_loss_and_lower_performance(trained):
    watch = trained.watch()
    found = look(trained, Phase.OUTCOMES, watch=watch, n=800, flip=0.4)
    assert z_of(found.signals, watch.whole, DriftKind.CONCEPT, name="level")[0] > 5
    worse = -watch.metric.sign * z_of(found.signals, watch.whole, DriftKind.PERFORMANCE)[0]
    assert worse > 5
    assert np.abs(z_of(found.signals, watch.whole, DriftKind.CONCEPT, name="correlation")).max() > 5
    if trained.problem != "ranking":  # there the outcomes of a group are always the same ranks
        assert np.abs(z_of(found.signals, watch.whole, DriftKind.OUTCOME)).max() < 5


def test_outcomes_that_move_are_outcome_drift():
    trained = Trained()
    watch = trained.watch()
    rows, scored = trained.window(n=800)
    more = np.where(np.random.default_rng(0).random(800) < 0.35, "yes", scored.y)
    moved = Scored(
        y=more, score=scored.score, label=scored.label, classes=scored.classes, positive_class="yes"
    )
    found = answer_signals(
        watch, moved, phase=Phase.OUTCOMES, features=trained.features(rows), rng=np.random.default_rng(0)
    )
    assert np.abs(z_of(found.signals, watch.whole, DriftKind.OUTCOME)).max() > 5
    (share,) = (
        value
        for key, value in zip(found.signals.keys, found.signals.values, strict=True)
        if key[1:] == ("@outcome", "share:yes")
    )
    assert np.mean(more == "yes") == pytest.approx(share)


def test_the_metric_and_the_loss_are_those_of_the_labelled_rows(trained):
    watch = trained.watch()
    rows, scored = trained.window(n=600, labelled=0.5)
    known = np.flatnonzero([one is not None for one in scored.y])
    found = answer_signals(
        watch, scored, phase=Phase.OUTCOMES, features=trained.features(rows), rng=np.random.default_rng(0)
    )
    assert len(known) == found.labelled == found.profile.columns["@outcome"].n
    kept = scored.take(known)
    numeric = trained.problem in ("regression", "ranking")
    exact = Scored(**{**vars(kept), "y": kept.y.astype(float) if numeric else kept.y})
    values = {key[1:]: value for key, value in zip(found.signals.keys, found.signals.values, strict=True)}
    assert watch.metric(exact) == pytest.approx(values[watch.metric.name, "level"])
    assert loss_metric(trained.problem)(exact) == pytest.approx(values["@loss", "level"])
    assert watch.metric(exact) == pytest.approx(found.performance.value)


@pytest.mark.parametrize(("n", "labelled"), [(0, 1.0), (1, 1.0), (99, 1.0), (500, 0.0), (500, 0.1)])
def test_too_few_labels_are_insufficient_and_say_how_many_would_do(trained, n, labelled):
    found = look(trained, Phase.OUTCOMES, n=n, labelled=labelled)
    assert set(KINDS) == set(found.reasons)
    reason = found.reasons[DriftKind.CONCEPT][0]
    assert ("too_few_labelled", 100, n, found.labelled) == (
        reason.code,
        reason.limit,
        reason.n,
        reason.observed,
    )
    assert np.isnan(found.signals.values).all()
    assert found.performance is None


def test_one_class_is_insufficient_for_what_needs_two(binary):
    watch = binary.watch()
    rows, scored = binary.window(n=400)
    one = Scored(
        y=np.full(400, "yes"),
        score=scored.score,
        label=scored.label,
        classes=scored.classes,
        positive_class="yes",
    )
    found = answer_signals(
        watch, one, phase=Phase.OUTCOMES, features=binary.features(rows), rng=np.random.default_rng(0)
    )
    assert "metric_undefined" == found.reasons[DriftKind.PERFORMANCE][0].code
    assert "one_class" == found.reasons[DriftKind.CONCEPT][0].code
    values = dict(zip(found.signals.keys, found.signals.values, strict=True))
    links = [value for key, value in values.items() if key.name in ("information", "correlation")]
    assert np.isnan(links).all()
    assert np.isfinite([value for key, value in values.items() if key.kind is DriftKind.OUTCOME]).all()
    assert all(np.isnan(value) for key, value in values.items() if key.kind is DriftKind.PERFORMANCE)


def test_no_group_with_a_relevant_row_has_no_ranking():
    trained = Trained("ranking")
    rows, scored = trained.window(n=400)
    flat = Scored(y=np.zeros(400), score=scored.score, group=scored.group)
    found = answer_signals(
        trained.watch(),
        flat,
        phase=Phase.OUTCOMES,
        features=trained.features(rows),
        rng=np.random.default_rng(0),
    )
    assert "metric_undefined" == found.reasons[DriftKind.PERFORMANCE][0].code
    assert found.performance is None


def test_labels_are_not_looked_at_before_they_are_due(binary):
    watch = binary.watch()
    blank = look(binary, Phase.INPUTS, watch=watch, labelled=0.0)
    known = look(binary, Phase.INPUTS, watch=watch, flip=0.5)
    assert np.array_equal(blank.signals.values, known.signals.values)
    assert blank.performance.to_dict() == known.performance.to_dict()
    assert 0 == known.labelled
    assert known.profile.columns["@outcome"].finite == 0


def test_calibrated_scores_are_estimated_before_labels_come(binary):
    watch = binary.watch()
    assert watch.reference.calibration.error < MOST_CALIBRATION_ERROR
    estimated = look(binary, Phase.INPUTS, watch=watch, n=2000).performance
    measured = look(binary, Phase.OUTCOMES, watch=watch, n=2000).performance
    assert (True, False) == (estimated.estimated, measured.estimated)
    assert estimated.value == pytest.approx(
        measured.value, abs=0.01
    )  # the scores are a logistic for a normal


@pytest.mark.parametrize(
    ("problem", "code"), [("regression", "not_probabilities"), ("ranking", "not_probabilities")]
)
def test_what_is_no_probability_is_not_estimated(problem, code):
    found = look(Trained(problem), Phase.INPUTS)
    assert found.performance is None
    assert code == found.reasons[DriftKind.PERFORMANCE][0].code


def test_floors_come_from_the_configuration(binary):
    config = {
        "drift": {"outcome_threshold": 0.04, "concept_threshold": 0.2},
        "alerts": {"performance_drop": 0.1},
    }
    watch = Trained(**config).watch()
    floors = {key[1:]: floor for key, floor in zip(watch.whole.keys, watch.whole.floors, strict=True)}
    assert 0.04 == floors["@outcome", "share:yes"]
    assert 0.2 * watch.reference.loss.value == pytest.approx(floors["@loss", "level"])
    assert 0.1 * watch.standard.value == pytest.approx(floors["roc_auc", "level"])
    assert 0.03 == floors["@score", "location"]


def test_three_classes_move_less_each_for_the_same_total_variation():
    watch = Trained("multiclass").watch()
    floors = {key[1:]: floor for key, floor in zip(watch.whole.keys, watch.whole.floors, strict=True)}
    assert 2 * 0.02 / 3 == pytest.approx(floors["@outcome", "share:mid"])


def test_a_reference_of_an_older_format_says_what_is_missing(binary):
    plain = {name: one for name, one in binary.reference_document().items() if name not in ("worth", "grid")}
    watch = prepare_answers(Reference.from_dict(plain), config=binary.config, metric=binary.metric)
    found = look(binary, Phase.OUTCOMES, watch=watch)
    assert {DriftKind.CONCEPT, DriftKind.PERFORMANCE} == set(found.reasons)
    assert {"no_reference_value"} == {one[0].code for one in found.reasons.values()}
    assert (
        "not_probabilities" == look(binary, Phase.INPUTS, watch=watch).reasons[DriftKind.PERFORMANCE][0].code
    )


def test_a_metric_that_was_not_measured_at_training_has_nothing_to_compare_with(binary):
    plain = binary.reference_document()
    del plain["worth"]["performance"]["roc_auc"]
    watch = prepare_answers(
        Reference.from_dict(plain), config=binary.config, metric=deciding_metric(binary.config)
    )
    assert (
        "no_reference_value"
        == look(binary, Phase.OUTCOMES, watch=watch).reasons[DriftKind.PERFORMANCE][0].code
    )


def test_the_reference_survives_json(binary):
    import json

    plain = json.loads(json.dumps(binary.reference_document()))
    found = Reference.from_dict(plain)
    assert plain["worth"]["performance"]["roc_auc"] == found.performance["roc_auc"].to_dict()
    assert plain["worth"]["calibration"] == found.calibration.to_dict()
    assert 3000 == found.loss.n == found.calibration.n


def test_outcomes_without_features_are_a_mistake_of_the_caller(binary):
    _, scored = binary.window()
    with pytest.raises(ValueError, match="needs the features"):
        answer_signals(binary.watch(), scored, phase=Phase.OUTCOMES, rng=np.random.default_rng(0))


def test_the_loss_of_a_ranking_is_what_ndcg_lacks():
    rng = np.random.default_rng(0)
    rows = Scored(y=rng.integers(0, 4, 80), score=rng.normal(size=80), group=np.arange(80) // 8)
    assert 1 - get_metric("ndcg", problem="ranking")(rows) == pytest.approx(loss_metric("ranking")(rows))
