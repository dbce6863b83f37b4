"""Create, show and abort live tests: small acts that need no run and no Prefect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tasks.ab_material import look_now, now_on_clock, past_of_champion
from tasks.ab_traffic import share_traffic, take_back_traffic, traffic_changed
from tasks.core.ab.conclusion import Action, Conclusion, conclude
from tasks.core.ab.definition import LiveTest
from tasks.core.ab.history import (
    AB,
    ABORTED,
    CONCLUDED,
    CREATED,
    TestState,
    alpha_payload,
    create_payload,
    end_payload,
    find_test,
    fold_tests,
    live_alpha,
    running_test,
)
from tasks.core.ab.planning import Sides, explain_plan, guard_metrics, metric_of_test, plan_test
from tasks.core.challenge.alpha import AlphaLook, require_alpha
from tasks.core.challenge.opponents import Opponents
from tasks.core.challenge.spending import ALPHA, LOOK
from tasks.core.config.model import overlay_model
from tasks.core.errors import InputError
from tasks.core.reign.ledger import Entry
from tasks.core.reign.plan import CHALLENGER, CHAMPION
from tasks.core.verdict import Reason
from tasks.core.watching.looked import json_ready
from tasks.io.clock import utc_now
from tasks.io.metric_paths import custom_metrics
from tasks.io.setup import Setup

GRACE_S = 10.0
"""A test counts from so many seconds after its creation: services follow the traffic within five."""


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
    """Plan a test by the configuration, spend its alpha, write it down, and share the traffic.

    Parameters
    ----------
    challenger : int, optional
        Version; default: the one under @challenger.
    mode : str, optional
        ``paired`` (a shadow) or ``arms``; default by ``promotion.path``.
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
    setup = _overlaid(setup, live or {})
    opponents = find_sides(setup, challenger)
    look = _alpha(setup, wanted=alpha)
    test = _plan(setup, opponents, look, name=name, hypothesis=hypothesis, mode=mode)
    create_payload(setup.stores.ledger.read(model=setup.model, stream=AB), test)
    share_traffic(setup, test, dry_run=True)  # what cannot be shared is said before anything is spent
    if dry_run:
        return _told(setup, "Planned", test, [], dry_run=True, alpha_left=look.left_after)
    _spend(setup, test, wanted=alpha)
    entry = setup.stores.ledger.claim(
        model=setup.model,
        stream=AB,
        at=utc_now(),
        decide=lambda history: (CREATED, create_payload(history, test)),
    )
    share_traffic(setup, test)
    reason = Reason(
        code="created", message=f"{test.challengers[0].name} meets the champion: {test.hypothesis}"
    )
    return _told(setup, "Testing", test, [reason], entry=entry, alpha_left=look.left_after)


def status_of(setup: Setup, *, name: str | None = None) -> dict[str, Any]:
    """Return a test's results as of now with what would follow from them; it only reads."""
    state = find_test(read_tests(setup), name)
    shown: dict[str, Any] = {"trace": state.trace(state.test.challengers[0].name), "ended": state.ended}
    reasons: Sequence[Any] = ()
    if state.ended is None:
        seen = look_now(setup, state.test)
        champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
        ended = conclude(state.test, seen.look, champion=champion, tripped=traffic_changed(setup, state))
        shown |= {
            "look": seen.look.to_dict(),
            "maturity": seen.maturity.to_dict(),
            "action": ended.action.value,
        }
        reasons = ended.reasons
    elif state.looks:
        shown |= {"look": dict(state.looks[-1]), "action": state.status}
    words = {"running": "Testing", "promote": "Promoted", "abort": "Aborted"}
    return _told(setup, words.get(state.status, "Kept"), state.test, list(reasons), **shown)


def abort_test(setup: Setup, *, why: str, name: str | None = None) -> dict[str, Any]:
    """End a running test without a winner and send the traffic back.

    Raises
    ------
    InputError
        Without a reason, or when no test runs.
    """
    if not why.strip():
        raise InputError("Aborting needs a reason, which is kept in the ledger: add --why 'TEXT'.")
    state = find_test(read_tests(setup), name)
    if state.ended is not None:
        raise InputError(f"Live test '{state.test.name}' is over ({state.status}). Nothing was changed.")
    reason = Reason(code="aborted_by_hand", message=why.strip())
    entry = end_test(setup, state.test, Conclusion(action=Action.ABORT, reasons=(reason,)), by="a person")
    return _told(setup, "Aborted", state.test, [reason], entry=entry)


