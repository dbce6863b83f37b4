"""Candidates: cross-validated, searched, compared, chosen, fitted, measured, explained."""

from dataclasses import replace

import numpy as np
import pytest

from evergreen.tasks.core.config.evaluation import BusinessMetric
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Parts, SplitPlan
from evergreen.tasks.core.errors import ConfigError, NotLearnable, UnknownName
from evergreen.tasks.core.metrics.registry import get_metric, measure, metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.training.cross_validation import cross_validate, search_settings, settings_to_try
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.training.scoring import Recipe
from evergreen.tasks.core.training.training import (
    choose_candidate,
    fit_winner,
    measure_importance,
    prepare_training,
    refit,
)
from tests.support.training_data import BOOSTING, linear, make_rows, model_config, schema

DUMMY = {"name": "dummy", "estimator": "sklearn.dummy.DummyClassifier"}
TIMED = {"time": "at", "clock": "seconds"}


def parts_of(problem="binary", n=600, **options):
    rows = make_rows(problem, n=n, **options)
    rows = replace(rows, frame=rows.frame.assign(at=rows.positions if rows.positions is not None else 0.0))
    cuts = np.split(np.arange(n), [int(n * 0.7), int(n * 0.85)])
    training, holdout, evaluation = (rows.take(cut) for cut in cuts)
    return Parts(
        training=training,
        holdout=holdout,
        evaluation=evaluation,
        plan=SplitPlan(method="time", clock="seconds"),
        duplicates=0,
        unlabelled=0,
        fingerprint="f" * 64,
    )


def config_of(*candidates, problem="binary", **sections):
    sections = {"split": {"min_rows": 50}, **sections}
    data = {**TIMED, **sections.pop("data", {})}
    return model_config(problem, data=data, candidates=candidates or (linear(), BOOSTING), **sections)


def choose(parts, config):
    lesson = prepare_training(parts, config)
    spec = ModelSpec(lesson.schema, config, lesson.classes)
    runs = tuple(
        cross_validate(candidate, parts.training, lesson.folds, spec, metrics=lesson.metrics)
        for candidate in config.training.candidates
    )
    return lesson, choose_candidate(lesson, runs, config)


@pytest.mark.parametrize(
    ("problem", "path", "metric"),
    [
        ("binary", "sklearn.linear_model.LogisticRegression", "roc_auc"),
        ("multiclass", "sklearn.linear_model.LogisticRegression", "accuracy"),
        ("regression", "sklearn.linear_model.Ridge", "r2"),
        ("ranking", "sklearn.linear_model.Ridge", "ndcg_at_3"),
    ],
)
def test_a_learnable_set_is_learned_for_every_problem(problem, path, metric):
    data = {"group": "race"} if problem == "ranking" else {}
    config = config_of(
        {"name": "m", "estimator": path}, problem=problem, data=data, evaluation={"metric": metric}
    )
    lesson, choice = choose(parts_of(problem), config)
    fitted = fit_winner(lesson, choice, config)
    assert fitted.metrics[metric] > fitted.baselines["constant"].get(metric, 0.0) + 0.2
    assert "signal" == fitted.importances[0].feature


def test_the_better_candidate_is_chosen():
    _, choice = choose(parts_of(), config_of(DUMMY, BOOSTING))
    assert "boosting" == choice.candidate.name
    assert 0.5 == pytest.approx(choice.runs[0].summary()["roc_auc"])


def test_the_first_listed_of_two_equals_is_chosen_unless_the_best_is_preferred():
    forest = {"estimator": "sklearn.ensemble.RandomForestClassifier"}
    one, other = (
        {**forest, "name": name, "params": {"n_estimators": 20, "random_state": seed, "n_jobs": 1}}
        for name, seed in (("one", 1), ("other", 2))
    )

    def chosen(*order, **training):
        return choose(parts_of(), config_of(*order, training=training))[1].candidate.name

    assert ("one", "other") == (chosen(one, other), chosen(other, one))
    assert chosen(one, other, prefer="best") == chosen(other, one, prefer="best")


def test_a_clearly_worse_candidate_is_no_equal_however_few_the_folds():
    # two folds cannot tell anything apart (t with one degree of freedom), yet .5 is no equal of .95
    config = config_of(DUMMY, linear(), training={"folds": 2})
    _, choice = choose(parts_of(), config)
    worse = next(row for row in choice.comparison.candidates if row.name == "dummy")
    assert worse.behind > 0.3
    assert "linear" == choice.candidate.name


def test_nobody_is_chosen_when_no_candidate_meets_the_criteria():
    config = config_of(linear(), training={"criteria": "roc_auc > 0.9999"})
    lesson, choice = choose(parts_of(), config)
    assert choice.candidate is None
    assert "no_eligible_candidate" == choice.comparison.verdict.reasons[0].code
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_winner(lesson, choice, config)


def test_criteria_may_only_name_what_is_measured():
    with pytest.raises(UnknownName, match="Did you mean 'accuracy'"):
        prepare_training(parts_of(), config_of(training={"criteria": "acuracy > 0.5"}))


def test_a_wrong_estimator_is_found_before_the_first_fit():
    bad = {"name": "bad", "estimator": "sklearn.linear_model.LogisticRegression", "params": {"depth": 3}}
    with pytest.raises(ConfigError, match="has no parameter 'depth'"):
        prepare_training(parts_of(), config_of(linear(), bad))


def test_too_few_rows_cannot_be_learned_from():
    with pytest.raises(NotLearnable) as caught:
        prepare_training(parts_of(n=60), config_of(split={"min_rows": 200}))
    assert "too_few_rows" == caught.value.reason_code


