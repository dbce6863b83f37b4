"""Analyse a live test, and decide: go on, promote by the one promotion task, keep the champion, or abort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from evergreen.tasks.challenge import Refit, load_evaluation_rows, promote_winner
from evergreen.tasks.core.ab_testing import ledger as live_ledger
from evergreen.tasks.core.ab_testing.analysis import ALREADY_CHAMPION, Action, Conclusion, conclude, end_now
from evergreen.tasks.core.ab_testing.definition import LiveTest
from evergreen.tasks.core.ab_testing.ledger import StreamMarks, TestState
from evergreen.tasks.core.ab_testing.planning import Contenders, guardrail_metrics, metric_of_test, plan_test
from evergreen.tasks.core.ab_testing.report import live_items, live_markdown
from evergreen.tasks.core.challenge.alpha import ALPHA, SPENT, AlphaAllowance, require_alpha
from evergreen.tasks.core.challenge.comparison import Contestants
from evergreen.tasks.core.config.model import overlay_model
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.promotion.history import PLANS
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import CHALLENGER, CHAMPION
from evergreen.tasks.core.promotion.registry_state import APPROVED, VALIDATION_STATUS
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.traffic.state import TRAFFIC
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.io import live_tests
from evergreen.tasks.io.ab_plots import draw_live_page, trace_figure
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.live_tests import LiveTestResults
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, record_decision
from evergreen.tasks.io.traffic import read_traffic
from evergreen.tasks.promotion import reconcile_task
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task


def score_champion_before(setup: Setup, contestants: Contestants) -> Scored | None:
    """Return the champion's answers to the rows that neither side was trained on; None where none can be read."""
    if contestants.champion is None:
        return None
    try:
        parts = load_evaluation_rows.fn(setup, contestants)
    except NotLearnable:
        return None
    return load_model(setup, contestants.champion).score(parts.evaluation, config=setup.config)


# Create a live test: it is recorded, spends its alpha, gets traffic and begins, each once, whatever crashes between.


GRACE_S = 60.0
"""A test counts from so many seconds after its traffic was shared: services see it, and load the challenger first."""
POLLS = 2
"""And from so many ``serving.poll`` after it, where that is longer."""


