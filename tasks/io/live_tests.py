"""Live tests: read and judge their rows, set their traffic, show and end them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.ab_testing.analysis import (
    Action,
    Conclusion,
    LiveTestAnalysis,
    analyse_live_test,
    conclude,
)
from evergreen.tasks.core.ab_testing.checks import Maturity, measure_maturity
from evergreen.tasks.core.ab_testing.definition import PAIRED, LiveTest
from evergreen.tasks.core.ab_testing.evidence import (
    Evidence,
    LoggedAnswers,
    cut_slices,
    gather_evidence,
    observe,
)
from evergreen.tasks.core.ab_testing.ledger import (
    AB,
    ABORTED,
    CONCLUDED,
    TestState,
    champions_meanwhile,
    end_payload,
    find_test,
    fold_tests,
    has_arms,
    orphaned_variants,
    running_test,
    traffic_meanwhile,
)
from evergreen.tasks.core.ab_testing.metric import is_hits, span_of
from evergreen.tasks.core.ab_testing.planning import (
    CHAMPION_ARM,
    explain_plan,
    guardrail_metrics,
    metric_of_test,
)
from evergreen.tasks.core.ab_testing.rows import join_rows, read_answers
from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import Blocked, InputError
from evergreen.tasks.core.promotion.history import PLANS
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.traffic.state import TRAFFIC, TrafficState
from evergreen.tasks.core.traffic.variant import Variant
from evergreen.tasks.core.training.scoring import Recipe
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.alias_transaction import model_lock
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.prediction_log.records import VERSION
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, command_result
from evergreen.tasks.io.traffic import end_variants, read_traffic, set_variants

_COHORTS = 30.0
_AGES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveTestResults:
    """An analysis, and how complete its labels are."""

    analysis: LiveTestAnalysis
    maturity: Maturity


def evaluate_now(setup: Setup, test: LiveTest) -> LiveTestResults:
    """Read a test's rows from the log and judge them as of now; nothing is written."""
    now = now_on_clock(setup, [arm.name for arm in test.arms])
    config, custom = setup.config, custom_metrics(setup.config)
    live = config.live.model_copy(update={"metric": test.metric})
    metric = metric_of_test(config.model_copy(update={"live": live}), custom=custom)
    rails, metrics = {rail.metric: rail for rail in test.guardrails}, guardrail_metrics(config, custom=custom)
    guardrails = {name: metrics[name] for name in metrics if name in rails}
    evidence, by_guardrail = Evidence(), dict.fromkeys(guardrails, Evidence())
    maturity = _label_maturity(test, np.zeros(0), np.zeros(0), now=now)
    for answered in _read_answers(setup, test, now=now):
        evidence += gather_evidence(observe(answered, metric), test, now=now, clip=test.clip)
        for name, guardrail in guardrails.items():
            observed = observe(answered, guardrail)
            by_guardrail[name] += gather_evidence(observed, test, now=now, clip=rails[name].clip)
        control = answered.take(answered.variants == test.control.name)
        maturity += _label_maturity(test, control.positions, control.known_at, now=now)
    analysis = analyse_live_test(
        test,
        evidence,
        now=now,
        hits=is_hits(metric),
        span=span_of(metric, test.clip),
        guardrails=by_guardrail,
    )
    return LiveTestResults(analysis=analysis, maturity=maturity)


def now_on_clock(setup: Setup, answering: Sequence[str] = (CHAMPION_ARM,)) -> float:
    """Return the present on the model's clock.

    Where it does not tell the time: as far as the newest prediction of the variants that answer. Batches are scored
    of any rows, and move nobody's present.
    """
    if setup.config.data.clock == "timestamp":
        return utc_now().timestamp()
    newest = setup.stores.log.newest_position(setup.model, variants=answering)
    return 0.0 if newest is None else newest


def _read_answers(setup: Setup, test: LiveTest, *, now: float) -> Iterator[LoggedAnswers]:
    """Yield the rows of a test slice by slice, at least one; races may lie across slices, and are read at once."""
    window = Window(test.start, math.nextafter(max(min(test.end, now), test.start), math.inf))
    info = setup.stores.registry.version(setup.model, int(test.control.version or 0))
    recipe = Recipe.from_dict(read_documents(setup, info, ("recipe",))["recipe"])
    whole = setup.config.problem == "ranking"
    slices = (
        [window] if whole else cut_slices(setup.stores.log.positions(setup.model, since=test.start), window)
    )
    for one in slices:
        rows = _read_slice(setup, test, one, now=now)
        yield read_answers(rows, config=setup.config, classes=recipe.classes)


