"""A look at a live test, and what follows: go on, promote through the one promotion task, keep, or abort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from evergreen.tasks.challenge import Refit, load_evaluation_rows, promote_winner
from evergreen.tasks.core.ab_testing.analysis import ALREADY_CHAMPION, Action, Conclusion, conclude, end_now
from evergreen.tasks.core.ab_testing.definition import LiveTest
from evergreen.tasks.core.ab_testing.ledger import (
    AB,
    ANALYSED,
    BEGUN,
    CREATED,
    StreamMarks,
    TestState,
    admitted_challenger,
    alpha_payload,
    analysis_payload,
    begin_payload,
    create_payload,
    find_test,
    has_spent,
    live_alpha,
    running_test,
)
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
from evergreen.tasks.io.ab_plots import draw_live_page, trace_figure
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.live_tests import (
    LiveTestResults,
    command_result,
    end_test,
    evaluate_now,
    not_begun,
    now_on_clock,
    read_tests,
    require_sound,
    settle_arms,
    share_traffic,
    what_changed,
)
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, record_decision
from evergreen.tasks.io.traffic import read_traffic
from evergreen.tasks.promotion import reconcile_task
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task


def score_champion_before(setup: Setup, opponents: Contestants) -> Scored | None:
    """Return the champion's answers to the rows that neither side learned from; None where nothing can be read."""
    if opponents.champion is None:
        return None
    try:
        parts = load_evaluation_rows.fn(setup, opponents)
    except NotLearnable:
        return None
    return load_model(setup, opponents.champion).score(parts.evaluation, config=setup.config)


# Create live tests: written down first, then paid, given traffic and begun, each once, whoever dies in between.


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
    """Plan a test by the configuration, write it down, spend its alpha, share the traffic, and begin.

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
        When there is nobody to compare, another test runs, or something of it is not allowed.
    """
    setup = _overlaid_setup(setup, live or {})
    marks = _ledger_marks(
        setup
    )  # before anything is looked up: what happens from here on is seen to have happened
    opponents = find_test_sides(setup, challenger)
    look = _planned_alpha(setup, wanted=alpha)
    test = _plan_test(setup, opponents, look, name=name, hypothesis=hypothesis, mode=mode)
    create_payload(setup.stores.ledger.read(model=setup.model, stream=AB), test, marks)
    share_traffic(setup, test, dry_run=True)  # what cannot be shared is said before anything is written
    if dry_run:
        return command_result(setup, "Planned", test, [], dry_run=True, alpha_left=look.left_after)
    entry = setup.stores.ledger.claim(
        model=setup.model,
        stream=AB,
        at=utc_now(),
        decide=lambda history: (CREATED, create_payload(history, test, marks)),
    )
    state = finish_creation(setup, find_test(read_tests(setup), test.name))
    reasons = [
        Reason(code="created", message=f"{test.challengers[0].name} meets the champion: {test.hypothesis}")
    ]
    if state.begun_at is None:
        reasons.append(not_begun(state))
    return command_result(
        setup, "LiveTestRunning", state.test, reasons, entry=entry, alpha_left=look.left_after
    )


def finish_creation(setup: Setup, state: TestState) -> TestState:
    """Spend the alpha of a test that was created, share its traffic and fix its start; return it as it is then.

    Each step is done once, whoever did those before it. Nothing is looked at before the alpha is spent, and no row
    counts from before the traffic was shared. Traffic that was shared and changed since is left to the look.

    Raises
    ------
    InputError
        When another evaluation has spent the alpha meanwhile, which ends the test; when traffic cannot be shared.
    """
    _spend_alpha(setup, state)
    control = state.test.control.version
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if champion == control and not what_changed(setup, state):
        share_traffic(setup, state.test)
    start = _counting_start(setup, state)
    if start is not None:

        def decide(history: Sequence[LedgerEntry]) -> tuple[str, dict[str, Any]] | None:
            payload = begin_payload(history, state.test.name, start)
            return None if payload is None else (BEGUN, payload)

        setup.stores.ledger.claim(model=setup.model, stream=AB, at=utc_now(), decide=decide)
    settle_arms(setup)  # of this test too, where it was ended while they were shared
    return find_test(read_tests(setup), state.test.name)


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
            f"tested, for no other could be promoted: run 'evergreen validate {setup.model} --version {chosen}' first."
        )
    return Contestants(challenger=chosen, champion=champion)


