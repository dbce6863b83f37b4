"""Replays of small histories: what each policy does, what nobody may see too early, and what is held."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError, InputError, NotLearnable
from evergreen.tasks.core.replay.history import History
from evergreen.tasks.core.replay.run import replay_policy
from evergreen.tasks.core.replay.setup import begin_replay, parse_policy
from evergreen.tasks.core.verdict import State
from tests.support.replays import (
    PER_DAY,
    begin_small,
    by_name,
    decisions,
    history_frame,
    make_history,
    place_of,
    replay_config,
    replayed,
)

FLIP, DAYS = 36, 84
SLOW = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def flipped():
    """A history whose concept turns round, and all kinds of policies on it."""
    frame = history_frame(days=DAYS, flip=FLIP)
    beginning = begin_small(frame, start=place_of(26))
    return beginning, by_name(replayed(beginning, "configured,never,every,periodic:20d"))


def test_never_keeps_the_first_model_and_decides_nothing(flipped):
    never = flipped[1]["never"]
    assert (0, 0, 0, []) == (never.retrainings, never.promotions, never.rows, decisions(never))
    assert {flipped[0].first.number} == {step.version for step in never.steps}


def test_every_refits_after_each_window_and_deploys_it_ungated(flipped):
    beginning, policies = flipped
    every = policies["every"]
    assert (len(every.steps),) * 2 == (every.retrainings, every.promotions)
    first = beginning.first.number
    assert [first + k for k in range(len(every.steps))] == [step.version for step in every.steps]


def test_every_learns_from_the_retraining_window(flipped):
    assert {14 * PER_DAY} == {step.rows for step in flipped[1]["every"].steps}


def test_configured_retrains_after_the_change_and_promotes_what_is_better(flipped):
    configured, never = flipped[1]["configured"], flipped[1]["never"]
    assert configured.promotions >= 1
    assert configured.mean > never.mean + 0.05
    promoted = [step for step in configured.steps if step.state is State.PROMOTED]
    assert promoted[0].step.until > place_of(FLIP)


def test_the_first_step_of_every_policy_is_answered_by_the_same_model(flipped):
    values = {policy.values[0] for policy in flipped[1].values()}
    assert 1 == len(values)


def test_windows_follow_each_other_without_gaps_and_are_the_same_for_all(flipped):
    beginning, policies = flipped
    windows = [step.window for step in beginning.steps]
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert windows[0].start == place_of(26)
    assert all([step.step for step in one.steps] == list(beginning.steps) for one in policies.values())


def test_the_cooldown_lies_between_any_two_retrainings(flipped):
    started = [step.step.at for step in flipped[1]["configured"].steps if step.state]
    assert len(started) > 1
    assert all((after - before).days >= 4 for before, after in pairwise(started))


def test_periodic_starts_by_date_alone(flipped):
    policy = flipped[1]["periodic:20d"]
    started = [one for one in decisions(policy) if one["outcome"] == "start"]
    assert started
    assert {"periodic"} == {cause["trigger"] for one in started for cause in one["causes"]}


def test_the_json_form_has_what_is_asked_of_it(flipped):
    plain = flipped[1]["configured"].to_dict()
    asked = {
        "policy",
        "metric",
        "mean",
        "mean_interval",
        "worst",
        "worst_window",
        "retrainings",
        "promotions",
        "refused",
        "alarms",
        "seconds",
        "rows",
        "regret",
        "windows",
        "decisions",
    }
    assert asked <= set(plain)
    assert {"from", "to", "n", "value", "interval", "version", "level"} <= set(plain["windows"][0])
    assert {"at", "outcome", "causes", "state", "reasons", "next_allowed_at", "version"} == set(
        plain["decisions"][0]
    )
    assert len(plain["windows"]) == len(plain["decisions"])


def test_the_best_policy_regrets_nothing(flipped):
    regrets = [one.regret.absolute for one in flipped[1].values()]
    assert 0.0 == min(regrets)


def test_the_baseline_stands_beside_the_policies(flipped):
    beginning, _ = flipped
    baseline = replayed(beginning, "never").baseline
    assert ("same_as_last", len(beginning.steps)) == (baseline.name, len(baseline.steps))
    assert baseline.mean == pytest.approx(0.5, abs=0.03)  # outcomes do not follow each other here


def test_a_replay_twice_gives_the_same(flipped):
    beginning, policies = flipped
    again = by_name(replayed(beginning, "configured"))["configured"]
    assert decisions(policies["configured"]) == decisions(again)
    np.testing.assert_array_equal(policies["configured"].values, again.values)


def test_the_budget_of_retrainings_holds():
    beginning = begin_small(
        history_frame(days=70),
        start=place_of(26),
        retraining={"triggers": ["periodic"], "every": "2d", "cooldown": "1h", "max_per_30d": 3},
    )
    policy = replayed(beginning).policies[0]
    started = [step.step.at for step in policy.steps if step.state]
    assert all(sum((at - other).days < 30 and other <= at for other in started) <= 3 for at in started)
    assert "budget" in {reason["code"] for one in decisions(policy) for reason in one["reasons"]}


def test_nothing_is_learned_from_a_label_before_it_is_known():
    frame = history_frame(days=60, label_hours=200)
    beginning = begin_small(frame, start=place_of(30), data={"label_time": "known"})
    learned = []
    config = parse_policy("every", beginning.config).config
    for step in beginning.steps:
        for refit in (False, True):
            parts = beginning.history.parts(config, until=step.until, refit=refit)
            for rows in (parts.training, parts.holdout, parts.evaluation):
                known = (rows.frame["known"] - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
                learned.append(bool((known <= step.until).all()))
    assert all(learned)


@SLOW
@given(place=st.integers(30, 55), seed=st.integers(0, 3))
def test_what_comes_after_a_moment_changes_nothing_before_it(place, seed):
    frame = history_frame(days=place + 5, flip=40, seed=seed)
    other = frame.copy()
    later = np.arange(len(frame)) >= place * PER_DAY
    other.loc[later, "y"] = 1 - other.loc[later, "y"]
    other.loc[later, "x"] += 5.0
    config = replay_config()
    one, two = (
        replayed(begin_small(rows, config, start=place_of(26))).policies[0] for rows in (frame, other)
    )
    before = [k for k, step in enumerate(one.steps) if step.step.until <= place_of(place)]
    assert [decisions(one)[k] for k in before] == [decisions(two)[k] for k in before]
    np.testing.assert_array_equal(one.values[before], two.values[before])


def test_a_history_cut_off_decides_as_the_whole_one_did_until_then():
    frame, config = history_frame(days=64, flip=40), replay_config()
    whole = replayed(begin_small(frame, config, start=place_of(26))).policies[0]
    part = replayed(begin_small(frame.iloc[: 50 * PER_DAY + 1], config, start=place_of(26))).policies[0]
    assert 0 < len(part.steps) < len(whole.steps)
    assert decisions(whole)[: len(part.steps)] == decisions(part)


def test_the_literal_rule_alarms_more_than_the_calibrated_one_when_nothing_drifts():
    beginning = begin_small(history_frame(days=90, seed=2), start=place_of(30))
    policies = by_name(replayed(beginning, "configured,fixed_thresholds"))
    assert policies["fixed_thresholds"].alarms > policies["configured"].alarms
    assert policies["fixed_thresholds"].retrainings > policies["configured"].retrainings


@pytest.fixture(scope="module")
def by_timestamps():
    """What is decided of a history whose clock is a timestamp."""
    return replayed(begin_small(history_frame(days=52, flip=36), start=place_of(26))).policies[0]


@pytest.mark.parametrize("clock", ["rows", "seconds"])
def test_other_clocks_decide_as_timestamps_do(clock, by_timestamps):
    frame = history_frame(days=52, flip=36)
    if clock == "rows":
        frame = frame.drop(columns="at")
    else:
        frame["at"] = (frame["at"] - frame["at"].iloc[0]).dt.total_seconds()
    start = 26 * PER_DAY if clock == "rows" else 26 * 86400.0
    other, plain = (
        replayed(begin_small(frame, replay_config(clock=clock), start=start)).policies[0],
        by_timestamps,
    )
    many = min(len(plain.steps), len(other.steps))
    assert {State.CHAMPION_KEPT, None} < {step.state for step in plain.steps[:many]}
    states = [[one["state"] for one in decisions(policy)][:many] for policy in (plain, other)]
    assert states[0] == states[1]
    np.testing.assert_allclose(plain.values[:many], other.values[:many])


@pytest.mark.parametrize("problem", ["regression", "ranking", "multiclass"])
def test_other_problems_are_replayed(problem):
    beginning = begin_small(
        history_frame(problem, days=56, flip=34), replay_config(problem), start=place_of(26)
    )
    policies = by_name(replayed(beginning, "configured,never,every"))
    every, never = policies["every"], policies["never"]
    assert every.sign * every.mean > never.sign * never.mean
    assert (policies["configured"].accuracy is None) == (problem != "multiclass")
    assert (replayed(beginning, "never").baseline is None) == (problem == "ranking")


def test_the_default_start_is_the_first_window_past_30_percent_from_which_a_model_can_be_trained():
    assert begin_small(history_frame(days=100)).start.until == place_of(30)
    assert begin_small(history_frame(days=60)).start.until == place_of(18)
    late = begin_small(history_frame(days=60), evaluation={"validation_window": "25d"})
    assert late.start.until > place_of(18)


def test_a_first_model_that_is_refused_is_deployed_all_the_same_and_noted():
    frame = history_frame(days=60)
    frame["y"] = np.random.default_rng(7).integers(0, 2, len(frame))
    beginning = begin_small(frame, start=place_of(26))
    assert ["first_model_refused"] == [note.code for note in beginning.notes]
    assert len(beginning.steps) == len(replayed(beginning, "never").policies[0].steps)


def test_a_start_without_anything_to_learn_from_is_refused():
    with pytest.raises(NotLearnable):
        begin_small(history_frame(days=60), start=place_of(3))


def test_a_start_without_a_window_after_it_is_refused():
    with pytest.raises(InputError, match="No whole window of 2d"):
        begin_small(history_frame(days=30), start=place_of(29))


def test_a_model_without_a_clock_has_no_past():
    config = replay_config(split={"method": "random"})
    with pytest.raises(InputError, match="no clock"):
        History.of(Rows(history_frame(days=5).drop(columns="at")), config)


def test_rows_out_of_order_are_refused():
    with pytest.raises(DataError, match="clock order"):
        History.of(Rows(history_frame(days=1), np.arange(PER_DAY)[::-1].astype(float)), replay_config())


def test_a_policy_of_other_windows_is_refused():
    beginning = begin_small(history_frame(days=60), start=place_of(26))
    spec = parse_policy("configured", replay_config(monitoring={"window": "1d"}))
    with pytest.raises(InputError, match=r"monitoring\.window"):
        next(replay_policy(beginning, spec, timer=lambda: 0.0))


def test_with_one_candidate_the_full_search_decides_the_same():
    beginning = begin_small(history_frame(days=64, flip=36), start=place_of(26))
    short, full = (replayed(beginning, full=full).policies[0] for full in (False, True))
    assert [one["state"] for one in decisions(short)] == [one["state"] for one in decisions(full)]
    np.testing.assert_array_equal(short.values, full.values)


def test_the_full_search_lets_another_candidate_win():
    config = replay_config(
        candidates=(
            {"name": "dull", "estimator": "sklearn.dummy.DummyClassifier"},
            {"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"},
        )
    )
    beginning = begin_replay(make_history(history_frame(days=60), config), config, start=place_of(26))
    assert "linear" == beginning.first.model.recipe.candidate.name
    assert replayed(beginning, full=True).policies[0].steps
