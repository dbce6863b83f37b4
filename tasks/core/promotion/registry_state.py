"""One model's aliases, versions and history at one moment, and the checks before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""A version, None (there is no champion) or ``"any"`` (whichever is champion when the plan is made)."""


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
        """Return versions that may become @fallback, the newest champion first, without the champion of now.

        A @fallback that the ledger never recorded as champion comes last: it is from before the ledger began.
        """
        order = [*(one.version for one in reversed(champion_periods(self.history))), self.fallback]
        barred = rolled_back_versions(self.history) | {self.champion}
        allowed = (one for one in order if one is not None and one not in barred and one in self.versions)
        return list(dict.fromkeys(allowed))

    def rollback_version(self) -> int | None:
        """Return the version a rollback leads to: @fallback while it may bear that name, else the newest left."""
        former = self.former_champions()
        return self.fallback if self.fallback in former else next(iter(former), None)

    def next_fallbacks(self) -> list[int]:
        """Return which versions may be @fallback once a promotion has replaced the champion of now."""
        champion = self.champion
        if champion is None or champion in rolled_back_versions(self.history):
            return self.former_champions()
        return [champion, *self.former_champions()]


def check_approved(registry: RegistryState, version: int) -> None:
    """Raise unless a version exists and passed its gate.

    Raises
    ------
    InputError
        When it is not registered.
    NotLearnable
        ``not_approved`` when its tag does not say approved.
    """
    if version not in registry.versions:
        known = ", ".join(map(str, sorted(registry.versions))) or "none"
        raise InputError(
            f"Version {version} of model '{registry.model}' is not registered. Registered: {known}."
        )
    status = registry.versions[version].get(VALIDATION_STATUS, "absent")
    if status != APPROVED:
        raise NotLearnable(
            "not_approved",
            f"Version {version} of model '{registry.model}' has {VALIDATION_STATUS} '{status}'; only 'approved' "
            f"may go on. Run 'evergreen validate {registry.model}' first.",
            observed=status,
            limit=APPROVED,
        )


def check_expected_champion(registry: RegistryState, version: int | None, expected: ExpectedChampion) -> None:
    """Refuse when the champion is another than the caller expects, or the version itself.

    Raises
    ------
    Blocked
        ``champion_moved`` or ``already_champion``.
    """
    if expected not in ("any", registry.champion):
        raise Blocked(
            "champion_moved",
            f"@champion of model '{registry.model}' is {registry.champion or 'absent'}, not {expected or 'absent'} "
            "as the evidence assumes; nothing was moved. Challenge the present champion.",
        )
    if version is not None and version == registry.champion:
        raise Blocked(
            "already_champion", f"Version {version} of model '{registry.model}' is @champion already."
        )


def check_former_champion(registry: RegistryState, version: int) -> int:
    """Return the version when it was champion and still exists.

    Raises
    ------
    InputError
        When it was never champion.
    """
    recorded = {period.version for period in champion_periods(registry.history)}
    champions = recorded | {registry.fallback, registry.champion}
    known = sorted(one for one in champions if one is not None and one in registry.versions)
    if version not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise InputError(
            f"Version {version} of model '{registry.model}' was never champion, so there is no going back to it. "
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