def _plan_test(
    setup: Setup,
    opponents: Contestants,
    look: AlphaAllowance,
    *,
    name: str | None,
    hypothesis: str,
    mode: str | None,
) -> LiveTest:
    config, custom = setup.config, custom_metrics(setup.config)
    metric, guards = metric_of_test(config, custom=custom), guardrail_metrics(config, custom=custom)
    unbounded = any(not one.bounded for one in (metric, *guards.values()))
    champion, challenger = int(opponents.champion or 0), opponents.challenger
    used = len(read_tests(setup))
    return plan_test(
        config,
        Contenders(champion=champion, challenger=challenger, start=now_on_clock(setup), alpha=look.alpha),
        name=name or f"test-{used + 1}-v{challenger}",
        hypothesis=hypothesis or f"Version {challenger} has a better {metric.name} than version {champion}.",
        past=score_champion_before(setup, opponents) if unbounded else None,
        mode=mode,
        metric=metric,
        guardrails=guards,
    )


def _overlaid_setup(setup: Setup, live: dict[str, Any]) -> Setup:
    if not live:
        return setup
    config = overlay_model(setup.config, {"live": live}, origin="the command")
    return Setup(config=config, path=setup.path, settings=setup.settings, stores=setup.stores)


def _ledger_marks(setup: Setup) -> StreamMarks:
    newest = {name: setup.stores.ledger.last(setup.model, name) for name in (TRAFFIC, PLANS)}
    return StreamMarks(**{name: entry.seq if entry else 0 for name, entry in newest.items()})


def _counting_start(setup: Setup, state: TestState) -> float | None:
    """Return from where on the clock rows count; None while that cannot be said yet.

    On a clock that tells the time it lies ahead. On any other the newest row tells it, once services had their time.
    """
    grace = max(GRACE_S, POLLS * setup.config.serving.poll.amount)
    if setup.config.data.clock == "timestamp":
        return utc_now().timestamp() + grace
    shared = read_traffic(setup.stores.ledger, setup.model).at
    if shared is not None and (utc_now() - shared).total_seconds() < grace:
        return None
    return math.nextafter(now_on_clock(setup, [arm.name for arm in state.test.arms]), math.inf)


def _planned_alpha(setup: Setup, *, wanted: float | None) -> AlphaAllowance:
    entries = setup.stores.ledger.read(model=setup.model, stream=ALPHA)
    level = setup.config.evaluation.significance_level
    return require_alpha(live_alpha(entries, now=utc_now(), level=level, wanted=wanted), level=level)


def _spend_alpha(setup: Setup, state: TestState) -> None:
    """Claim the alpha of a test that was created; a test for which it is no longer to be had is ended."""
    now, level = utc_now(), setup.config.evaluation.significance_level

    def decide(history: Sequence[LedgerEntry]) -> tuple[str, dict[str, Any]] | None:
        if has_spent(history, state):
            return None
        return SPENT, alpha_payload(live_alpha(history, now=now, level=level, wanted=state.test.alpha), state)

    try:
        setup.stores.ledger.claim(model=setup.model, stream=ALPHA, at=now, decide=decide)
    except InputError as error:
        gone = Reason(code="alpha_spent", message=str(error))
        end_test(setup, state.test, Conclusion(action=Action.ABORT, reasons=(gone,)), by="its creation")
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
            ledger.read(model=model, stream="decisions"),
            read_tests(setup),
            path=setup.config.promotion.evidence,
            challenger=aliases.get(CHALLENGER),
            champion=aliases.get(CHAMPION),
        )
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
def evaluate_test(setup: Setup, state: TestState, *, dry_run: bool = False) -> LiveTestResults:
    """Judge the evidence as of now and keep the look in the ledger; a dry run keeps nothing."""
    seen = evaluate_now(setup, state.test)
    if not dry_run:
        payload = analysis_payload(state.test, seen.look)
        setup.stores.ledger.append(model=setup.model, stream=AB, kind=ANALYSED, payload=payload, at=utc_now())
    return seen


