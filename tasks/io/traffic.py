"""Set, ramp, stop and show a model's traffic, and follow it: commands that need no run and no Prefect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from evergreen.tasks.core.config.serving import Ramp
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.promotion.history import PLANS, champion_periods
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.traffic import decide as deciding
from evergreen.tasks.core.traffic.changes import RegisteredVersions, begin_ramp, set_traffic, settle_traffic
from evergreen.tasks.core.traffic.decide import TrafficDecision, renew_stop, stop_traffic
from evergreen.tasks.core.traffic.state import (
    SET,
    TRAFFIC,
    TrafficState,
    describe,
    fold_traffic,
    in_force,
    promoted_since,
)
from evergreen.tasks.core.traffic.variant import Role, Variant, parse_variant
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.ledger import Ledger, claim_next
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, command_result


def read_traffic(ledger: Ledger, model: str) -> TrafficState:
    """Return the wanted traffic of a model; one entry is read."""
    return _state_of(ledger.last(model, TRAFFIC), model)


def traffic_in_force(ledger: Ledger, model: str, *, champion: int | None) -> TrafficState:
    """Return the traffic to be followed now: without variants that became champion since it was set."""
    state = read_traffic(ledger, model)
    if state.plan.is_plain:
        return state
    promoted = promoted_since(champion_periods(ledger.read(model=model, stream=PLANS)), state)
    return in_force(state, champion=champion, promoted=promoted)


def write_decision(
    ledger: Ledger, model: str, decision: TrafficDecision, *, at: datetime
) -> LedgerEntry | None:
    """Write a decision, unless the traffic was changed since; None then, and where nothing is to be written.

    Of many processes that decide at once one writes. The others read what it wrote, and follow.
    """
    if decision.kind is None:
        return None
    return ledger.follow(
        model=model,
        stream=TRAFFIC,
        after=decision.state.seq,
        kind=decision.kind,
        payload=decision.to_payload(),
        at=at,
    )


def settle(ledger: Ledger, model: str, *, champion: int, at: datetime) -> LedgerEntry | None:
    """Write the end of variants that became champion; None where there are none."""
    state = read_traffic(ledger, model)
    effective = traffic_in_force(ledger, model, champion=champion)
    decision = settle_traffic(state, effective, champion=champion)
    return None if decision is None else write_decision(ledger, model, decision, at=at)


def set_variants(
    setup: Setup,
    *,
    challengers: Sequence[str],
    shadows: Sequence[str],
    judged: Sequence[str] = (),
    why: str = "",
    dry_run: bool = False,
) -> dict[str, Any]:
    """Set the variants and shadows of a model in place of all before.

    Parameters
    ----------
    challengers, shadows : sequence of str
        As people write them (`evergreen.tasks.core.traffic.variant`); shadows score all rows where they say no share.
    judged : sequence of str
        Names of arms whose outcomes a live test judges.
    why : str
        Reason, recorded in the ledger.

    Raises
    ------
    InputError
        When nothing is named, or something of it is not allowed.
    """
    if not challengers and not shadows:
        raise InputError(
            f"Nothing to set for '{setup.model}'. Name a challenger (--challenger 8@10%) or a shadow (--shadow 9); "
            f"to send everything back to the champion: 'evergreen traffic stop {setup.model}'."
        )
    aliases = setup.stores.registry.aliases(setup.model)
    wanted = [parse_variant(text, role=Role.CHALLENGER, aliases=aliases) for text in challengers]
    wanted += [parse_variant(text, role=Role.SHADOW, aliases=aliases, share=1.0) for text in shadows]

    def choose(state: TrafficState) -> Chosen:
        return wanted, judged, None

    return _set(setup, choose, why=why, dry_run=dry_run)


def ramp_variant(
    setup: Setup,
    *,
    canary: str,
    steps: Sequence[float] | None = None,
    min_rows: int | None = None,
    min_time: timedelta | None = None,
    why: str = "",
    dry_run: bool = False,
) -> dict[str, Any]:
    """Begin a canary ramp next to the present variants; steps, rows and time from the configuration by default."""
    aliases, config = setup.stores.registry.aliases(setup.model), setup.config.traffic
    first = tuple(steps or config.steps)
    variant = parse_variant(canary, role=Role.CHALLENGER, aliases=aliases, share=first[0])
    ramp = Ramp(
        arm=variant.name,
        steps=first,
        min_rows=min_rows or config.min_rows,
        min_time=config.limits.min_time if min_time is None else min_time,
    )

    def choose(state: TrafficState) -> Chosen:
        judged = [name for name in state.judged if name != variant.name]
        return begin_ramp(state, variant, ramp), judged, ramp

    return _set(setup, choose, why=why, dry_run=dry_run)


def stop_variants(setup: Setup, *, why: str, dry_run: bool = False) -> dict[str, Any]:
    """Send everything back to the champion; shadows go on until they are set anew.

    Raises
    ------
    InputError
        Without a reason.
    """
    if not why.strip():
        raise InputError("Stopping needs a reason, which is recorded in the ledger: add --reason 'TEXT'.")
    reasons = [Reason(code="stopped_by_hand", message=why.strip())]

    def decide(state: TrafficState) -> TrafficDecision | None:
        return stop_traffic(state, reasons) if state.plan.challengers else None

    return _end(setup, decide, word="Stopped", dry_run=dry_run)


def end_variants(
    setup: Setup, choose: Callable[[TrafficState], Sequence[str]], *, why: Reason
) -> dict[str, Any]:
    """End the challengers and shadows that are chosen of what is wanted; all others go on as they are."""

    def decide(state: TrafficState) -> TrafficDecision | None:
        names = choose(state)
        return deciding.end_variants(state, names, [why]) if names else None

    return _end(setup, decide, word="Ended", dry_run=False)


def show_traffic(setup: Setup) -> dict[str, Any]:
    """Return the variants, the shadows, the ramp, and the reasons; it only reads."""
    champion = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    state = traffic_in_force(setup.stores.ledger, setup.model, champion=champion)
    word = "Ramping" if state.ramp is not None else "Plain" if state.plan.is_plain else "Shared"
    shown = command_result(setup, word, state.reasons, dry_run=False, traffic=describe(state))
    return {**shown, "champion": champion}


def traffic_status(setup: Setup) -> dict[str, Any] | None:
    """Return what `evergreen status` shows; None while the champion answers everything alone."""
    shown = show_traffic(setup)
    return None if shown["state"] == "Plain" else shown["traffic"]


Chosen = tuple[Sequence[Variant], Sequence[str], Any]
"""Variants to be set, names of arms whose outcomes a live test judges, and the ramp that begins (None: none)."""


def _set(
    setup: Setup, choose: Callable[[TrafficState], Chosen], *, why: str, dry_run: bool
) -> dict[str, Any]:
    """Read what is wanted, decide, append; when another was faster, read and decide again."""
    ledger, registry, model, now = setup.stores.ledger, setup.stores.registry, setup.model, utc_now()

    def plan(_: LedgerEntry | None) -> TrafficState:
        champion = registry.aliases(model).get(CHAMPION)
        state = traffic_in_force(ledger, model, champion=champion)
        wanted, judged, ramp = choose(state)
        versions = {one.version: one.tags for one in registry.versions(model)}
        registered = RegisteredVersions(champion=champion, versions=versions)
        return set_traffic(
            state, wanted, model=model, registered=registered, why=why, now=now, ramp=ramp, judged=judged
        )

    def write(wanted: TrafficState) -> tuple[str, dict[str, Any]] | None:
        return None if dry_run else (SET, wanted.to_dict())

    wanted, entry = claim_next(ledger, model, TRAFFIC, plan, write, at=now)
    word = "Set" if wanted.ramp is None else "Ramping"
    return command_result(setup, word, wanted.reasons, entry=entry, dry_run=dry_run, traffic=describe(wanted))


def _end(
    setup: Setup, decide: Callable[[TrafficState], TrafficDecision | None], *, word: str, dry_run: bool
) -> dict[str, Any]:
    """Decide by what is wanted, and write; when another was faster, read and decide again."""
    model = setup.model
    decision, entry = claim_next(
        setup.stores.ledger,
        model,
        TRAFFIC,
        lambda last: decide(_state_of(last, model)),
        lambda decision: None if dry_run else _entry_of(decision),
        at=utc_now(),
    )
    if decision is None:
        message = f"The champion of '{model}' answers all already, or others go on as they are."
        state = read_traffic(setup.stores.ledger, model)
        reason = Reason(code="unchanged", message=message)
        return command_result(setup, "Unchanged", [reason], dry_run=False, traffic=describe(state))
    traffic = describe(decision.state)
    return command_result(setup, word, decision.reasons, entry=entry, dry_run=dry_run, traffic=traffic)


def _state_of(last: LedgerEntry | None, model: str) -> TrafficState:
    return fold_traffic([] if last is None else [last], model=model)


def _entry_of(decision: TrafficDecision | None) -> tuple[str, dict[str, Any]] | None:
    return None if decision is None or decision.kind is None else (decision.kind, decision.to_payload())


# Write a stop by guardrails, however late the ledger takes it.


def write_stop(ledger: Ledger, model: str, stop: TrafficDecision, *, at: datetime) -> LedgerEntry | None:
    """Write a stop, on top of what services wrote since it was decided.

    Parameters
    ----------
    ledger : Ledger
        Where the traffic stands.
    model : str
        The model.
    stop : TrafficDecision
        May have been decided long ago, while the ledger was away.
    at : datetime
        Aware.

    Returns
    -------
    Entry or None
        None where a person has set the traffic since, or the arm is gone.
    """
    _, entry = claim_next(
        ledger, model, TRAFFIC, lambda last: renew_stop(stop, _state_of(last, model)), _entry_of, at=at
    )
    return entry
