"""Policies of a replay by name, presets of retraining, and the simulated clock."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import ConfigError, InputError
from evergreen.tasks.core.replay.history import SimulatedClock
from evergreen.tasks.core.replay.setup import parse_policies
from tests.support.replays import replay_config

VALUES = {
    "model": "m",
    "problem": "binary",
    "data": {"source": "rows.csv", "target": "y", "time": "at"},
    "training": {"candidates": [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression"}]},
}


def parsed(**sections):
    return parse_model({**VALUES, **sections}, origin="config/m.yaml")


def test_policies_are_read_in_order_with_their_modes():
    specs = parse_policies("configured, never,every,periodic:30d,fixed_thresholds", replay_config())
    assert [
        ("configured", "governed"),
        ("never", "never"),
        ("every", "every"),
        ("periodic:30d", "governed"),
        ("fixed_thresholds", "governed"),
    ] == [(one.name, one.mode) for one in specs]


def test_periodic_goes_by_the_calendar_alone():
    (spec,) = parse_policies("periodic:3w", replay_config())
    rules = spec.config.retraining
    assert (["periodic"], "3w", 0.0, 1.0) == (
        rules.triggers,
        str(rules.every),
        rules.cooldown.amount,
        rules.back_off,
    )


def test_the_literal_policy_wins_over_what_is_configured():
    (spec,) = parse_policies(
        "fixed_thresholds", replay_config(retraining={"triggers": ["periodic"], "hysteresis": 3.0})
    )
    assert ("fixed_thresholds", ["data", "outcome"]) == (spec.config.drift.policy, spec.config.drift.kinds)
    assert (["data", "outcome"], "1h", 1.0) == (
        spec.config.retraining.triggers,
        str(spec.config.retraining.cooldown),
        spec.config.retraining.hysteresis,
    )


def test_a_policy_is_replayed_as_if_it_were_switched_on():
    config = replay_config(
        retraining={"run_mode": "disabled"}, promotion={"evidence": "shadow", "approval": "manual"}
    )
    (spec,) = parse_policies("configured", config)
    assert ("enabled", "offline", "auto") == (
        spec.config.retraining.run_mode,
        spec.config.promotion.evidence,
        spec.config.promotion.approval,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "evry",
            "Unknown policy 'evry' in --policies. Known: configured, every, fixed_thresholds, never, periodic:SPAN. "
            "Did you mean 'every'?",
        ),
        ("periodic", "Wrong policy 'periodic' in --policies. Write periodic:30d or 'periodic:5000 rows'."),
        ("never:3", "Wrong policy 'never:3' in --policies. Write 'never' alone."),
        ("never,never", "names 'never' twice"),
        (" , ", "names no policy"),
        ("periodic:soon", "'soon'"),
    ],
)
def test_a_wrong_policy_is_named_with_what_is_allowed(text, said):
    with pytest.raises(InputError) as caught:
        parse_policies(text, replay_config())
    assert said in str(caught.value)


def test_a_preset_wins_over_the_defaults_and_yields_to_the_models_own_values():
    defaults = {"retraining": {"triggers": ["periodic"], "cooldown": "9h"}, "drift": {"policy": "calibrated"}}
    config = parse_model(
        {**VALUES, "retraining": {"preset": "fixed_thresholds", "cooldown": "6h"}},
        origin="x",
        defaults=defaults,
    )
    assert ("fixed_thresholds", ["data", "outcome"], "6h", 1.0) == (
        config.drift.policy,
        config.retraining.triggers,
        str(config.retraining.cooldown),
        config.retraining.back_off,
    )


def test_a_preset_of_the_base_file_holds_for_all_models():
    config = parse_model(VALUES, origin="x", defaults={"retraining": {"preset": "fixed_thresholds"}})
    assert ("fixed_thresholds", "fixed_thresholds") == (config.retraining.preset, config.drift.policy)


def test_without_a_preset_nothing_changes():
    assert parsed() == parse_model(VALUES, origin="x", defaults={})


def test_an_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match=r"retraining\.preset"):
        parsed(retraining={"preset": "litteral"})


@pytest.mark.parametrize(
    ("kind", "position", "expected"),
    [
        ("timestamp", 86400.0, datetime(1970, 1, 2, tzinfo=UTC)),
        ("seconds", 3600.0, datetime(1970, 1, 1, 1, tzinfo=UTC)),
        ("rows", 123456.0, datetime(1970, 1, 1, 6, tzinfo=UTC)),
    ],
)
def test_a_place_on_each_clock_is_a_moment(kind, position, expected):
    clock = SimulatedClock(kind=kind, interval=7200.0)
    assert expected == clock.at(position, number=3)


def test_a_window_of_time_is_full_with_the_first_row_past_its_end():
    clock = SimulatedClock(kind="timestamp", interval=3600.0)
    step = clock.step(Window(0.0, 100.0), np.array([10.0, 90.0, 130.0, 150.0]), number=1)
    assert (130.0, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=130)) == (step.until, step.at)


def test_a_window_of_row_numbers_is_full_at_its_end():
    clock = SimulatedClock(kind="rows", interval=3600.0)
    assert 100.0 == clock.step(Window(0.0, 100.0), np.arange(300.0), number=1).until