def create_test(
    setup: Setup,
    *,
    challenger: int | None = None,
    name: str | None = None,
    hypothesis: str = "",
    mode: str | None = None,
    alpha: float | None = None,
    live: dict[str, Any] | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Plan a test by the configuration, record it, spend its alpha, share the traffic, and begin.

    Parameters
    ----------
    challenger : int, optional
        Version; default: the one under @challenger.
    mode : str, optional
        ``paired`` (a shadow) or ``arms``; default by ``promotion.evidence``.
    alpha : float, optional
        Of the whole test; default: a quarter of what is left of the model's budget.
    live : dict, optional
        Values that replace those of the configuration's section ``live``.
    dry_run : bool
        Say what would be tested.

    Raises
    ------
    InputError
        When there is no one to compare, another test runs, or a value of it is not allowed.
    """
    if live:
        setup = replace(setup, config=overlay_model(setup.config, {"live": live}, origin="the command"))
    ledger, model = setup.stores.ledger, setup.model
    newest = {name: ledger.last(model, name) for name in (TRAFFIC, PLANS)}
    # before anything else is read, so that a change from here on is noticed
    marks = StreamMarks(**{name: entry.seq if entry else 0 for name, entry in newest.items()})
    sides = find_test_sides(setup, challenger)
    allowance = _allowance(setup, ledger.read(model=model, stream=ALPHA), alpha)
    allowance = require_alpha(allowance, level=setup.config.evaluation.significance_level)
    test = _plan_test(setup, sides, allowance, name=name, hypothesis=hypothesis, mode=mode)
    live_ledger.create_payload(ledger.read(model=model, stream=live_ledger.AB), test, marks)
    live_tests.share_traffic(setup, test, dry_run=True)  # an error of it comes before anything is written
    answer = partial(live_tests.live_test_result, setup, alpha_left=allowance.left_after)
    if dry_run:
        return answer("Planned", test, [], dry_run=True)
    entry = ledger.claim(
        model=model,
        stream=live_ledger.AB,
        at=utc_now(),
        decide=lambda history: (live_ledger.CREATED, live_ledger.create_payload(history, test, marks)),
    )
    state = finish_creation(setup, live_ledger.find_test(live_tests.read_tests(setup), test.name))
    message = f"{test.challengers[0].name} meets the champion: {test.hypothesis}"
    waiting = [live_tests.not_begun(state)] if state.begun_at is None else []
    return answer(
        "LiveTestRunning", state.test, [Reason(code="created", message=message), *waiting], entry=entry
    )


def finish_creation(setup: Setup, state: TestState) -> TestState:
    """Spend the alpha of a test that was created, share its traffic and fix its start; return it as it is then.

    Each step is done once, whoever did those before it. Nothing is analysed before the alpha is spent, and no row
    counts from before the traffic was shared. Traffic that was shared and changed since is left to the analysis.

    Raises
    ------
    InputError
        When another evaluation has spent the alpha meanwhile, which ends the test; when traffic cannot be shared.
    """
    _spend_alpha(setup, state)
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if champion == state.test.control.version and not live_tests.what_changed(setup, state):
        live_tests.share_traffic(setup, state.test)
    start = _counting_start(setup, state)
    if start is not None:

        def decide(history: Sequence[LedgerEntry]) -> tuple[str, dict[str, Any]] | None:
            payload = live_ledger.begin_payload(history, state.test.name, start)
            return None if payload is None else (live_ledger.BEGUN, payload)

        setup.stores.ledger.claim(model=setup.model, stream=live_ledger.AB, at=utc_now(), decide=decide)
    live_tests.settle_arms(setup)  # of this test too, where it was ended while traffic was shared
    return live_ledger.find_test(live_tests.read_tests(setup), state.test.name)


def find_test_sides(setup: Setup, challenger: int | None) -> Contestants:
    """Return champion and challenger of a test; ``InputError`` where one is missing, the same, or not approved."""
    aliases = setup.stores.registry.aliases(setup.model)
    champion, chosen = aliases.get(CHAMPION), challenger or aliases.get(CHALLENGER)
    if champion is None:
        raise InputError(f"'{setup.model}' has no champion to test against. Promote a first version.")
    if chosen is None:
        raise InputError(f"'{setup.model}' has no @challenger. Name a version by --challenger.")
    if chosen == champion:
        raise InputError(
            f"Version {chosen} of '{setup.model}' is the champion. Name another by --challenger."
        )
    status = setup.stores.registry.version(setup.model, chosen).tags.get(VALIDATION_STATUS, "absent")
    if status != APPROVED:
        raise InputError(
            f"Version {chosen} of '{setup.model}' has {VALIDATION_STATUS} '{status}'. Only '{APPROVED}' ones are "
            f"tested, as only they can be promoted: run 'evergreen validate {setup.model} --version {chosen}' first."
        )
    return Contestants(challenger=chosen, champion=champion)


def _plan_test(
    setup: Setup,
    contestants: Contestants,
    allowance: AlphaAllowance,
    *,
    name: str | None,
    hypothesis: str,
    mode: str | None,
) -> LiveTest:
    config, custom = setup.config, custom_metrics(setup.config)
    metric, guardrails = metric_of_test(config, custom=custom), guardrail_metrics(config, custom=custom)
    unbounded = any(not one.bounded for one in (metric, *guardrails.values()))
    champion, challenger = int(contestants.champion or 0), contestants.challenger
    start = live_tests.now_on_clock(setup)
    return plan_test(
        config,
        Contenders(champion=champion, challenger=challenger, start=start, alpha=allowance.alpha),
        name=name or f"test-{len(live_tests.read_tests(setup)) + 1}-v{challenger}",
        hypothesis=hypothesis or f"Version {challenger} has a better {metric.name} than version {champion}.",
        past=score_champion_before(setup, contestants) if unbounded else None,
        mode=mode,
        metric=metric,
        guardrails=guardrails,
    )


def _counting_start(setup: Setup, state: TestState) -> float | None:
    """Return from where on the clock rows count; None while that is not known yet.

    On a clock of real time it lies ahead. On any other it is the newest row's, once services had their time.
    """
    grace = max(GRACE_S, POLLS * setup.config.serving.poll.amount)
    if setup.config.data.clock == "timestamp":
        return utc_now().timestamp() + grace
    shared = read_traffic(setup.stores.ledger, setup.model).at
    if shared is not None and (utc_now() - shared).total_seconds() < grace:
        return None
    return math.nextafter(live_tests.now_on_clock(setup, [arm.name for arm in state.test.arms]), math.inf)


def _allowance(setup: Setup, history: Sequence[LedgerEntry], requested: float | None) -> AlphaAllowance:
    level = setup.config.evaluation.significance_level
    return live_ledger.live_alpha(history, now=utc_now(), level=level, wanted=requested)


def _spend_alpha(setup: Setup, state: TestState) -> None:
    """Claim the alpha of a test that was created; a test for which it is no longer to be had is ended."""

    def decide(history: Sequence[LedgerEntry]) -> tuple[str, dict[str, Any]] | None:
        if live_ledger.has_spent(history, state):
            return None
        return SPENT, live_ledger.alpha_payload(_allowance(setup, history, state.test.alpha), state)

    try:
        setup.stores.ledger.claim(model=setup.model, stream=ALPHA, at=utc_now(), decide=decide)
    except InputError as error:
        spent = Reason(code="alpha_spent", message=str(error))
        conclusion = Conclusion(action=Action.ABORT, reasons=(spent,))
        live_tests.end_test(setup, state.test, conclusion, by="its creation")
        raise InputError(f"{error} Live test '{state.test.name}' was ended before it began.") from error


_STATES = {
    Action.GO_ON: State.LIVE_TEST_RUNNING,
    Action.PROMOTE: State.WON,
    Action.KEEP: State.CHAMPION_KEPT,
    Action.EXPIRE: State.CHAMPION_KEPT,
    Action.ABORT: State.ABORTED,
}


@stage_task(**SIDE_EFFECT)
def open_test(setup: Setup, *, dry_run: bool = False) -> TestState:
    """Return the running test; begin one for a challenger that was admitted and has not been tested yet.

    What a crashed run left is finished first: arms of a test that is over, a test that was created and not begun.

    Raises
    ------
    NotLearnable
        ``no_live_test``: none runs, and no challenger waits for one. ``not_begun``: services still load it.
    """
    ledger, model = setup.stores.ledger, setup.model
    if not dry_run:
        live_tests.settle_arms(setup)
    running = _running_test(setup)
    if running is None and not dry_run:
        aliases = setup.stores.registry.aliases(model)
        waiting = live_ledger.admitted_challenger(
            ledger.read(model=model, stream="decisions"),
            live_tests.read_tests(setup),
            path=setup.config.promotion.evidence,
            challenger=aliases.get(CHALLENGER),
            champion=aliases.get(CHAMPION),
        )
        if waiting is not None:
            create_test(setup, challenger=waiting)
            running = _running_test(setup)
    if running is None:
        message = f"No live test of '{model}' runs, and no admitted challenger waits for one. "
        raise NotLearnable("no_live_test", f"{message}Begin one by 'evergreen ab create {model}'.")
    if running.begun_at is None and not dry_run:
        running = finish_creation(setup, running)
    if running.begun_at is None:
        raise live_tests.not_begun(running).to_error()
    return running


def _running_test(setup: Setup) -> TestState | None:
    return live_ledger.running_test(live_tests.read_tests(setup))


@stage_task(**TRANSIENT)
def evaluate_test(setup: Setup, state: TestState, *, dry_run: bool = False) -> LiveTestResults:
    """Analyse the evidence as of now and record the analysis in the ledger; a dry run records nothing."""
    results = live_tests.evaluate_now(setup, state.test)
    if not dry_run:
        kind, payload = live_ledger.ANALYSED, live_ledger.analysis_payload(state.test, results.analysis)
        setup.stores.ledger.append(
            model=setup.model, stream=live_ledger.AB, kind=kind, payload=payload, at=utc_now()
        )
    return results


@stage_task(**SIDE_EFFECT)
def judge_test(
    setup: Setup, state: TestState, results: LiveTestResults, *, end: bool = False, dry_run: bool = False
) -> StageResult:
    """Decide what follows from an analysis, and record the decision where it ends the test.

    Parameters
    ----------
    end : bool
        End the test now: a challenger that has won is promoted, else the champion is kept.
    """
    conclusion, test = _conclude(setup, state, results), state.test
    if end and not conclusion.ends:
        conclusion = end_now(conclusion)
    details: dict[str, Any] = {
        "test": test.name,
        "metric": test.metric,
        "mode": test.mode,
        "look": results.analysis.to_dict(),
        "maturity": results.maturity.to_dict(),
        "conclusion": conclusion.to_dict(),
        **({"dry_run": True} if dry_run else {}),
    }
    promoted = any(reason.code == ALREADY_CHAMPION for reason in conclusion.reasons)
    result = StageResult(
        state=State.PROMOTED if promoted else _STATES[conclusion.action],
        model=setup.model,
        reasons=conclusion.reasons,
        version=conclusion.winner.version if conclusion.winner else test.challengers[0].version,
        details=to_plain(details),
    )
    return record_decision(setup, "live_test", result) if conclusion.ends and not dry_run else result


@stage_task(**SIDE_EFFECT)
def close_test(setup: Setup, state: TestState, result: StageResult) -> None:
    """Record the end of a test, and send the traffic back.

    A winner that was not approved leaves the champion; one that was rolled back aborts the test.
    """
    concluded = Conclusion.of(result.details["conclusion"], state.test)
    ends = {State.PROMOTED: Action.PROMOTE, State.CHAMPION_KEPT: Action.KEEP}
    action = ends.get(result.state, Action.ABORT)
    if action is Action.KEEP and concluded.action is Action.EXPIRE:
        action = Action.EXPIRE
    winner = concluded.winner if action is Action.PROMOTE else None
    ended = Conclusion(action=action, reasons=result.reasons, winner=winner)
    live_tests.end_test(setup, state.test, ended, by="ab-test")


def promote_tested_version(
    setup: Setup, state: TestState, result: StageResult, approval: Reason
) -> StageResult:
    """Promote the version that was tested, as it is: the evidence is about it and no other.

    A person may have taken a day to answer. So the rows are analysed again, and what would abort the test by now, or
    keep the champion, does; and under the promotion's lock the test must still run, on its own traffic.
    """
    if setup.config.promotion.approval == "manual":
        running = _running_test(setup)
        goes_on = running is not None and running.test.name == state.test.name
        again = _conclude(setup, state, evaluate_test(setup, state, dry_run=not goes_on))
        if again.action in (Action.ABORT, Action.KEEP):
            return result.ends(_STATES[again.action], approval, *again.reasons)
    version = int(result.version or 0)
    sides = Contestants(challenger=version, champion=state.test.control.version)
    reason = f"Version {version} was superior in live test '{state.test.name}'."
    tested = Refit(version=version, reason=reason)
    precondition = partial(live_tests.require_sound, setup, state.test)
    return promote_winner(setup, result, sides, tested, approval, precondition=precondition)


def finish_promotion(setup: Setup, result: StageResult) -> StageResult:
    """Finish a promotion of the challenger that a crash left: settle what is open, smoke-test the champion."""
    settled = reconcile_task(setup)
    if settled.state is State.RECONCILED:
        return result
    return result.ends(settled.state, *settled.reasons, version=settled.version)


@stage_task(**SIDE_EFFECT)
def settle_tests(setup: Setup, reconciled: StageResult) -> StageResult:
    """End the arms of live tests that are over; return the result, with a reason where there were any."""
    if not live_tests.settle_arms(setup):
        return reconciled
    reason = Reason(code="traffic_reverted", message="Arms of a live test that is over were ended.")
    return replace(reconciled, reasons=(*reconciled.reasons, reason))


@stage_task(**TRANSIENT)
def report_test(setup: Setup, state: TestState, result: StageResult) -> None:
    """Show the analysis in Prefect and log it, with those before, to MLflow (``<model>/ab_testing``)."""
    test = state.test
    recorded = live_ledger.find_test(live_tests.read_tests(setup), test.name)
    traces = {arm.name: recorded.trace(arm.name) for arm in test.challengers}
    page = live_markdown(test, result)
    drawn = draw_live_page(test, result, traces, clock=setup.config.data.clock)
    items = live_items(test, result, traces, page=page, html=drawn)
    figures = [trace_figure(test, arm, points) for arm, points in traces.items() if points]
    name, facts = f"{test.name}-look-{len(recorded.analyses)}", {"state": state, "result": result}
    report = Report(setup, "ab-test", name=name, tags={"evergreen.live_test": test.name}, facts=facts)
    publish(report, [*items, *figures, Artifact("ab-test-{model}", "Live test", page)])


def _conclude(setup: Setup, state: TestState, results: LiveTestResults) -> Conclusion:
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    changed = live_tests.what_changed(setup, state)
    return conclude(state.test, results.analysis, champion=champion, tripped=changed)
