"""Plan a promotion, a rollback or a repair, and settle a plan whose owner died; nothing is moved here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.promotion.history import recorded_champion
from evergreen.tasks.core.promotion.plan import (
    CANDIDATE,
    CHALLENGER,
    CHAMPION,
    FALLBACK,
    ROLES,
    Kind,
    Plan,
    PlanStep,
)
from evergreen.tasks.core.promotion.registry_state import (
    EVALUATED_AS,
    ExpectedChampion,
    RegistryState,
    check_approved,
    check_expected_champion,
    check_former_champion,
)

ARCHIVED = "evergreen.archived"
ROLLED_BACK = "evergreen.rolled_back"

OUTSIDE = "The aliases were changed outside Evergreen; the ledger records it and @fallback is repaired."


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How an open plan ends, and the steps that are left to do for it."""

    outcome: Literal["finished", "abandoned"]
    """As the ledger closes the plan."""
    steps: tuple[PlanStep, ...]


def plan_promotion(
    registry: RegistryState,
    *,
    version: int,
    now: datetime,
    reason: str,
    expected_champion: ExpectedChampion = "any",
    evidence: str | None = None,
    proves: bool = False,
) -> Plan:
    """Plan to make a version @champion; the champion of now becomes @fallback.

    Raises
    ------
    Blocked
        ``champion_moved`` when the champion is another than the evidence was gathered against,
        ``already_champion`` when the version is champion already.
    InputError, NotLearnable
        See ``check_approved``.
    """
    check_expected_champion(registry, version, expected_champion)
    check_approved(registry, version)
    fallback = _first_but(version, registry.next_fallbacks())
    steps = (*_alias_moves(registry, version=version, fallback=fallback), *_clear_queue(registry, version))
    steps = (*steps, *_archiving(registry, version, fallback, now))
    return _plan("promotion", registry, version, steps, reason=reason, evidence=evidence, proves=proves)


def plan_rollback(
    registry: RegistryState,
    *,
    now: datetime,
    reason: str,
    to: int | None = None,
    expected_champion: ExpectedChampion = "any",
    evidence: str | None = None,
    proves: bool = False,
) -> Plan:
    """Plan the return to @fallback, or to the named former champion ``to``.

    The version rolled back from is tagged and never @fallback; the next @fallback is the newest former
    champion left. So a second rollback goes one champion further back.

    Raises
    ------
    NotLearnable
        ``nothing_to_return_to``.
    Blocked
        ``champion_moved`` or ``already_champion``.
    InputError
        When ``to`` was never champion.
    """
    version = registry.rollback_version() if to is None else check_former_champion(registry, to)
    check_expected_champion(registry, version, expected_champion)
    if version is None:
        message = f"Model '{registry.model}' has no former champion to return to that was not itself rolled back from."
        raise NotLearnable("nothing_to_return_to", message, observed=0, limit=1)
    fallback = _first_but(version, registry.former_champions())
    steps = [*_alias_moves(registry, version=version, fallback=fallback), *_clear_queue(registry, version)]
    if registry.champion is not None:
        tags = {ROLLED_BACK: "true", f"{ROLLED_BACK}_at": now.isoformat()}
        steps.append(PlanStep(action="set_tags", version=registry.champion, tags=tags))
    steps += _archiving(registry, version, fallback, now)
    return _plan("rollback", registry, version, steps, reason=reason, evidence=evidence, proves=proves)


def plan_repair(registry: RegistryState, *, now: datetime) -> Plan | None:
    """Plan to make ledger and aliases agree after they were moved outside Evergreen; None when they do.

    The champion that serves is accepted as it is, never moved; @fallback is repaired around it.
    """
    champion = registry.champion
    if champion is None:
        return None
    fallback = _first_but(None, registry.former_champions())
    recorded = recorded_champion(registry.history)
    if recorded == champion and registry.fallback == fallback:
        return None
    moves = _alias_moves(registry, version=champion, fallback=fallback)
    steps = [step for step in moves if step.alias == FALLBACK]
    steps += _archiving(registry, champion, fallback, now, former=recorded)
    plan = _plan("repair", registry, champion, steps, reason=OUTSIDE)
    return replace(plan, expected_champion=recorded)


