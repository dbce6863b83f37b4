"""Logged rows as answers, for every kind of problem; plans of live tests from the configuration."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.ab_testing.evidence import observe
from evergreen.tasks.core.ab_testing.metric import live_metric
from evergreen.tasks.core.ab_testing.planning import Contenders, guardrail_metrics, metric_of_test, plan_test
from evergreen.tasks.core.ab_testing.rows import join_rows, read_answers
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.metrics.scored import Scored
from tests.support.training_data import model_config

SIDES = Contenders(champion=1, challenger=2, start=0.0, alpha=0.0125)


def logged(**columns):
    n = len(columns["y"])
    given = {
        "@prediction_id": [f"p{i}" for i in range(n)],
        "@variant": ["champion"] * n,
        "@entity": [None] * n,
        "@known_at": np.arange(n, dtype=float),
        "@score": [None] * n,
        "@decision": [None] * n,
    }
    return Rows(pd.DataFrame({**given, **columns}), np.arange(n, dtype=float))


def values_of(rows, config, metric, classes=()):
    answered = read_answers(rows, config=config, classes=classes)
    return observe(answered, live_metric(metric, problem=config.problem.value)).values


def test_decisions_are_those_that_were_served_else_those_of_the_score():
    rows = logged(
        y=["no", "yes", None, "yes"],
        **{"@decision": ["yes", "yes", "no", None], "@score": [0.9, 0.2, 0.1, 0.7]},
    )
    found = values_of(rows, model_config(), "accuracy", ("no", "yes"))
    np.testing.assert_array_equal([0.0, 1.0, np.nan, 1.0], found)


def test_a_row_without_score_and_decision_is_no_answer():
    rows = logged(y=["no", "yes"], **{"@score": [np.nan, 0.8]})
    np.testing.assert_array_equal([np.nan, 1.0], values_of(rows, model_config(), "accuracy", ("no", "yes")))


def test_several_classes_numbers_and_groups_are_read():
    many = logged(y=["a", "c"], **{"@score:a": [0.7, 0.1], "@score:b": [0.2, 0.2], "@score:c": [0.1, 0.7]})
    assert [1.0, 1.0] == values_of(many, model_config("multiclass"), "accuracy", ("a", "b", "c")).tolist()
    numbers = logged(y=[1.0, None, 3.0], **{"@score": [2.0, 5.0, 3.5]})
    np.testing.assert_array_equal(
        [-1.0, np.nan, -0.25], values_of(numbers, model_config("regression"), "mse")
    )
    race = logged(y=[0, 1, 1, 0], race=["r1", "r1", "r2", "r2"], **{"@score": [0.1, 0.9, 0.2, 0.4]})
    assert [1.0, 0.0] == values_of(race, model_config("ranking", data={"group": "race"}), "win_rate").tolist()


def test_the_entity_is_the_one_logged_else_the_configured_column():
    config = model_config(data={"entity": "who"})
    rows = logged(y=["no", "yes"], who=["ann", "bob"], **{"@score": [0.1, 0.9]})
    assert ["ann", "bob"] == read_answers(rows, config=config, classes=("no", "yes")).units.tolist()
    named = logged(y=["no", "yes"], who=["ann", "bob"], **{"@score": [0.1, 0.9], "@entity": ["e1", None]})
    assert ["e1", None] == read_answers(named, config=config, classes=("no", "yes")).units.tolist()


def test_no_row_and_a_missing_column_are_said():
    empty = join_rows([Rows(pd.DataFrame(), np.zeros(0))])
    assert 0 == len(read_answers(empty, config=model_config(), classes=("no", "yes")).scored)
    rows = logged(y=["no"], **{"@score": [0.1]})
    with pytest.raises(DataError, match="no column 'y'"):
        read_answers(
            Rows(rows.frame.drop(columns="y"), rows.positions), config=model_config(), classes=("no", "yes")
        )


def test_reads_of_the_log_are_joined_in_order():
    one, two = logged(y=["no"], **{"@score": [0.1]}), logged(y=["yes"], **{"@score": [0.9]})
    both = join_rows([one, Rows(pd.DataFrame(), np.zeros(0)), two])
    assert ["no", "yes"] == both.frame["y"].tolist()
    assert [0.0, 0.0] == both.positions.tolist()


def past(n=400, *, worth=0.0):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    return Scored(y=y, score=rng.random(n), classes=(0, 1), value=rng.normal(worth, 1.0, n))


def plan(config, **more):
    return plan_test(config, SIDES, name="t", hypothesis="better", **{"past": past(), **more})


def test_a_plan_follows_the_configuration():
    test = plan(
        model_config(
            promotion={"evidence": "ab"}, live={"metric": "accuracy", "share": 0.2, "max_duration": "7d"}
        )
    )
    assert ("arms", 0.2, 7 * 86_400.0) == (test.mode, test.challengers[0].share, test.longest)
    assert (0.02, None, None) == (test.min_improvement, test.baseline, test.clip)
    shadow = plan(model_config(promotion={"evidence": "shadow"}, data={"label_delay": "2d"}))
    assert ("paired", 1.0, 2 * 86_400.0) == (shadow.mode, shadow.challengers[0].share, shadow.follow_up)


@pytest.mark.parametrize(
    ("sections", "unit", "block"),
    [
        ({}, "block", 86_400.0),
        ({"live": {"max_duration": "5d"}}, "block", 3_600.0),
        ({"evaluation": {"block": "6h"}}, "block", 6 * 3_600.0),
        ({"evaluation": {"dependence": "blocked"}, "data": {"entity": "who"}}, "block", 86_400.0),
        ({"evaluation": {"dependence": "independent"}}, "row", None),
        ({"evaluation": {"dependence": "independent"}, "data": {"entity": "who"}}, "entity", None),
    ],
)
def test_pairs_are_judged_by_blocks_as_in_the_challenge_unless_rows_are_declared_independent(
    sections, unit, block
):
    test = plan(model_config(promotion={"evidence": "shadow"}, **sections))
    assert (unit, block, 60.0) == (test.unit, test.block, test.grace)
    arms = plan(model_config(promotion={"evidence": "ab"}, **sections))
    assert ("entity", None, 0.0) == (arms.unit, arms.block, arms.grace)


def test_blocks_on_a_clock_of_rows_are_a_thirtieth_of_the_longest_duration():
    rows = {"data": {"clock": "rows"}, "live": {"max_duration": "6000 rows"}}
    test = plan(model_config(promotion={"evidence": "shadow"}, **rows))
    assert ("block", 201.0, 0.0) == (test.unit, test.block, test.grace)


def test_the_metric_is_the_deciding_one_or_its_nearest_relative():
    names = [metric_of_test(model_config(problem)).name for problem in ("binary", "regression")]
    assert ["brier_score", "mse"] == names
    assert "accuracy" == metric_of_test(model_config(evaluation={"metric": "accuracy"})).name


def test_an_unbounded_metric_is_clipped_and_relative_to_the_past():
    scored = past()
    test = plan(model_config(live={"metric": "brier_score", "min_improvement": 0.1}), past=scored)
    values = -((scored.score - scored.y) ** 2)
    assert values.mean() == pytest.approx(test.baseline)
    assert np.quantile(values, [0.01, 0.99]).tolist() == pytest.approx(list(test.clip))
    own = plan(model_config(live={"metric": "brier_score", "min_improvement": 0.1, "relative": False}))
    assert (None, 0.1) == (own.baseline, own.effect)


def test_what_the_past_cannot_say_is_asked_for():
    with pytest.raises(InputError, match="0 labelled rows of the champion are too few"):
        plan(model_config(live={"metric": "brier_score"}), past=None)
    profit = model_config(
        data={"value_column": "v"}, live={"metric": "business_value"}, evaluation={"business": {}}
    )
    with pytest.raises(InputError, match=r"live\.relative: false"):
        plan(profit, past=past(worth=0.0), metric=metric_of_test(profit))
    worth = plan(profit, past=past(worth=5.0), metric=metric_of_test(profit))
    assert worth.baseline > 1


def test_guardrails_are_metrics_that_can_be_followed():
    config = model_config(live={"metric": "accuracy", "guardrails": {"log_loss": 0.1}})
    test = plan(config, guardrails=guardrail_metrics(config))
    assert [("log_loss", 0.1)] == [(rail.metric, rail.most_worse) for rail in test.guardrails]
    assert test.guardrails[0].clip is not None
    with pytest.raises(InputError, match="no mean over rows"):
        guardrail_metrics(model_config(live={"guardrails": {"f1": 0.1}}))