def _read_slice(setup: Setup, test: LiveTest, window: Window, *, now: float) -> Rows:
    """Read the control's rows, and the challengers' own or (paired) what they answered to the control's rows.

    An arm is a version under a name: what another version answered under the name is left out.
    """
    log, config = setup.stores.log, setup.config
    parts: list[Rows] = []
    for arm in test.arms:
        shadow = test.mode == PAIRED and arm is not test.control
        read = log.read_shadows if shadow else log.read_predictions
        rows = read(setup.model, window, variant=arm.name, known_by=now, target=config.data.target).rows
        parts.append(
            rows if arm.version is None else rows.take((rows.frame[VERSION] == arm.version).to_numpy())
        )
    return join_rows(parts)


def _label_maturity(test: LiveTest, positions: FloatArray, known_at: FloatArray, *, now: float) -> Maturity:
    """Return labels by cohort (a thirtieth of the longest duration) and age, of the control's rows."""
    length = test.longest / _COHORTS
    reach = test.follow_up or test.longest / 3
    ages = [reach * (step + 1) / _AGES for step in range(_AGES)]
    return measure_maturity(positions, known_at, now=now, length=length, ages=ages)


# The traffic of a live test: set when it begins, sent back when it ends, and what changed it meanwhile.


def read_tests(setup: Setup) -> tuple[TestState, ...]:
    """Return the model's live tests, oldest first."""
    return fold_tests(setup.stores.ledger.read(model=setup.model, stream=AB))


def share_traffic(setup: Setup, test: LiveTest, *, dry_run: bool = False) -> None:
    """Set the challengers as variants or shadows, as the test declares; other shadows stay.

    Raises
    ------
    InputError
        When other challengers answer already, or a share is none that traffic can have.
    """
    traffic = read_traffic(setup.stores.ledger, setup.model)
    plan, ours = traffic.plan, {arm.name for arm in test.challengers}
    if has_arms(plan, test) and ours <= set(traffic.judged):
        return
    others = [one.name for one in plan.challengers if one.name not in ours]
    if others:
        raise InputError(
            f"{', '.join(others)} of '{setup.model}' answers a part of the traffic already. Stop it by 'evergreen "
            f"traffic stop {setup.model}' before a live test begins."
        )
    texts = [f"{arm.name}={arm.version}@{arm.share!r}" for arm in test.challengers]
    shadows = [_variant_text(one) for one in plan.shadows if one.name not in ours]
    challengers = texts
    if test.mode == PAIRED:
        shadows, challengers = [*shadows, *texts], []
    why = f"Live test '{test.name}'."
    set_variants(
        setup, challengers=challengers, shadows=shadows, judged=sorted(ours), why=why, dry_run=dry_run
    )


def what_changed(setup: Setup, state: TestState) -> tuple[Reason, ...]:
    """Return what happened to champion and traffic since a test was created that voids it; empty: nothing."""
    ledger, model = setup.stores.ledger, setup.model
    return (
        *champions_meanwhile(ledger.read(model=model, stream=PLANS), state),
        *traffic_meanwhile(ledger.read(model=model, stream=TRAFFIC), state),
    )


def settle_arms(setup: Setup) -> bool:
    """End the arms of tests that are over, variants and shadows; return whether there were any.

    What somebody has set instead of them goes on. It may be done at any time and again: whoever ended a test may have
    died before this.
    """

    def choose(traffic: TrafficState) -> list[str]:
        return orphaned_variants(traffic, read_tests(setup))

    why = Reason(code="test_over", message="The live test that set them is over.")
    return bool(end_variants(setup, choose, why=why)["state"] == "Ended")


def _variant_text(variant: Variant) -> str:
    members = "+".join(f"{version}*{weight!r}" for version, weight in variant.members)
    return f"{variant.name}={members}@{variant.share!r}"


# Show, end and abort live tests: commands that need no run and no Prefect.


_STATE_NAMES = {"running": "LiveTestRunning", "promote": "Promoted", "abort": "Aborted"}


