"""`evergreen retrain`, `due`, `pause` and `resume` on a real Prefect server: what they do, say and keep."""

from contextlib import ExitStack
from datetime import datetime, timedelta

import numpy as np
import pytest

from evergreen.tasks.core.retraining.history import HELPED
from evergreen.tasks.core.retraining.types import Cause, Labels, Moment, RetrainingRequest, RetrainPolicy
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.retraining import read_history, take_claim
from evergreen.tasks.io.settings import FROZEN, utc_now
from tests.support.champions import BEGIN, FIRST, TRAINED, drifted_rows, hour_text, make_rows
from tests.support.commands import command, snapshot

pytestmark = pytest.mark.server
UNTIL = TRAINED + 36
QUICK = {"promotion": {"refit": False}, "retraining": {"window": "full"}}


@pytest.fixture
def model(prefect_server, monitored):
    """The watched model."""
    return monitored


def history(setup):
    return read_history(setup.stores.ledger, setup.model)


def test_a_retraining_by_hand_walks_its_stages_and_the_cooldown_holds_the_next(model, monkeypatch):
    setup = model.setup(make_rows(hours=UNTIL), **QUICK)
    monkeypatch.setenv(FROZEN, hour_text(UNTIL - 5))
    first = command("retrain", setup.path, "--until", hour_text(UNTIL - 5))
    (attempt,) = history(setup).attempts
    assert (0, attempt.state.value) == (first.exit_code, first.state), first
    assert ["train", "validate", "challenge"] == list(first.json["stages"])
    assert ("manual", attempt.claim) == (first.json["causes"][0]["trigger"], first.json["claim"])
    tags = setup.stores.registry.version(setup.model, first.json["stages"]["train"]["version"]).tags
    assert (attempt.claim, "manual") == (tags["evergreen.retraining"], tags["evergreen.trigger"])
    assert "manual" in tags["evergreen.retraining_cause"]
    assert first.state == tags["evergreen.retraining_state"]
    assert tags["evergreen.trained_to"] < hour_text(UNTIL - 5)
    assert datetime.fromisoformat(hour_text(UNTIL - 5)) == attempt.at
    again = command("retrain", setup.path)
    assert (0, "Blocked", ["cooldown"]) == (again.exit_code, again.state, again.codes)
    factor = 1 if attempt.state in HELPED else 2
    assert attempt.at + timedelta(hours=factor) == datetime.fromisoformat(again.json["next_allowed_at"])
    forced = command("retrain", setup.path, "--force", "--reason", "the feed was mended", "--dry-run")
    assert ["dry_run", "manual", "forced"] == forced.codes
    assert "the feed was mended" in forced.said


def test_drift_that_monitoring_found_starts_one_when_it_is_asked_by_the_event(model, monkeypatch):
    setup = model.setup(drifted_rows(begin=FIRST + 2, end=UNTIL, until=UNTIL), **QUICK)
    assert (
        "InsufficientData" == command("retrain", setup.path, "--trigger", "drift").state
    )  # nobody has looked yet
    assert "Drift" == command("monitor", setup.path).state
    due = command("due", setup.path)
    assert ("Due", "data") == (due.state, due.json["causes"][0]["trigger"])
    assert due.json["next_allowed_at"] is None
    answer = command("retrain", setup.path, "--trigger", "drift")
    assert {"x"} <= {cause["name"] for cause in answer.json["causes"]}
    (attempt,) = history(setup).attempts
    assert attempt.change_at is not None
    assert attempt.state in {State.PROMOTED, State.CHAMPION_KEPT, State.REJECTED}
    monkeypatch.setenv(FROZEN, (attempt.at + timedelta(days=1)).isoformat())
    after = command("retrain", setup.path, "--trigger", "drift")
    assert after.state in {"Blocked", "InsufficientData"}, (
        after
    )  # answered, or under a champion nobody has looked at


