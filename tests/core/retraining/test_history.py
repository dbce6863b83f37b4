"""Retrainings folded from the ledger, takeovers, quiet hours, known labels."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.config.quiet_hours import parse_quiet_hours, quiet_until
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.promotion.ledger import next_entry
from evergreen.tasks.core.retraining.decide import known_labels
from evergreen.tasks.core.retraining.history import (
    ENDED,
    LONGEST,
    MOST_RESUMED,
    PAUSED,
    RESUMED,
    RETRAINING,
    STAGE,
    STARTED,
    UNPAUSED,
    Attempt,
    claim_payload,
    decide_takeover,
    fold_history,
)
from evergreen.tasks.core.retraining.types import (
    Cause,
    Labels,
    Moment,
    RetrainDecision,
    RetrainingAction,
    RetrainingRequest,
    retrain_policy,
)
from evergreen.tasks.core.verdict import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAUSE = Cause(trigger="data", name="age", message="age moved", size=0.3, since="then", position=3.0)


def stream(*entries):
    found = []
    for kind, payload in entries:
        last = found[-1] if found else None
        found.append(next_entry(last, model="m", stream=RETRAINING, at=NOON, kind=kind, payload=payload))
    return found


def claim():
    decision = RetrainDecision(outcome=RetrainingAction.START, reasons=(), causes=(CAUSE,), change_at=3.0)
    asked = RetrainingRequest(causes=(CAUSE,), labels=Labels(positions=np.arange(5.0)), forced="why")
    return claim_payload(Moment(at=NOON, position=9.0), asked, decision, until="2026-03-01")


def test_a_claim_is_read_back_as_it_was_written():
    (attempt,) = fold_history(stream((STARTED, claim()))).attempts
    assert attempt == Attempt(
        claim="m/retraining/1",
        at=NOON,
        causes=(CAUSE,),
        alarms=(CAUSE,),
        position=9.0,
        labelled_to=4.0,
        change_at=3.0,
        forced="why",
        until="2026-03-01",
    )
    assert attempt.open


def test_stages_takeovers_and_the_end_are_folded_into_their_claim():
    stage = {
        "claim": "m/retraining/1",
        "stage": "train",
        "state": "Trained",
        "version": 4,
        "decision_id": "d",
    }
    end = {"claim": "m/retraining/1", "state": "ChampionKept", "version": 4, "reasons": []}
    entries = stream((STARTED, claim()), (STAGE, stage), (RESUMED, {"claim": "m/retraining/1"}), (ENDED, end))
    (attempt,) = fold_history(entries).attempts
    assert (attempt.stages["train"]["version"], attempt.resumed, attempt.state) == (4, 1, State.CHAMPION_KEPT)
    assert fold_history(entries).unhelpful == 1
    assert fold_history(entries[:-1]).open is not None
    assert fold_history(entries).open is None


def test_a_pause_lasts_until_it_is_ended():
    paused = stream((PAUSED, {"why": "audit"}))
    assert fold_history(paused).pause.why == "audit"
    assert fold_history(stream((PAUSED, {"why": "audit"}), (UNPAUSED, {"why": ""}))).pause is None


def test_an_attempt_is_taken_up_twice_within_a_day_and_then_closed():
    young = Attempt(claim="c", at=NOON)
    assert decide_takeover(NOON + LONGEST, young) is None
    assert decide_takeover(NOON + LONGEST + timedelta(seconds=1), young).code == "died_long_ago"
    assert decide_takeover(NOON, Attempt(claim="c", at=NOON, resumed=MOST_RESUMED - 1)) is None
    assert decide_takeover(NOON, Attempt(claim="c", at=NOON, resumed=MOST_RESUMED)).code == "died_again"


@pytest.mark.parametrize(
    ("hours", "moment", "until"),
    [
        ("22:00-06:00", "2026-03-01T21:59:59+00:00", None),
        ("22:00-06:00", "2026-03-01T22:00:00+00:00", "2026-03-02T06:00:00+00:00"),
        ("22:00-06:00", "2026-03-02T05:59:00+00:00", "2026-03-02T06:00:00+00:00"),
        ("22:00-06:00", "2026-03-02T06:00:00+00:00", None),
        ("08:00-09:30 Europe/Berlin", "2026-03-02T07:15:00+00:00", "2026-03-02T08:30:00+00:00"),
        (
            "01:00-05:00 Europe/Berlin",
            "2026-03-29T00:30:00+00:00",
            "2026-03-29T03:00:00+00:00",
        ),  # the night of DST
    ],
)
def test_quiet_hours_go_over_midnight_and_by_the_zone(hours, moment, until):
    found = parse_quiet_hours(hours).ends_after(datetime.fromisoformat(moment))
    assert (None if until is None else datetime.fromisoformat(until)) == found


def test_quiet_hours_that_follow_on_each_other_are_one():
    several = [parse_quiet_hours("22:00-02:00"), parse_quiet_hours("02:00-06:00")]
    assert quiet_until(several, datetime(2026, 3, 1, 23, tzinfo=UTC)) == datetime(2026, 3, 2, 6, tzinfo=UTC)


def config(**sections):
    values = {
        "model": "m",
        "problem": "binary",
        "data": {"source": "x.csv", "target": "y", "time": "t"},
        "training": {"candidates": [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression"}]},
    }
    return parse_model({**values, **sections}, origin="m.yaml")


@pytest.mark.parametrize("wrong", ["22-06", "25:00-26:00", "10:00-10:00", "10:00-11:00 Mars/Base"])
def test_hours_that_cannot_be_read_name_the_key(wrong):
    with pytest.raises(ConfigError, match=r"retraining\.quiet_hours"):
        config(retraining={"quiet_hours": [wrong]})


def test_a_trigger_of_labels_needs_their_number():
    with pytest.raises(ConfigError, match="min_new_rows"):
        config(retraining={"triggers": ["labels"]})
    policy = retrain_policy(config(retraining={"triggers": ["labels"], "min_new_rows": 700}))
    assert (policy.min_new_rows, policy.fresh_rows) == (700, 700)


def test_the_default_triggers_hold_a_periodic_one():
    assert "periodic" in retrain_policy(config()).triggers


def test_labels_count_when_they_are_known_and_no_earlier():
    frame = pd.DataFrame(
        {"t": pd.to_datetime(np.arange(5) * 86400, unit="s", utc=True), "y": [1, 0, 1, None, 0]}
    )
    rows = Rows(frame, np.arange(5) * 86400.0)
    delayed = config(data={"source": "x.csv", "target": "y", "time": "t", "label_delay": "1d"})
    assert known_labels(rows, config()).positions.tolist() == [0.0, 86400.0, 172800.0, 345600.0]
    assert known_labels(rows, delayed, until=172800.0).positions.tolist() == [0.0, 86400.0]


def test_without_a_clock_labelled_rows_are_counted():
    bare = config(data={"source": "x.csv", "target": "y"})
    labels = known_labels(Rows(pd.DataFrame({"y": [1, None, 0]})), bare)
    assert (labels.newest, labels.after(0.0), labels.after(None)) == (1.0, 1, 2)
