"""Private columns in the log of served predictions: not watched, and nothing is made of what is there instead."""

import numpy as np
import pytest
from prefect.logging import disable_run_logger

import evergreen.tasks.monitoring_report
from evergreen.tasks.core.serving.batch import Concealer
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction
from evergreen.tasks.monitoring import check_due_windows, load_monitor, read_monitor_request
from evergreen.tasks.monitoring_report import MonitorRun, health_of
from tests.support.champions import (
    FIRST,
    PER_HOUR,
    hours,
    make_rows,
    reason_codes,
    run_monitor,
    verdict_of,
    window_entries,
)
from tests.tasks.test_monitoring_sources import NOW

KEY = b"k" * 32
HOURS = 6


def log_concealed(setup, frame, *, version=1, score=None):
    """Log predictions with their outcomes as the service does: private columns hashed, or left out."""
    data, how = setup.config.data, setup.config.serving.private
    conceal = Concealer(data.private, entity=None, how=how, key=KEY)
    features = conceal.rows(frame[["x", "z", "colour"]].to_dict("records"))
    places = [f"{version}-{place}" for place in frame.index]
    moments = [moment.timestamp() for moment in frame["at"]]
    scores = 1 / (1 + np.exp(-1.5 * frame["x"])) if score is None else [score] * len(frame)
    served = [
        Prediction(
            prediction_id=name,
            position=at,
            score=float(value),
            decision="yes" if value >= 0.5 else "no",
            version=version,
            features=row,
        )
        for name, at, value, row in zip(places, moments, scores, features, strict=True)
    ]
    known = [
        KnownOutcome(prediction_id=name, outcome=y, known_at=at + 60.0)
        for name, at, y in zip(places, moments, frame["y"], strict=True)
    ]
    setup.stores.log.append_predictions(setup.model, served, at=NOW)
    setup.stores.log.append_outcomes(setup.model, known, at=NOW)


def logged_setup(monitored, *, private, how="hash"):
    """Open the model with the log as its source."""
    return monitored.setup(
        make_rows(hours=FIRST),
        monitoring={"source": "log"},
        serving={"private": how},
        data={"numeric": ["x", "z"], "private": private},
    )


def columns_of(result):
    """Return the columns that the run's looks measured."""
    return {one["column"] for window in result.details["windows"] for one in window["columns"]}


def look_at_both(setup):
    """Return a run as the flow begins it."""
    with disable_run_logger():
        request = read_monitor_request(setup, since=None, until=None, dry_run=False)
        monitored = load_monitor.fn(setup)
        phases = {phase: check_due_windows.fn(setup, monitored, request, phase) for phase in monitored.phases}
    return MonitorRun(request=request, monitor=monitored, phases=phases)


@pytest.mark.parametrize("how", ["hash", "leave_out"])
@pytest.mark.parametrize("private", [["colour"], ["x", "colour"]])
def test_private_features_are_not_watched_where_the_log_conceals_them(monitored, private, how):
    setup = logged_setup(monitored, private=private, how=how)
    log_concealed(setup, make_rows(hours=FIRST + HOURS).iloc[hours(FIRST, FIRST + HOURS)])
    result = run_monitor(setup)
    windows = result.details["windows"]
    assert HOURS - 1 == len(windows)
    assert {("quiet", "within_limits")} == {
        (level, *codes) for level, codes in (verdict_of(one, "data") for one in windows)
    }
    assert {"x", "z", "colour"} - {*private} == {name for name in columns_of(result) if name[0] != "@"}
    labelled = [one for one in windows if "concept" in one["kinds"]]
    assert HOURS - 2 == len(labelled)
    assert "insufficient" not in {
        verdict_of(one, kind)[0] for one in labelled for kind in ("concept", "performance")
    }
    reason = next(one for one in result.reasons if one.code == "private_columns")
    assert ", ".join(private) == reason.observed
    assert ("a keyed hash" if how == "hash" else "nothing") in reason.message


def test_a_page_names_what_is_not_watched_and_health_asks_the_champion_for_a_row_that_is_whole(
    monitored, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        evergreen.tasks.monitoring_report, "check_health", lambda _, facts: asked.append(facts)
    )
    setup = logged_setup(monitored, private=["x"])
    log_concealed(setup, make_rows(hours=FIRST + 3).iloc[hours(FIRST, FIRST + 3)])
    run = look_at_both(setup)
    health_of(setup, run)
    assert ["x"] == [name for name in ("x", "z", "colour") if name in run.monitor.limits()["Not watched"]]
    assert [None] == [facts.rows for facts in asked]
    assert run.inputs.newest_rows.frame["x"].isna().all()


def test_drift_of_the_other_columns_is_still_seen(monitored):
    setup = logged_setup(monitored, private=["colour"])
    frame = make_rows(hours=FIRST + HOURS).iloc[hours(FIRST, FIRST + HOURS)]
    log_concealed(setup, frame.assign(z=frame["z"] + 3.0))
    result = run_monitor(setup)
    assert State.DRIFT is result.state
    assert {"z"} == {one["column"] for one in result.details["open_alarms"] if one["kind"] == "data"}


def test_rows_that_another_version_answered_are_not_scored_without_their_private_columns(monitored):
    setup = logged_setup(monitored, private=["x"])
    frame = make_rows(hours=FIRST + HOURS).iloc[hours(FIRST, FIRST + HOURS)]
    log_concealed(setup, frame.iloc[::2])
    log_concealed(setup, frame.iloc[1::2], version=7, score=0.999)
    windows = run_monitor(setup).details["windows"]
    assert {PER_HOUR} == {one["n"] for one in window_entries(setup, "inputs")}
    assert {PER_HOUR // 2} == {one["n"] for one in window_entries(setup, "outcomes")}
    assert "drift" not in {verdict_of(one, "prediction")[0] for one in windows}


def test_windows_that_others_answered_alone_say_nothing_of_the_champion(monitored):
    setup = logged_setup(monitored, private=["x"])
    log_concealed(
        setup, make_rows(hours=FIRST + HOURS).iloc[hours(FIRST, FIRST + HOURS)], version=7, score=0.999
    )
    windows = run_monitor(setup).details["windows"]
    assert {"insufficient"} == {verdict_of(one, "prediction")[0] for one in windows}
    assert {"quiet"} == {verdict_of(one, "data")[0] for one in windows}


def test_where_every_feature_is_private_the_answers_are_still_watched(monitored):
    setup = logged_setup(monitored, private=["x", "z", "colour"])
    log_concealed(setup, make_rows(hours=FIRST + HOURS).iloc[hours(FIRST, FIRST + HOURS)], score=0.9999)
    result = run_monitor(setup)
    assert "private_columns" in reason_codes(result)
    assert {"drift", "warning"} >= {one["verdicts"]["prediction"] for one in result.details["windows"]}
    assert {"@score", "@decision"} == columns_of(result)


def test_the_data_source_shows_private_columns(monitored):
    setup = monitored.setup(make_rows(hours=FIRST + 4), data={"private": ["colour"]})
    result = run_monitor(setup)
    assert "private_columns" not in reason_codes(result)
    assert "colour" in columns_of(result)
