"""Create live tests: written down first, then paid, given traffic and begun, each once, whoever dies in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tasks.ab_desk import end_test, not_begun, told
from tasks.ab_material import now_on_clock, past_of_champion
from tasks.ab_traffic import read_tests, settle_arms, share_traffic, what_changed
from tasks.core.ab.conclusion import Action, Conclusion
from tasks.core.ab.definition import LiveTest
from tasks.core.ab.history import (
    AB,
    BEGUN,
    CREATED,
    Marks,
    TestState,
    begin_payload,
    create_payload,
    find_test,
)
from tasks.core.ab.planning import Sides, guard_metrics, metric_of_test, plan_test
from tasks.core.ab.spending import alpha_payload, has_spent, live_alpha
from tasks.core.challenge.alpha import AlphaLook, require_alpha
from tasks.core.challenge.opponents import Opponents
from tasks.core.challenge.spending import ALPHA, LOOK
from tasks.core.config.model import overlay_model
from tasks.core.errors import InputError
from tasks.core.reign.history import PLANS
from tasks.core.reign.ledger import Entry
from tasks.core.reign.plan import CHALLENGER, CHAMPION
from tasks.core.reign.realm import APPROVED, VALIDATION_STATUS
from tasks.core.traffic.state import TRAFFIC
from tasks.core.verdict import Reason
from tasks.io.clock import utc_now
from tasks.io.metric_paths import custom_metrics
from tasks.io.setup import Setup
from tasks.traffic import read_traffic

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
    marks = _marks(setup)  # before anything is looked up: what happens from here on is seen to have happened
    opponents = find_sides(setup, challenger)
    look = _alpha(setup, wanted=alpha)
    test = _plan(setup, opponents, look, name=name, hypothesis=hypothesis, mode=mode)
    create_payload(setup.stores.ledger.read(model=setup.model, stream=AB), test, marks)
    share_traffic(setup, test, dry_run=True)  # what cannot be shared is said before anything is written
    if dry_run:
        return told(setup, "Planned", test, [], dry_run=True, alpha_left=look.left_after)
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
    return told(setup, "Testing", state.test, reasons, entry=entry, alpha_left=look.left_after)


def finish_creation(setup: Setup, state: TestState) -> TestState:
    """Spend the alpha of a test that was created, share its traffic and fix its start; return it as it is then.

    Each step is done once, whoever did those before it. Nothing is looked at before the alpha is spent, and no row
    counts from before the traffic was shared. Traffic that was shared and changed since is left to the look.

    Raises
    ------
    InputError
        When another evaluation has spent the alpha meanwhile, which ends the test; when traffic cannot be shared.
    """
    _spend(setup, state)
    control = state.test.control.version
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if champion == control and not what_changed(setup, state):
        share_traffic(setup, state.test)
    start = _start(setup, state)
    if start is not None:

        def decide(history: Sequence[Entry]) -> tuple[str, dict[str, Any]] | None:
            payload = begin_payload(history, state.test.name, start)
            return None if payload is None else (BEGUN, payload)

        setup.stores.ledger.claim(model=setup.model, stream=AB, at=utc_now(), decide=decide)
    settle_arms(setup)  # of this test too, where it was ended while they were shared
    return find_test(read_tests(setup), state.test.name)


def find_sides(setup: Setup, challenger: int | None) -> Opponents:
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
    return plan_test(
        config,
        Sides(champion=champion, challenger=challenger, start=now_on_clock(setup), alpha=look.alpha),
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


def _marks(setup: Setup) -> Marks:
    newest = {name: setup.stores.ledger.last(setup.model, name) for name in (TRAFFIC, PLANS)}
    return Marks(**{name: entry.seq if entry else 0 for name, entry in newest.items()})


def _start(setup: Setup, state: TestState) -> float | None:
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


def _alpha(setup: Setup, *, wanted: float | None) -> AlphaLook:
    entries = setup.stores.ledger.read(model=setup.model, stream=ALPHA)
    level = setup.config.evaluation.significance_level
    return require_alpha(live_alpha(entries, now=utc_now(), level=level, wanted=wanted), level=level)


def _spend(setup: Setup, state: TestState) -> None:
    """Claim the alpha of a test that was created; a test for which it is no longer to be had is ended."""
    now, level = utc_now(), setup.config.evaluation.significance_level

    def decide(history: Sequence[Entry]) -> tuple[str, dict[str, Any]] | None:
        if has_spent(history, state):
            return None
        return LOOK, alpha_payload(live_alpha(history, now=now, level=level, wanted=state.test.alpha), state)

    try:
        setup.stores.ledger.claim(model=setup.model, stream=ALPHA, at=now, decide=decide)
    except InputError as error:
        gone = Reason(code="alpha_spent", message=str(error))
        end_test(setup, state.test, Conclusion(action=Action.ABORT, reasons=(gone,)), by="its creation")
        raise InputError(f"{error} Live test '{state.test.name}' was ended before it began.") from error
