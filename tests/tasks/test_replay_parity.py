"""The same history through the live stages with a stopped clock, and through a replay: the same decisions.

Everything but Prefect: the stages' own functions on a real MLflow store and a real ledger.
"""

import shutil

import pytest
import yaml

import evergreen.tasks.promotion
import evergreen.tasks.retraining
from evergreen.tasks.challenge import (
    arrange_comparison,
    find_contestants,
    judge_comparison,
    load_evaluation_rows,
    prepare_refit,
    promote_winner,
)
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.verdict import Outcome, Reason, StageResult, State, Verdict
from evergreen.tasks.data import load_parts, position_of
from evergreen.tasks.io.retraining import read_request
from evergreen.tasks.io.settings import FROZEN
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.retraining import TRAIN, VALIDATE, gather_causes, run_claimed
from evergreen.tasks.validation import (
    apply_validation,
    check_windows,
    find_candidate,
    judge_candidate,
    measure_candidate,
)
from tests.support.champions import promote_unannounced, run_monitor, window_entries
from tests.support.champions import train as train_now
from tests.support.replays import begin_small, history_frame, place_of, replay_config, replayed

PASSED = Verdict(outcome=Outcome.PASS)


class Subflow:
    """A stage run as a function, whose result is read as a Prefect state's is."""

    def __init__(self, stage):
        self.stage = stage

    def __call__(self, *, model, return_state=True, **options):
        setup = open_setup(model)
        try:
            self.found = self.stage(setup, **options)
        except NotLearnable as error:
            reasons = (Reason.from_error(error),)
            self.found = StageResult(state=State.INSUFFICIENT_DATA, model=setup.model, reasons=reasons)
        return self

    def result(self):
        return self.found.to_dict()


def train(setup, *, until, trigger="manual", since=None):
    info = train_now(setup, until=until, trigger=trigger, change_at=position_of(since, setup.config))[-1]
    return StageResult(state=State.TRAINED, model=setup.model, version=info.version)


def validate(setup, *, version):
    candidate = find_candidate.fn(setup, version)
    parts = load_parts(setup, plan=candidate.plan, also=candidate.columns)
    checked = check_windows.fn(setup, candidate, parts)
    context = measure_candidate.fn(setup, candidate, parts, checked, None)
    return apply_validation.fn(setup, context, judge_candidate.fn(context), {})


def challenge(setup, *, until):
    opponents = find_contestants.fn(setup)
    parts = load_evaluation_rows.fn(setup, opponents, until=until)
    judged = judge_comparison.fn(setup, opponents, arrange_comparison.fn(setup, opponents, parts))
    if judged.state is not State.WON:
        return judged
    refit = prepare_refit.fn(setup, parts, opponents.challenger, until=until)
    return promote_winner(setup, judged, opponents, refit, Reason(code="approved", message="By policy."))


def stages(run):
    until = run.attempt.until
    trained = run.stage(TRAIN, Subflow(train), until=until, trigger=run.trigger, since=run.since)
    if trained.state is not State.TRAINED:
        return trained
    approved = run.stage(VALIDATE, Subflow(validate), version=trained.version)
    if approved.state is not State.APPROVED:
        return approved
    return run.challenge(Subflow(challenge), until=until)


@pytest.fixture
def live(mlflow_template, tmp_path, monkeypatch):
    """Stores of their own, nothing that needs a server or a fresh process."""
    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL"):
        monkeypatch.delenv(name, raising=False)
    smoke = lambda stores: lambda model, version: PASSED  # noqa: E731
    for module in ("evergreen.tasks.challenge", "evergreen.tasks.promotion"):
        monkeypatch.setattr(f"{module}.serving_smoke", smoke)
    monkeypatch.setattr("evergreen.tasks.challenge.promote_task", promote_unannounced)
    monkeypatch.setattr(evergreen.tasks.retraining, "announce_retraining", lambda *_: None)
    return tmp_path


def stop_at(monkeypatch, at):
    monkeypatch.setenv(FROZEN, at.isoformat())


def open_model(folder, frame, config):
    frame.to_csv(folder / "rows.csv", index=False)
    values = config.model_dump(mode="json")
    path = folder / "tested.yaml"
    path.write_text(yaml.safe_dump({**values, "contract": {**values["contract"], "enabled": False}}))
    return open_setup(str(path))


def run_live(setup, beginning, monkeypatch):
    """Go through the history as it would have been lived; return each decision, its end and the champion."""
    text = lambda step: format_position(step.until, clock="timestamp")  # noqa: E731
    stop_at(monkeypatch, beginning.start.at)
    first = train(setup, until=text(beginning.start))
    validate(setup, version=first.version)
    assert challenge(setup, until=text(beginning.start)).state is State.PROMOTED
    lived = []
    for step in beginning.steps:
        stop_at(monkeypatch, step.at)
        run_monitor(setup, until=text(step))
        request = read_request(
            setup, trigger="schedule", force=False, reason=None, until=text(step), dry_run=False
        )
        found = run_claimed(setup, request, gather_causes.fn(setup, request), stages)
        lived.append((found, setup.stores.registry.aliases(setup.model)["champion"]))
    return lived


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("start", "turn", "days", "sections"),
    [
        (26, 2, 28, {"retraining": {"every": "8d"}}),
        pytest.param(26, 8, 36, {}, marks=pytest.mark.proof),
        pytest.param(
            34,
            8,
            36,
            {
                "data": {"label_delay": "3d"},
                "retraining": {"window": "since_change", "min_rows_since_change": 300},
            },
            marks=pytest.mark.proof,
        ),
    ],
    ids=["at once", "at once, for longer", "late labels, since the change"],
)
def test_live_and_replay_decide_the_same(live, monkeypatch, start, turn, days, sections):
    frame = history_frame(days=start + days, flip=start + turn)
    config = replay_config(contract={"enabled": False}, **sections)
    beginning = begin_small(frame, config, start=place_of(start))
    policy = replayed(beginning).policies[0]
    assert State.PROMOTED in {step.state for step in policy.steps}
    setup = open_model(live, frame, config)
    lived = run_live(setup, beginning, monkeypatch)
    champions = [*(step.version for step in policy.steps[1:]), None]
    for step, (found, champion), after in zip(policy.steps, lived, champions, strict=True):
        plain, where = step.decision, step.step.at
        assert (where, plain["outcome"]) == (where, found.details["outcome"])
        assert (where, plain["causes"]) == (where, found.details["causes"])
        if step.state is not None:
            assert (where, step.state, step.made) == (where, found.state, found.version)
            ends = {reason.message for reason in step.reasons}
            assert ends <= {reason.message for reason in found.reasons}
        assert after in (None, champion)
    assert window_entries(setup, Phase.INPUTS.value)