def test_nothing_is_answered_by_a_model_that_saw_the_row():
    lesson, choice = choose(parts_of(), config_of(linear()))
    run = choice.runs[0]
    assert sum(len(fold.test) for fold in lesson.folds) == len(run.out_of_fold)
    assert run.test_sizes.tolist() == [len(fold.test) for fold in lesson.folds]


def test_the_same_training_gives_the_same_numbers():
    config = config_of(BOOSTING)
    first, again = (fit_winner(*choose(parts_of(), config), config) for _ in range(2))
    assert first.metrics == again.metrics
    assert first.importances == again.importances


def test_the_threshold_chosen_on_the_holdout_decides_what_predict_says():
    config = config_of(linear(), evaluation={"threshold": {"false_positive": 1, "false_negative": 20}})
    lesson, choice = choose(parts_of(), config)
    fitted = fit_winner(lesson, choice, config)
    threshold = fitted.recipe.threshold
    assert threshold.value < 0.35
    assert len(lesson.parts.holdout) == threshold.n
    features = lesson.parts.holdout.frame[list(lesson.schema.features)]
    said = fitted.estimator.predict(features)
    assert np.array_equal(said == "yes", fitted.estimator.predict_proba(features)[:, 1] >= threshold.value)
    assert np.array_equal(said, fitted.holdout.label)


def test_a_recipe_survives_json_and_fits_the_same_model_again():
    config = config_of({**BOOSTING, "search": {"max_depth": [1, 3]}})
    lesson, choice = choose(parts_of(), config)
    fitted = fit_winner(lesson, choice, config)
    recipe = Recipe.from_dict(fitted.recipe.to_dict())
    assert fitted.recipe == recipe
    again = refit(recipe, lesson.parts.training, schema=lesson.schema, config=config)
    features = lesson.parts.holdout.frame[list(lesson.schema.features)]
    assert np.array_equal(fitted.estimator.predict_proba(features), again.predict_proba(features))


def test_a_model_trained_elsewhere_cannot_be_fitted_again():
    with pytest.raises(ValueError, match="trained elsewhere"):
        refit(Recipe(problem="binary", candidate=None), make_rows(), schema=schema(), config=model_config())


def test_a_small_grid_is_searched_whole_and_a_large_one_sampled_without_repeats():
    grid = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 5]}
    tree = Candidate(name="t", estimator="sklearn.tree.DecisionTreeClassifier", search=grid)
    assert 6 == len(settings_to_try(tree, random_state=0))
    some = settings_to_try(tree.model_copy(update={"search_iterations": 4}), random_state=0)
    assert 4 == len({tuple(sorted(one.items())) for one in some})


def test_a_search_finds_the_setting_that_generalises():
    tree = Candidate(
        name="t", estimator="sklearn.tree.DecisionTreeClassifier", search={"max_leaf_nodes": [2, 12]}
    )
    rows = make_rows(n=800)
    spec = ModelSpec(schema(), config_of(), ("no", "yes"))
    found = search_settings(tree, rows, spec, metric=get_metric("roc_auc", problem="binary"))
    assert {"max_leaf_nodes": 12} == found


def test_each_fold_searches_inside_its_own_training_rows(monkeypatch):
    looked_at = []

    def spy(candidate, rows, spec, *, metric):
        looked_at.append((rows.positions.min(), rows.positions.max()))
        return search_settings(candidate, rows, spec, metric=metric)

    monkeypatch.setattr("evergreen.tasks.core.training.cross_validation.search_settings", spy)
    config = config_of({**linear(), "search": {"C": [0.1, 1.0]}})
    lesson, choice = choose(parts_of(), config)
    clock = lesson.parts.training.positions
    expected = [(clock[fold.train].min(), clock[fold.train].max()) for fold in lesson.folds]
    assert [*expected, (clock.min(), clock.max())] == looked_at
    assert choice.settings["C"] in (0.1, 1.0)


def test_noise_has_no_importance():
    config = config_of(linear())
    lesson, choice = choose(parts_of(n=2000), config)
    model = fit_winner(lesson, choice, config).estimator
    found = measure_importance(
        model,
        lesson.parts.holdout,
        ModelSpec(lesson.schema, config, lesson.classes),
        metric=lesson.metric,
        rng=np.random.default_rng(0),
    )
    by_name = {one.feature: one.mean for one in found}
    assert by_name["signal"] > 0.2
    assert abs(by_name["noise"]) < 0.02


def test_importance_leaves_the_rows_as_they_are():
    config = config_of(linear())
    lesson, choice = choose(parts_of(), config)
    before = lesson.parts.holdout.frame.copy(deep=True)
    fit_winner(lesson, choice, config)
    assert before.equals(lesson.parts.holdout.frame)


def test_the_business_metric_counts_what_decisions_are_worth():
    config = config_of(
        linear(),
        data={"value_column": "amount"},
        evaluation={"business": {"true_positive": 1.0, "false_positive": -0.5, "action_cost": 1.0}},
    )
    scored = Scored(
        y=np.array([1, 0, 1, 0]),
        score=np.array([0.9, 0.8, 0.1, 0.2]),
        classes=(0, 1),
        positive_class=1,
        value=np.array([100.0, 40.0, 70.0, 10.0]),
    )
    # a hit of 100 and an alarm at half of 40, each action costs 1: (100 - 1 - 20 - 1) / 4
    assert 78 / 4 == measure(scored, metrics_of(config))["business_value"]
    assert BusinessMetric().true_positive == 1.0


def test_the_deciding_metric_comes_first_and_no_metric_twice():
    config = config_of(evaluation={"metric": "f1", "metrics": ["recall", "f1"]})
    names = [metric.name for metric in metrics_of(config)]
    assert "f1" == names[0]
    assert len(set(names)) == len(names)