def show_test(setup: Setup, *, name: str | None = None) -> dict[str, Any]:
    """Return a test's results as of now with what would follow from them; it only reads."""
    state = find_test(read_tests(setup), name)
    shown: dict[str, Any] = {"trace": state.trace(state.test.challengers[0].name), "ended": state.ended}
    reasons: Sequence[Any] = ()
    if state.ended is None and state.begun_at is None:
        shown["action"], reasons = "begin", (not_begun(state),)
    elif state.ended is None:
        results = evaluate_now(setup, state.test)
        champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
        ended = conclude(state.test, results.analysis, champion=champion, tripped=what_changed(setup, state))
        shown |= {
            "look": results.analysis.to_dict(),
            "maturity": results.maturity.to_dict(),
            "action": ended.action.value,
        }
        reasons = ended.reasons
    elif state.analyses:
        shown |= {"look": dict(state.analyses[-1]), "action": state.status}
    return live_test_result(setup, _state_name(state), state.test, list(reasons), **shown)


def abort_test(setup: Setup, *, why: str, name: str | None = None) -> dict[str, Any]:
    """End a running test without a winner and send the traffic back; a test that is over only has its arms ended.

    Raises
    ------
    InputError
        Without a reason, or when the test is over and has no traffic left.
    """
    if not why.strip():
        raise InputError("Aborting needs a reason, which is recorded in the ledger: add --reason 'TEXT'.")
    test = find_test(read_tests(setup), name).test
    reason = Reason(code="aborted_by_hand", message=why.strip())
    entry = end_test(setup, test, Conclusion(action=Action.ABORT, reasons=(reason,)), by="a person")
    if entry is not None:
        return live_test_result(setup, "Aborted", test, [reason], entry=entry)
    state = find_test(read_tests(setup), test.name)
    over = is_over(state)
    if not settle_arms(setup):
        raise InputError(f"{over.message} Nothing was changed.")
    back = Reason(
        code="traffic_reverted", message="Its arms still had traffic; it was sent back to the champion."
    )
    return live_test_result(setup, _state_name(state), test, [over, back])


def end_test(setup: Setup, test: LiveTest, ended: Conclusion, *, by: str) -> LedgerEntry | None:
    """Write the end of a test, once, and send the traffic of tests that are over back to the champion.

    The end is written under the model's lock: no promotion of the winner goes on meanwhile, and none begins after it.

    Returns
    -------
    Entry or None
        None where the test was over already; `find_test` tells by whom.

    Raises
    ------
    Blocked
        ``lock_held`` when a promotion goes on for longer than a minute.
    """
    kind = ABORTED if ended.action is Action.ABORT else CONCLUDED

    def decide(history: Sequence[LedgerEntry]) -> tuple[str, dict[str, Any]] | None:
        running = running_test(fold_tests(history))
        if running is None or running.test.name != test.name:
            return None
        return kind, end_payload(test, ended, by=by)

    with model_lock(setup):
        entry = setup.stores.ledger.claim(model=setup.model, stream=AB, at=utc_now(), decide=decide)
    if entry is not None:
        settle_arms(setup)
    return entry


def require_sound(setup: Setup, test: LiveTest) -> None:
    """Refuse to promote the winner of a test that is over, or void by what happened meanwhile.

    Raises
    ------
    Blocked
        ``test_over`` or ``test_void``.
    """
    state = find_test(read_tests(setup), test.name)
    if state.ended is not None:
        raise Blocked("test_over", f"{is_over(state).message} No version was promoted.")
    changed = what_changed(setup, state)
    if changed:
        raise Blocked(
            "test_void", " ".join(reason.message for reason in changed) + " No version was promoted."
        )


def is_over(state: TestState) -> Reason:
    """Return the reason for a test that is over: its result, what ended it and why."""
    ended = state.ended or {}
    why = " ".join(reason["message"] for reason in ended["reasons"])
    message = f"Live test '{state.test.name}' is over ({state.status}, by {ended['by']}: {why})."
    return Reason(code="test_over", message=message, observed=state.status)


def not_begun(state: TestState) -> Reason:
    """Return the reason for a test that was created and has not begun."""
    message = (
        f"Live test '{state.test.name}' was created and has not begun: the next analysis begins it "
        "('evergreen ab conclude'), once services follow the traffic."
    )
    return Reason(code="not_begun", message=message)


def live_test_result(
    setup: Setup,
    state: str,
    test: LiveTest,
    reasons: Sequence[Reason],
    *,
    entry: LedgerEntry | None = None,
    dry_run: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Return the result of a command about a test."""
    plan = explain_plan(test)
    result: dict[str, Any] = to_plain(
        command_result(setup, state, reasons, entry=entry, dry_run=dry_run, test=plan, **more)
    )
    return result


def _state_name(state: TestState) -> str:
    return _STATE_NAMES.get(state.status, "ChampionKept")
