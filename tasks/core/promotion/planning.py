"""Plan a promotion, a rollback or a repair, and settle a plan whose owner died: no world is touched here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.promotion.history import recorded_champion
from evergreen.tasks.core.promotion.plan import (
    CANDIDATE,
    CHALLENGER,
    CHAMPION,
    FALLBACK,
    ROLES,
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

OUTSIDE = "The aliases were changed outside Evergreen; the ledger takes note and @fallback is mended."


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How an open plan ends: ``finish`` or ``abandon``, and the steps that are left to do for it."""

    decision: Literal["finish", "abandon"]
    steps: tuple[PlanStep, ...]

    @property
    def outcome(self) -> str:
        """Return the word the ledger closes the plan with."""
        return {"finish": "finished", "abandon": "abandoned"}[self.decision]


def plan_promotion(
    realm: RegistryState,
    *,
    version: int,
    now: datetime,
    reason: str,
    expected_champion: ExpectedChampion = "any",
    evidence: str | None = None,
    proves: bool = False,
) -> Plan:
    """Plan to put a version on the throne; the champion of now becomes @fallback.

    Raises
    ------
    Blocked
        ``champion_moved`` when another champion reigns than the evidence was gathered against,
        ``already_champion`` when the version reigns already.
    InputError, NotLearnable
        See ``check_approved``.
    """
    check_expected_champion(realm, version, expected_champion)
    check_approved(realm, version)
    fallback = _first_but(version, realm.heirs())
    return Plan(
        kind="promotion",
        model=realm.model,
        version=version,
        expected_champion=realm.champion,
        before=_roles(realm),
        steps=(
            *_alias_moves(realm, version=version, fallback=fallback),
            *_clear_queue(realm, version),
            *_archiving(realm, version, fallback, now),
        ),
        reason=reason,
        evidence=evidence,
        proves=proves,
    )


def plan_rollback(
    realm: RegistryState,
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
    champion left. So a second rollback goes one reign further back.

    Raises
    ------
    NotLearnable
        ``nothing_to_return_to``.
    Blocked
        ``champion_moved`` or ``already_champion``.
    InputError
        When ``to`` never reigned.
    """
    version = realm.way_back() if to is None else check_former_champion(realm, to)
    check_expected_champion(realm, version, expected_champion)
    if version is None:
        raise NotLearnable(
            "nothing_to_return_to",
            f"Model '{realm.model}' has no former champion to return to that was not itself rolled back from.",
            observed=0,
            limit=1,
        )
    fallback = _first_but(version, realm.former_champions())
    return Plan(
        kind="rollback",
        model=realm.model,
        version=version,
        expected_champion=realm.champion,
        before=_roles(realm),
        steps=(
            *_alias_moves(realm, version=version, fallback=fallback),
            *_clear_queue(realm, version),
            *_demotion(realm, now),
            *_archiving(realm, version, fallback, now),
        ),
        reason=reason,
        evidence=evidence,
        proves=proves,
    )


def plan_repair(realm: RegistryState, *, now: datetime) -> Plan | None:
    """Plan to make ledger and aliases agree after somebody moved them outside Evergreen; None when they do.

    The champion that serves is accepted as it is, never moved; @fallback is mended around it.
    """
    champion = realm.champion
    if champion is None:
        return None
    fallback = _first_but(None, realm.former_champions())
    known = recorded_champion(realm.history)
    if known == champion and realm.fallback == fallback:
        return None
    moves = _alias_moves(realm, version=champion, fallback=fallback)
    return Plan(
        kind="repair",
        model=realm.model,
        version=champion,
        expected_champion=known,
        before=_roles(realm),
        steps=(
            *(step for step in moves if step.alias == FALLBACK),
            *_archiving(realm, champion, fallback, now, former=known),
        ),
        reason=OUTSIDE,
    )


def settle(plan: Plan, aliases: Mapping[str, int], *, existing: Collection[int] | None = None) -> Settlement:
    """Decide how a plan ends whose owner is gone: champion moved to its version, finish; else abandon.

    Parameters
    ----------
    plan : Plan
        An open plan of a model nobody else holds the lock of.
    aliases : mapping of str to int
        As they are now.
    existing : collection of int, optional
        Registered versions; steps about versions deleted since are passed over.
    """
    moved = aliases.get(CHAMPION) == plan.version
    steps = plan.steps if moved else _return_of_fallback(plan, aliases)
    left = tuple(
        step for step in steps if not step.is_done(aliases) and (existing is None or step.version in existing)
    )
    return Settlement(decision="finish" if moved else "abandon", steps=left)


def _return_of_fallback(plan: Plan, aliases: Mapping[str, int]) -> tuple[PlanStep, ...]:
    """Return the step that gives @fallback back when the plan's first move took it away."""
    former = plan.before.get(FALLBACK)
    if former is None or FALLBACK in aliases or aliases.get(CHAMPION) == former:
        return ()
    return (PlanStep(action="set_alias", alias=FALLBACK, version=former),)


def _first_but(barred: int | None, versions: list[int]) -> int | None:
    return next((version for version in versions if version != barred), None)


def _roles(realm: RegistryState) -> dict[str, int]:
    return {alias: realm.aliases[alias] for alias in ROLES if alias in realm.aliases}


def _alias_moves(realm: RegistryState, *, version: int, fallback: int | None) -> list[PlanStep]:
    """Return the moves in the one safe order: never a champion missing, never a wrong fallback."""
    steps = []
    standing = realm.fallback
    if standing == version:
        steps.append(PlanStep(action="delete_alias", alias=FALLBACK, version=version))
        standing = None
    steps.append(PlanStep(action="set_alias", alias=CHAMPION, version=version))
    if fallback is not None and fallback != standing:
        steps.append(PlanStep(action="set_alias", alias=FALLBACK, version=fallback))
    if fallback is None and standing is not None:
        steps.append(PlanStep(action="delete_alias", alias=FALLBACK, version=standing))
    return steps


def _clear_queue(realm: RegistryState, version: int) -> list[PlanStep]:
    """Return the removal of @challenger and @candidate from the version, or from the one it is a refit of."""
    judged = realm.versions[version].get(EVALUATED_AS, "")
    settled = {version, int(judged)} if judged.isdecimal() else {version}
    return [
        PlanStep(action="delete_alias", alias=alias, version=realm.aliases[alias])
        for alias in (CHALLENGER, CANDIDATE)
        if realm.aliases.get(alias) in settled
    ]


def _demotion(realm: RegistryState, now: datetime) -> list[PlanStep]:
    if realm.champion is None:
        return []
    tags = {ROLLED_BACK: "true", f"{ROLLED_BACK}_at": now.isoformat()}
    return [PlanStep(action="set_tags", version=realm.champion, tags=tags)]


def _archiving(
    realm: RegistryState, version: int, fallback: int | None, now: datetime, *, former: int | None = None
) -> list[PlanStep]:
    """Return the tags of those who leave both aliases, and of those who come back from the archive.

    ``former`` is a champion that was pushed from the throne outside Evergreen.
    """
    held = {realm.champion, realm.fallback, former}
    stamp = {ARCHIVED: "true", f"{ARCHIVED}_at": now.isoformat()}
    leaving = [
        PlanStep(action="set_tags", version=v, tags=stamp)
        for v in sorted(realm.versions)
        if v in held and v not in (version, fallback)
    ]
    returning = [
        PlanStep(action="set_tags", version=v, tags={ARCHIVED: "false"})
        for v in (version, fallback)
        if v is not None and realm.versions.get(v, {}).get(ARCHIVED) == "true"
    ]
    return [*leaving, *returning]
