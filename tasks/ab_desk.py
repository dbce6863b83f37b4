"""Show, end and abort live tests: small acts that need no run and no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.ab_material import look_now
from tasks.ab_traffic import read_tests, settle_arms, what_changed
from tasks.core.ab.conclusion import Action, Conclusion, conclude
from tasks.core.ab.definition import LiveTest
from tasks.core.ab.history import (
    AB,
    ABORTED,
    CONCLUDED,
    TestState,
    end_payload,
    find_test,
    fold_tests,
    running_test,
)
from tasks.core.ab.planning import explain_plan
from tasks.core.errors import Held, InputError
from tasks.core.reign.ledger import Entry
from tasks.core.reign.plan import CHAMPION
from tasks.core.verdict import Reason
from tasks.core.watching.looked import json_ready
from tasks.hold_still import held_still
from tasks.io.clock import utc_now
from tasks.io.setup import Setup

_WORDS = {"running": "Testing", "promote": "Promoted", "abort": "Aborted"}


def status_of(setup: Setup, *, name: str | None = None) -> dict[str, Any]:
    """Return a test's results as of now with what would follow from them; it only reads."""
    state = find_test(read_tests(setup), name)
    shown: dict[str, Any] = {"trace": state.trace(state.test.challengers[0].name), "ended": state.ended}
    reasons: Sequence[Any] = ()
    if state.ended is None and state.begun_at is None:
        shown["action"], reasons = "begin", (not_begun(state),)
    elif state.ended is None:
        seen = look_now(setup, state.test)
        champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
        ended = conclude(state.test, seen.look, champion=champion, tripped=what_changed(setup, state))
        shown |= {
            "look": seen.look.to_dict(),
            "maturity": seen.maturity.to_dict(),
            "action": ended.action.value,
        }
        reasons = ended.reasons
    elif state.looks:
        shown |= {"look": dict(state.looks[-1]), "action": state.status}
    return told(setup, _word(state), state.test, list(reasons), **shown)


def abort_test(setup: Setup, *, why: str, name: str | None = None) -> dict[str, Any]:
    """End a running test without a winner and send the traffic back; a test that is over only has its arms ended.

    Raises
    ------
    InputError
        Without a reason, or when the test is over and has no traffic left.
    """
    if not why.strip():
        raise InputError("Aborting needs a reason, which is kept in the ledger: add --why 'TEXT'.")
    test = find_test(read_tests(setup), name).test
    reason = Reason(code="aborted_by_hand", message=why.strip())
    entry = end_test(setup, test, Conclusion(action=Action.ABORT, reasons=(reason,)), by="a person")
    if entry is not None:
        return told(setup, "Aborted", test, [reason], entry=entry)
    state = find_test(read_tests(setup), test.name)
    over = is_over(state)
    if not settle_arms(setup):
        raise InputError(f"{over.message} Nothing was changed.")
    back = Reason(code="traffic_taken_back", message="Its arms still had traffic, which was sent back.")
    return told(setup, _word(state), test, [over, back])


def end_test(setup: Setup, test: LiveTest, ended: Conclusion, *, by: str) -> Entry | None:
    """Write the end of a test, once, and send the traffic of tests that are over back to the champion.

    The end is written under the model's lock: no promotion of the winner goes on meanwhile, and none begins after it.

    Returns
    -------
    Entry or None
        None where the test was over already; `find_test` tells by whom.

    Raises
    ------
    Held
        ``lock_held`` when a promotion goes on for longer than a minute.
    """
    kind = ABORTED if ended.action is Action.ABORT else CONCLUDED

    def decide(history: Sequence[Entry]) -> tuple[str, dict[str, Any]] | None:
        running = running_test(fold_tests(history))
        return (
            None
            if running is None or running.test.name != test.name
            else (kind, end_payload(test, ended, by=by))
        )

    with held_still(setup):
        entry = setup.stores.ledger.claim(model=setup.model, stream=AB, at=utc_now(), decide=decide)
    if entry is not None:
        settle_arms(setup)
    return entry


def require_sound(setup: Setup, test: LiveTest) -> None:
    """Refuse to promote the winner of a test that is over, or void by what happened meanwhile.

    Raises
    ------
    Held
        ``test_over`` or ``test_void``.
    """
    state = find_test(read_tests(setup), test.name)
    if state.ended is not None:
        raise Held("test_over", f"{is_over(state).message} Nobody was promoted.")
    changed = what_changed(setup, state)
    if changed:
        raise Held("test_void", " ".join(reason.message for reason in changed) + " Nobody was promoted.")


def is_over(state: TestState) -> Reason:
    """Return that a test is over, how, by whom and why."""
    ended = state.ended or {}
    why = " ".join(reason["message"] for reason in ended["reasons"])
    message = f"Live test '{state.test.name}' is over ({state.status}, by {ended['by']}: {why})."
    return Reason(code="test_over", message=message, observed=state.status)


def not_begun(state: TestState) -> Reason:
    """Return that a test was created and has not begun, and what begins it."""
    message = (
        f"Live test '{state.test.name}' was created and has not begun: the next look begins it "
        "('evergreen ab conclude'), once services follow the traffic."
    )
    return Reason(code="not_begun", message=message)


def told(
    setup: Setup,
    word: str,
    test: LiveTest,
    reasons: Sequence[Reason],
    *,
    entry: Entry | None = None,
    dry_run: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Return what a command says of a test."""
    plain = {
        "state": word, "model": setup.model, "reasons": [one.to_dict() for one in reasons],
        "decision_id": entry.id if entry else None, "dry_run": dry_run, "test": explain_plan(test), **more,
    }  # fmt: skip
    said: dict[str, Any] = json_ready(plain)
    return said


def _word(state: TestState) -> str:
    return _WORDS.get(state.status, "Kept")
