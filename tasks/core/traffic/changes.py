"""What a person may do to traffic: set it, begin a ramp; and what follows from a promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from evergreen.tasks.core.config.serving import CELLS, Ramp
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.promotion.registry_state import APPROVED, VALIDATION_STATUS
from evergreen.tasks.core.traffic.decide import TrafficDecision, end_variants
from evergreen.tasks.core.traffic.plan import TrafficPlan, plan_traffic
from evergreen.tasks.core.traffic.state import TRAFFIC, TrafficState
from evergreen.tasks.core.traffic.variant import Role, Variant
from evergreen.tasks.core.verdict import Reason


@dataclass(frozen=True, kw_only=True)
class RegisteredVersions:
    """A model in the registry: its champion, and the tags of each version."""

    champion: int | None
    versions: Mapping[int, Mapping[str, Any]]


def set_traffic(
    state: TrafficState,
    variants: Sequence[Variant],
    *,
    model: str,
    registered: RegisteredVersions,
    why: str,
    now: datetime,
    ramp: Ramp | None = None,
    judged: Sequence[str] = (),
) -> TrafficState:
    """Return the traffic that a person wants, in place of all that was wanted before.

    While a challenger goes on under its name and with its members, the salt stays, so that its people stay with it;
    else a new salt draws the arms anew, independently of all plans before.

    Parameters
    ----------
    state : TrafficState
        What is wanted now.
    variants : sequence of Variant
        Challengers and shadows.
    model : str
        The model.
    registered : RegisteredVersions
        The champion and all versions.
    why : str
        Reason, kept in the ledger.
    now : datetime
        Aware.
    ramp : Ramp | None
        A ramp of one of the challengers, whose share is the ramp's first step.
    judged : sequence of str
        Arms whose outcomes a live test judges; they are watched for errors and latency alone.

    Raises
    ------
    InputError
        When a version does not exist, is the champion, or (challengers) has not passed the gate; when shares do not
        fit.
    """
    check_variants(variants, model=model, registered=registered)
    wanted = {(one.name, one.members) for one in variants}
    goes_on = any((one.name, one.members) in wanted for one in state.plan.challengers)
    salt = state.plan.salt if goes_on else f"{model}/{TRAFFIC}/{state.seq + 1}"
    plan = plan_traffic(variants, salt=salt, before=state.plan)
    if ramp is not None:
        _check_room(plan, ramp)
    return TrafficState(
        plan=plan,
        seq=state.seq,
        set_at=now,
        ramp=ramp,
        step=None if ramp is None else 0,
        reasons=(Reason(code="set", message=why.strip() or "Set by hand."),),
        judged=tuple(judged),
    )


def begin_ramp(state: TrafficState, canary: Variant, ramp: Ramp) -> list[Variant]:
    """Return the variants for `set_traffic` when a challenger begins a ramp beside what there is.

    Raises
    ------
    InputError
        When another ramp is on its way.
    """
    if state.ramp is not None and state.ramp.arm != ramp.arm:
        raise InputError(
            f"A ramp of '{state.ramp.arm}' is running. Allowed: one at a time; wait for it, or end it by "
            "'evergreen traffic stop'."
        )
    first = replace(canary, share=ramp.steps[0])
    return [*(one for one in state.plan.variants[1:] if one.name != canary.name), first]


def settle_traffic(state: TrafficState, effective: TrafficState, *, champion: int) -> TrafficDecision | None:
    """Return the end of variants that became champion, to be written once; None where there are none.

    Parameters
    ----------
    state, effective : TrafficState
        What is wanted as the ledger has it, and what of it is in force.
    champion : int
        Version of @champion.
    """
    in_force = {one.name for one in effective.plan.variants}
    done = [one for one in state.plan.variants if one.name not in in_force]
    if not done:
        return None
    named = ", ".join(f"'{one.name}' (version {one.version})" for one in done)
    message = (
        f"{named} became champion since the traffic was set and is done; @champion is version {champion}."
    )
    reason = Reason(code="became_champion", message=message, observed=champion)
    return end_variants(effective, (), (reason,))


def check_variants(variants: Sequence[Variant], *, model: str, registered: RegisteredVersions) -> None:
    """Refuse versions that do not exist, are the champion, or are to answer without having passed the gate."""
    for variant in variants:
        for version in variant.versions:
            _check_version(variant, version, model, registered)
        if registered.champion is not None and variant.version == registered.champion:
            raise InputError(
                f"Variant '{variant.name}' is version {registered.champion}, which is @champion of '{model}'. Allowed: "
                "other versions, or ensembles with it; leave it out."
            )
    if registered.champion is None and variants:
        raise InputError(
            f"Model '{model}' has no champion, so that nothing would answer the rest. Promote a version first: "
            f"'evergreen promote {model}'."
        )


def _check_version(variant: Variant, version: int, model: str, registered: RegisteredVersions) -> None:
    if version not in registered.versions:
        registered_versions = ", ".join(map(str, sorted(registered.versions))) or "none"
        raise UnknownName(
            f"Unknown version {version} of model '{model}' in variant '{variant.name}'. Known: {registered_versions}."
        )
    status = registered.versions[version].get(VALIDATION_STATUS, "absent")
    if variant.role is Role.CHALLENGER and version != registered.champion and status != APPROVED:
        raise InputError(
            f"Version {version} of model '{model}' has {VALIDATION_STATUS} '{status}'. Only 'approved' ones answer: "
            f"run 'evergreen validate {model} --version {version}', or make it a shadow."
        )


def _check_room(plan: TrafficPlan, ramp: Ramp) -> None:
    others = sum(one.cells for one in plan.challengers if one.name != ramp.arm)
    if round(ramp.steps[-1] * CELLS) + others > CELLS:
        raise InputError(
            f"The ramp of '{ramp.arm}' ends at {ramp.steps[-1]:.2%}, and other challengers have "
            f"{others / CELLS:.2%}. Allowed: 100 % together; end it earlier by --steps."
        )