def test_what_is_not_due_is_held_with_its_date(model, monkeypatch):
    setup = model.setup(make_rows(hours=UNTIL), **QUICK)
    attempt = remembered(setup, labelled_to=hour(UNTIL - 2), state=State.PROMOTED)
    command("monitor", setup.path)
    monkeypatch.setenv(FROZEN, (attempt.at + timedelta(days=29)).isoformat())
    early = command("retrain", setup.path, "--trigger", "schedule")
    assert ("Blocked", ["not_due"]) == (early.state, early.codes)
    assert attempt.at + timedelta(days=30) == datetime.fromisoformat(early.json["next_allowed_at"])
    monkeypatch.setenv(FROZEN, (attempt.at + timedelta(days=30)).isoformat())
    due = command("due", setup.path)
    assert [True] == [one["due"] for one in due.json["triggers"]]
    assert "Due" == due.state
    model.setup(make_rows(hours=UNTIL - 2), **QUICK)
    late = command("retrain", setup.path, "--trigger", "schedule")
    assert ("InsufficientData", ["no_new_labels"]) == (late.state, late.codes)


def remembered(setup, *, labelled_to, state):
    """Write a retraining into the ledger as if it had ended so; return it."""
    with ExitStack() as stack:
        desk = take_claim(stack, setup.stores.ledger, setup.model)
        asked = RetrainingRequest(
            causes=(Cause(trigger="manual"),), labels=Labels(positions=np.array([labelled_to]))
        )
        attempt, _ = desk.claim(Moment(at=utc_now()), asked, RetrainPolicy(), until=None)
        desk.end(attempt, state, version=1)
    return attempt


def hour(number):
    return (BEGIN + np.timedelta64(number, "h")).timestamp()


def test_a_pause_holds_even_force_and_is_shown_until_it_ends(model):
    setup = model.setup(make_rows(hours=UNTIL), **QUICK)
    assert (0, "Paused") == (
        (paused := command("pause", setup.path, "--reason", "audit")).exit_code,
        paused.state,
    )
    assert command("pause", setup.path, "--reason", "again").json["decision_id"] is None
    held = command("retrain", setup.path, "--force", "--reason", "now")
    assert ("Blocked", ["paused"], None) == (held.state, held.codes, held.json["next_allowed_at"])
    assert "audit" == command("status", setup.path).json["retraining"]["paused"]["why"]
    assert "Resumed" == command("resume", setup.path).state
    assert command("status", setup.path).json["retraining"]["paused"] is None
    assert () == history(setup).attempts


def test_a_dry_run_says_what_it_would_do_and_does_nothing(model):
    setup = model.setup(make_rows(hours=UNTIL), **QUICK)
    before = snapshot(setup.stores)
    dry = command("retrain", setup.path, "--dry-run")
    assert ("Blocked", "dry_run", "start") == (dry.state, dry.codes[0], dry.json["outcome"])
    assert dry.json["next_allowed_at"] is None
    assert before == snapshot(setup.stores)


WRONG = {
    "force without a reason": (("retrain", "--force"), "--force needs a reason"),
    "a moment that is none": (("retrain", "--until", "someday"), "'someday' is not a point on a clock"),
    "a trigger that is none": (
        ("retrain", "--trigger", "foo"),
        "'foo' is not a trigger. Write one of manual, schedule, drift, performance.",
    ),
    "a pause without a reason": (("pause", "--reason", " "), "Pausing needs a reason"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence_with_code_2_and_starts_nothing(case, model):
    (verb, *options), said = WRONG[case]
    setup = model.setup(make_rows(hours=UNTIL))
    answer = command(verb, setup.path, *options)
    assert (2, "InputError") == (answer.exit_code, answer.state), answer
    assert said in answer.said
    assert () == history(setup).attempts


def test_a_stage_that_fails_closes_the_claim_as_failed_and_the_back_off_counts_it(model):
    healthy = model.setup(make_rows(hours=UNTIL), training={"candidates": [UNFIT]}, **QUICK)
    broken = command("retrain", healthy.path)
    assert (2, "InputError") == (broken.exit_code, broken.state)
    (attempt,) = history(healthy).attempts
    assert State.INPUT_ERROR is attempt.state
    held = command("retrain", healthy.path)
    assert ("Blocked", ["cooldown"]) == (held.state, held.codes)
    assert attempt.at + timedelta(hours=2) == datetime.fromisoformat(held.json["next_allowed_at"])


UNFIT = {"name": "unfit", "estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": -1.0}}
