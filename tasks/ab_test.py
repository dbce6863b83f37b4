"""A look at a live test, and what follows: go on, promote through the one promotion task, keep, or abort."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.ab_create import create_test, finish_creation
from tasks.ab_desk import end_test, not_begun, require_sound
from tasks.ab_material import Seen, look_now
from tasks.ab_traffic import read_tests, settle_arms, what_changed
from tasks.core.ab.admission import admitted_challenger
from tasks.core.ab.conclusion import REIGNS_ALREADY, Action, Conclusion, conclude, end_now
from tasks.core.ab.history import AB, LOOKED, TestState, look_payload, running_test
from tasks.core.ab.report import live_items, live_markdown
from tasks.core.challenge.opponents import Opponents
from tasks.core.errors import NotLearnable
from tasks.core.reign.plan import CHALLENGER, CHAMPION
from tasks.core.verdict import Reason, StageResult, State
from tasks.core.watching.looked import json_ready
from tasks.crown import crown_heir
from tasks.heir import Heir
from tasks.io.ab_figures import trace_figure
from tasks.io.ab_page import draw_live_page
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker
from tasks.links import artifact_key
from tasks.outcomes import record_decision
from tasks.promote import reconcile_task
from tasks.prove import serving_smoke
from tasks.retries import SIDE_EFFECT, TRANSIENT
from tasks.stage_task import stage_task

_STATES = {
    Action.GO_ON: State.TESTING,
    Action.PROMOTE: State.WON,
    Action.KEEP: State.KEPT,
    Action.EXPIRE: State.KEPT,
    Action.ABORT: State.ABORTED,
}


@stage_task(**SIDE_EFFECT)
def open_test(setup: Setup, *, dry_run: bool = False) -> TestState:
    """Return the test that runs; begin one for a challenger that was admitted and has not been tested yet.

    What a run that died has left is finished first: arms of a test that is over, a test that was created and not begun.

    Raises
    ------
    NotLearnable
        ``no_live_test``: none runs, and nobody waits for one. ``not_begun``: services have not had their time yet.
    """
    ledger, model = setup.stores.ledger, setup.model
    if not dry_run:
        settle_arms(setup)
    running = running_test(read_tests(setup))
    if running is None and not dry_run:
        aliases = setup.stores.registry.aliases(model)
        waiting = admitted_challenger(
            ledger.read(model=model, stream="decisions"), read_tests(setup), path=setup.config.promotion.path,
            challenger=aliases.get(CHALLENGER), champion=aliases.get(CHAMPION),
        )  # fmt: skip
        if waiting is not None:
            create_test(setup, challenger=waiting)
            running = running_test(read_tests(setup))
    if running is None:
        raise NotLearnable(
            "no_live_test",
            f"No live test of '{model}' runs, and no admitted challenger waits for one. Begin one by "
            f"'evergreen ab create {model}'.",
        )
    if running.begun_at is None and not dry_run:
        running = finish_creation(setup, running)
    if running.begun_at is None:
        reason = not_begun(running)
        raise NotLearnable(reason.code, reason.message)
    return running


@stage_task(**TRANSIENT)
def look_at_test(setup: Setup, state: TestState, *, dry_run: bool = False) -> Seen:
    """Judge the evidence as of now and keep the look in the ledger; a dry run keeps nothing."""
    seen = look_now(setup, state.test)
    if not dry_run:
        payload = look_payload(state.test, seen.look)
        setup.stores.ledger.append(model=setup.model, stream=AB, kind=LOOKED, payload=payload, at=utc_now())
    return seen


@stage_task(**SIDE_EFFECT)
def judge_test(
    setup: Setup, state: TestState, seen: Seen, *, end: bool = False, dry_run: bool = False
) -> StageResult:
    """Decide what follows from a look, and keep the decision where it ends the test.

    Parameters
    ----------
    end : bool
        End the test now: who has won is promoted, else the champion is kept.
    """
    ended = _conclude(setup, state, seen)
    if end and not ended.ends:
        ended = end_now(ended)
    result = _result(setup, state, seen, ended)
    if dry_run:
        return replace(result, details={**result.details, "dry_run": True})
    return record_decision(setup, "live_test", result) if ended.ends else result


@stage_task(**SIDE_EFFECT)
def close_test(setup: Setup, state: TestState, judged: StageResult) -> None:
    """Write the end of a test, and send the traffic back.

    Who won and was not approved leaves the champion; who won and did not stay on the throne aborts the test.
    """
    concluded = Conclusion.from_dict(judged.details["conclusion"], state.test)
    ends = {State.PROMOTED: Action.PROMOTE, State.ABORTED: Action.ABORT, State.KEPT: Action.KEEP}
    action = ends.get(judged.state, Action.ABORT)
    if action is Action.KEEP and concluded.action is Action.EXPIRE:
        action = Action.EXPIRE
    winner = concluded.winner if action is Action.PROMOTE else None
    ended = Conclusion(action=action, reasons=judged.reasons, winner=winner)
    end_test(setup, state.test, ended, by="ab-test")


def crown_winner(setup: Setup, state: TestState, judged: StageResult, answer: Reason) -> StageResult:
    """Promote the version that was tested, as it is: the evidence is about it and no other.

    A person may have taken a day to answer. So the rows are looked at again, and what would abort the test by now, or
    keep the champion, does; and under the promotion's lock the test must still run, on the traffic that was its own.
    """
    if setup.config.promotion.approval == "manual":
        again = _look_again(setup, state)
        if again.action in (Action.ABORT, Action.KEEP):
            return judged.ends(_STATES[again.action], answer, *again.reasons)
    version = int(judged.version or 0)
    opponents = Opponents(challenger=version, champion=state.test.control.version)
    story = f"Version {version} was superior in live test '{state.test.name}'."
    heir = Heir(version=version, reasons=(), story=story)
    still = partial(require_sound, setup, state.test)
    return crown_heir(setup, judged, opponents, heir, answer, still=still)


def prove_crowned(setup: Setup, judged: StageResult) -> StageResult:
    """Finish a promotion of the challenger that nobody saw through: settle what is open, prove the champion."""
    stores = setup.stores
    proved = reconcile_task(
        stores.registry, stores.ledger, model=setup.model, smoke=serving_smoke(stores),
        max_rollback_attempts=setup.config.evaluation.max_rollback_attempts,
    )  # fmt: skip
    if proved.state is State.RECONCILED:
        return judged
    return judged.ends(proved.state, *proved.reasons, version=proved.version)


@stage_task(**SIDE_EFFECT)
def settle_tests(setup: Setup, reconciled: StageResult) -> StageResult:
    """End the arms of live tests that are over, and say so."""
    if not settle_arms(setup):
        return reconciled
    reason = Reason(code="traffic_taken_back", message="Arms of a live test that is over were ended.")
    return replace(reconciled, reasons=(*reconciled.reasons, reason))


@stage_task(**TRANSIENT)
def report_test(setup: Setup, state: TestState, judged: StageResult) -> None:
    """Show the look in the Prefect UI and log it, with the sequence over time, to MLflow (``<model>/ab_testing``)."""
    shown = next(one for one in read_tests(setup) if one.test.name == state.test.name)
    traces = {arm.name: shown.trace(arm.name) for arm in state.test.challengers}
    page = live_markdown(state.test, judged)
    create_markdown_artifact(page, key=artifact_key("ab-test", setup.model), description="Live test")
    tracker = open_tracker(setup.stores)
    tags = {"evergreen.stage": "ab-test", "evergreen.live_test": state.test.name}
    name = f"{state.test.name}-look-{len(shown.looks)}"
    with tracker.run(setup.model, "ab_testing", name=name, tags=tags) as run_id:
        drawn = draw_live_page(state.test, judged, traces, clock=setup.config.data.clock)
        items = live_items(state.test, judged, traces, page=page, html=drawn)
        figures = [trace_figure(state.test, arm, points) for arm, points in traces.items() if points]
        tracker.write_items(run_id, [*items, *figures])


def _conclude(setup: Setup, state: TestState, seen: Seen) -> Conclusion:
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    return conclude(state.test, seen.look, champion=champion, tripped=what_changed(setup, state))


def _look_again(setup: Setup, state: TestState) -> Conclusion:
    """Return what follows from the rows as they are now; the look is kept where the test still runs."""
    running = running_test(read_tests(setup))
    on = running is not None and running.test.name == state.test.name
    return _conclude(setup, state, look_at_test(setup, state, dry_run=not on))


def _result(setup: Setup, state: TestState, seen: Seen, ended: Conclusion) -> StageResult:
    details: dict[str, Any] = {
        "test": state.test.name, "metric": state.test.metric, "mode": state.test.mode,
        "look": seen.look.to_dict(), "maturity": seen.maturity.to_dict(), "conclusion": ended.to_dict(),
    }  # fmt: skip
    version = ended.winner.version if ended.winner else state.test.challengers[0].version
    crowned = any(reason.code == REIGNS_ALREADY for reason in ended.reasons)
    return StageResult(
        state=State.PROMOTED if crowned else _STATES[ended.action], model=setup.model, reasons=ended.reasons,
        version=version, details=json_ready(details),
    )  # fmt: skip