def read_tests(setup: Setup) -> tuple[TestState, ...]:
    """Return the model's live tests, oldest first."""
    return fold_tests(setup.stores.ledger.read(model=setup.model, stream=AB))


def end_test(setup: Setup, test: LiveTest, ended: Conclusion, *, by: str) -> Entry | None:
    """Write the end of a test, once, and send the traffic back to the champion."""
    kind = ABORTED if ended.action is Action.ABORT else CONCLUDED

    def decide(history: Sequence[Entry]) -> tuple[str, dict[str, Any]] | None:
        running = running_test(fold_tests(history))
        return (
            None
            if running is None or running.test.name != test.name
            else (kind, end_payload(test, ended, by=by))
        )

    entry = setup.stores.ledger.claim(model=setup.model, stream=AB, at=utc_now(), decide=decide)
    if entry is not None:
        take_back_traffic(setup, test, why=f"Live test '{test.name}' is over: {ended.action.value}.")
    return entry


def find_sides(setup: Setup, challenger: int | None) -> Opponents:
    """Return champion and challenger of a test; ``InputError`` where one is missing or they are the same."""
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
    setup.stores.registry.version(setup.model, chosen)
    return Opponents(challenger=chosen, champion=champion)


def _plan(
    setup: Setup,
    opponents: Opponents,
    look: AlphaLook,
    *,
    name: str | None,
    hypothesis: str,
    mode: str | None,
) -> LiveTest:
    config, custom = setup.config, custom_metrics(setup.config)
    metric, guards = metric_of_test(config, custom=custom), guard_metrics(config, custom=custom)
    unbounded = any(not one.bounded for one in (metric, *guards.values()))
    champion, challenger = int(opponents.champion or 0), opponents.challenger
    used = len(read_tests(setup))
    start = now_on_clock(setup) + (GRACE_S if config.data.clock == "timestamp" else 0.0)
    return plan_test(
        config,
        Sides(champion=champion, challenger=challenger, start=math.nextafter(start, math.inf), alpha=look.alpha),
        name=name or f"test-{used + 1}-v{challenger}",
        hypothesis=hypothesis or f"Version {challenger} has a better {metric.name} than version {champion}.",
        past=past_of_champion(setup, opponents) if unbounded else None,
        mode=mode, metric=metric, guards=guards,
    )  # fmt: skip


def _overlaid(setup: Setup, live: dict[str, Any]) -> Setup:
    if not live:
        return setup
    config = overlay_model(setup.config, {"live": live}, origin="the command")
    return Setup(config=config, path=setup.path, settings=setup.settings, stores=setup.stores)


def _alpha(setup: Setup, *, wanted: float | None) -> AlphaLook:
    entries = setup.stores.ledger.read(model=setup.model, stream=ALPHA)
    return _allowed(setup, entries, wanted=wanted, now=utc_now())


def _allowed(setup: Setup, entries: Sequence[Entry], *, wanted: float | None, now: datetime) -> AlphaLook:
    level = setup.config.evaluation.significance_level
    return require_alpha(live_alpha(entries, now=now, level=level, wanted=wanted), level=level)


def _spend(setup: Setup, test: LiveTest, *, wanted: float | None) -> None:
    """Claim the test's alpha before anything of it is seen: a crash afterwards has spent it."""
    now = utc_now()

    def decide(history: Sequence[Entry]) -> tuple[str, dict[str, Any]]:
        look = _allowed(setup, history, wanted=wanted, now=now)
        if look.alpha < test.alpha:
            raise InputError("Another evaluation has just spent of the alpha budget. Create the test again.")
        return LOOK, alpha_payload(look, test)

    setup.stores.ledger.claim(model=setup.model, stream=ALPHA, at=now, decide=decide)


def _told(
    setup: Setup,
    word: str,
    test: LiveTest,
    reasons: Sequence[Reason],
    *,
    entry: Entry | None = None,
    dry_run: bool = False,
    **more: Any,
) -> dict[str, Any]:
    plain = {
        "state": word, "model": setup.model, "reasons": [one.to_dict() for one in reasons],
        "decision_id": entry.id if entry else None, "dry_run": dry_run, "test": explain_plan(test), **more,
    }  # fmt: skip
    told: dict[str, Any] = json_ready(plain)
    return told