@stage_task(**SIDE_EFFECT)
def judge_test(
    setup: Setup, state: TestState, seen: LiveTestResults, *, end: bool = False, dry_run: bool = False
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
    concluded = Conclusion.of(judged.details["conclusion"], state.test)
    ends = {State.PROMOTED: Action.PROMOTE, State.ABORTED: Action.ABORT, State.CHAMPION_KEPT: Action.KEEP}
    action = ends.get(judged.state, Action.ABORT)
    if action is Action.KEEP and concluded.action is Action.EXPIRE:
        action = Action.EXPIRE
    winner = concluded.winner if action is Action.PROMOTE else None
    ended = Conclusion(action=action, reasons=judged.reasons, winner=winner)
    end_test(setup, state.test, ended, by="ab-test")


def promote_tested_version(
    setup: Setup, state: TestState, judged: StageResult, answer: Reason
) -> StageResult:
    """Promote the version that was tested, as it is: the evidence is about it and no other.

    A person may have taken a day to answer. So the rows are looked at again, and what would abort the test by now, or
    keep the champion, does; and under the promotion's lock the test must still run, on the traffic that was its own.
    """
    if setup.config.promotion.approval == "manual":
        again = _evaluate_again(setup, state)
        if again.action in (Action.ABORT, Action.KEEP):
            return judged.ends(_STATES[again.action], answer, *again.reasons)
    version = int(judged.version or 0)
    opponents = Contestants(challenger=version, champion=state.test.control.version)
    story = f"Version {version} was superior in live test '{state.test.name}'."
    heir = Refit(version=version, reasons=(), story=story)
    still = partial(require_sound, setup, state.test)
    return promote_winner(setup, judged, opponents, heir, answer, still=still)


def finish_promotion(setup: Setup, judged: StageResult) -> StageResult:
    """Finish a promotion of the challenger that nobody saw through: settle what is open, prove the champion."""
    proved = reconcile_task(setup)
    if proved.state is State.RECONCILED:
        return judged
    return judged.ends(proved.state, *proved.reasons, version=proved.version)


@stage_task(**SIDE_EFFECT)
def settle_tests(setup: Setup, reconciled: StageResult) -> StageResult:
    """End the arms of live tests that are over, and say so."""
    if not settle_arms(setup):
        return reconciled
    reason = Reason(code="traffic_reverted", message="Arms of a live test that is over were ended.")
    return replace(reconciled, reasons=(*reconciled.reasons, reason))


@stage_task(**TRANSIENT)
def report_test(setup: Setup, state: TestState, judged: StageResult) -> None:
    """Show the look in the Prefect UI and log it, with the sequence over time, to MLflow (``<model>/ab_testing``)."""
    shown = next(one for one in read_tests(setup) if one.test.name == state.test.name)
    traces = {arm.name: shown.trace(arm.name) for arm in state.test.challengers}
    page = live_markdown(state.test, judged)
    drawn = draw_live_page(state.test, judged, traces, clock=setup.config.data.clock)
    items = live_items(state.test, judged, traces, page=page, html=drawn)
    figures = [trace_figure(state.test, arm, points) for arm, points in traces.items() if points]
    report = Report(
        setup,
        "ab-test",
        experiment="ab_testing",
        name=f"{state.test.name}-look-{len(shown.analyses)}",
        tags={"evergreen.live_test": state.test.name},
        facts={"state": state, "result": judged},
    )
    publish(report, [*items, *figures, Artifact("ab-test-{model}", "Live test", page)])


def _conclude(setup: Setup, state: TestState, seen: LiveTestResults) -> Conclusion:
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    return conclude(state.test, seen.look, champion=champion, tripped=what_changed(setup, state))


def _evaluate_again(setup: Setup, state: TestState) -> Conclusion:
    """Return what follows from the rows as they are now; the look is kept where the test still runs."""
    running = running_test(read_tests(setup))
    on = running is not None and running.test.name == state.test.name
    return _conclude(setup, state, evaluate_test(setup, state, dry_run=not on))


def _result(setup: Setup, state: TestState, seen: LiveTestResults, ended: Conclusion) -> StageResult:
    details: dict[str, Any] = {
        "test": state.test.name,
        "metric": state.test.metric,
        "mode": state.test.mode,
        "look": seen.look.to_dict(),
        "maturity": seen.maturity.to_dict(),
        "conclusion": ended.to_dict(),
    }
    version = ended.winner.version if ended.winner else state.test.challengers[0].version
    crowned = any(reason.code == ALREADY_CHAMPION for reason in ended.reasons)
    return StageResult(
        state=State.PROMOTED if crowned else _STATES[ended.action],
        model=setup.model,
        reasons=ended.reasons,
        version=version,
        details=to_plain(details),
    )
