"""One model's aliases, versions and history at one moment, and the checks before anything is planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evergreen.tasks.core.errors import Blocked, InputError, NotLearnable
from evergreen.tasks.core.promotion.history import champion_periods, rolled_back_versions
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import CHAMPION, FALLBACK

EVALUATED_AS = "evergreen.evaluated_as"
REJECTED_FOR = "evergreen.rejected_for"


APPROVED = "approved"
VALIDATION_STATUS = "validation_status"

ExpectedChampion = int | None | Literal["any"]
"""A version, None (nobody reigns) or ``"any"`` (whoever reigns when the plan is made)."""


@dataclass(frozen=True, kw_only=True)
class RegistryState:
    """What a plan is made from."""

    model: str
    """Registered model name."""
    aliases: Mapping[str, int]
    """All its aliases."""
    versions: Mapping[int, Mapping[str, str]]
    """Tags by registered version."""
    history: Sequence[LedgerEntry] = ()
    """The model's ledger entries in order (the stream ``plans`` suffices)."""

    @property
    def champion(self) -> int | None:
        """Version that serves."""
        return self.aliases.get(CHAMPION)

    @property
    def fallback(self) -> int | None:
        """Version that a rollback returns to."""
        return self.aliases.get(FALLBACK)

    def former_champions(self) -> list[int]:
        """Return versions that may become @fallback, newest reign first, without the champion of now.

        A @fallback that the ledger never saw reigning comes last: it is from before the ledger began.
        """
        order = [*(reign.version for reign in reversed(champion_periods(self.history))), self.fallback]
        barred = rolled_back_versions(self.history) | {self.champion}
        return distinct(v for v in order if v is not None and v not in barred and v in self.versions)

    def way_back(self) -> int | None:
        """Return the version a rollback leads to: @fallback while it may bear that name, else the newest left."""
        former = self.former_champions()
        return self.fallback if self.fallback in former else next(iter(former), None)

    def heirs(self) -> list[int]:
        """Return who may be @fallback once the champion of now has left the throne by a promotion."""
        champion = self.champion
        keeps = champion is not None and champion not in rolled_back_versions(self.history)
        return distinct(
            [champion, *self.former_champions()] if keeps and champion else self.former_champions()
        )


def distinct(versions: Iterable[int]) -> list[int]:
    """Return the versions without repeats, each at its first place."""
    return list(dict.fromkeys(versions))


def check_approved(realm: RegistryState, version: int) -> None:
    """Raise unless a version exists and passed its gate.

    Raises
    ------
    InputError
        When it is not registered.
    NotLearnable
        ``not_approved`` when its tag does not say approved.
    """
    if version not in realm.versions:
        known = ", ".join(map(str, sorted(realm.versions))) or "none"
        raise InputError(
            f"Version {version} of model '{realm.model}' is not registered. Registered: {known}."
        )
    status = realm.versions[version].get(VALIDATION_STATUS, "absent")
    if status != APPROVED:
        raise NotLearnable(
            "not_approved",
            f"Version {version} of model '{realm.model}' has {VALIDATION_STATUS} '{status}'; only 'approved' "
            f"may go on. Run 'evergreen validate {realm.model}' first.",
            observed=status,
            limit=APPROVED,
        )


def check_expected_champion(realm: RegistryState, version: int | None, expected: ExpectedChampion) -> None:
    """Refuse when the throne is not as the caller believes, or is the version's already.

    Raises
    ------
    Blocked
        ``champion_moved`` or ``already_champion``.
    """
    if expected not in ("any", realm.champion):
        raise Blocked(
            "champion_moved",
            f"@champion of model '{realm.model}' is {realm.champion or 'absent'}, not {expected or 'absent'} "
            "as the evidence assumes; nothing was moved. Challenge the present champion.",
        )
    if version is not None and version == realm.champion:
        raise Blocked("already_champion", f"Version {version} of model '{realm.model}' is @champion already.")


def check_former_champion(realm: RegistryState, version: int) -> int:
    """Return the version when it has reigned and still exists.

    Raises
    ------
    InputError
        When it never reigned.
    """
    champions = {reign.version for reign in champion_periods(realm.history)} | {
        realm.fallback,
        realm.champion,
    }
    known = sorted(v for v in champions if v is not None and v in realm.versions)
    if version not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise InputError(
            f"Version {version} of model '{realm.model}' never reigned, so there is no going back to it. "
            f"Champions so far: {listed}. A new version goes by 'evergreen promote'."
        )
    return version


def check_present(alias: str, aliases: Mapping[str, int], *, model: str) -> int:
    """Return the version an alias points at.

    Raises
    ------
    NotLearnable
        ``no_<alias>`` when nothing bears it.
    """
    if alias not in aliases:
        held = ", ".join(f"@{name}" for name in sorted(aliases)) or "none"
        raise NotLearnable(
            f"no_{alias}",
            f"Model '{model}' has no @{alias} to act on. Aliases: {held}. Name a version instead.",
        )
    return aliases[alias]