def _plan(
    kind: Kind, registry: RegistryState, version: int, steps: Iterable[PlanStep], *, reason: str, **more: Any
) -> Plan:
    """Return a plan that is void when the champion is another by then."""
    return Plan(
        kind=kind,
        model=registry.model,
        version=version,
        expected_champion=registry.champion,
        before={alias: registry.aliases[alias] for alias in ROLES if alias in registry.aliases},
        steps=tuple(steps),
        reason=reason,
        **more,
    )


def settle(plan: Plan, aliases: Mapping[str, int], *, existing: Collection[int] | None = None) -> Settlement:
    """Decide how a plan ends whose owner is gone: champion moved to its version, finish; else abandon.

    Parameters
    ----------
    plan : Plan
        An open plan of a model whose lock no other process holds.
    aliases : mapping of str to int
        As they are now.
    existing : collection of int, optional
        Registered versions; steps about versions deleted since are passed over.
    """
    champion, former = aliases.get(CHAMPION), plan.before.get(FALLBACK)
    moved, steps = champion == plan.version, plan.steps
    if not moved:
        steps = ()
        # the first move took it away
        if former is not None and FALLBACK not in aliases and champion != former:
            steps = (PlanStep(action="set_alias", alias=FALLBACK, version=former),)
    left = tuple(
        step for step in steps if not step.is_done(aliases) and (existing is None or step.version in existing)
    )
    return Settlement(outcome="finished" if moved else "abandoned", steps=left)


def _first_but(excluded: int | None, versions: list[int]) -> int | None:
    return next((version for version in versions if version != excluded), None)


def _alias_moves(registry: RegistryState, *, version: int, fallback: int | None) -> list[PlanStep]:
    """Return the moves in the one safe order: never a champion missing, never a wrong fallback."""
    present, steps = registry.fallback, [PlanStep(action="set_alias", alias=CHAMPION, version=version)]
    if present == version:
        steps.insert(0, PlanStep(action="delete_alias", alias=FALLBACK, version=version))
        present = None
    if fallback is not None and fallback != present:
        steps.append(PlanStep(action="set_alias", alias=FALLBACK, version=fallback))
    if fallback is None and present is not None:
        steps.append(PlanStep(action="delete_alias", alias=FALLBACK, version=present))
    return steps


def _clear_queue(registry: RegistryState, version: int) -> list[PlanStep]:
    """Return the removal of @challenger and @candidate from the version, or from the one it is a refit of."""
    judged = registry.versions[version].get(EVALUATED_AS, "")
    settled = {version, int(judged)} if judged.isdecimal() else {version}
    return [
        PlanStep(action="delete_alias", alias=alias, version=registry.aliases[alias])
        for alias in (CHALLENGER, CANDIDATE)
        if registry.aliases.get(alias) in settled
    ]


def _archiving(
    registry: RegistryState, version: int, fallback: int | None, now: datetime, *, former: int | None = None
) -> list[PlanStep]:
    """Return the tags of versions that leave both aliases, and of those that come back from the archive.

    ``former`` is a champion that was replaced outside Evergreen.
    """
    held = {registry.champion, registry.fallback, former}
    stamp = {ARCHIVED: "true", f"{ARCHIVED}_at": now.isoformat()}
    leaving = [
        PlanStep(action="set_tags", version=v, tags=stamp)
        for v in sorted(registry.versions)
        if v in held and v not in (version, fallback)
    ]
    returning = [
        PlanStep(action="set_tags", version=v, tags={ARCHIVED: "false"})
        for v in (version, fallback)
        if v is not None and registry.versions.get(v, {}).get(ARCHIVED) == "true"
    ]
    return [*leaving, *returning]
