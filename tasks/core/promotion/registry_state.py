"""One model's aliases, versions and history at one moment: the checks before a plan, and what ``status`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evergreen.tasks.core.errors import Blocked, InputError, NotLearnable
from evergreen.tasks.core.promotion.history import (
    ChampionPeriod,
    champion_periods,
    open_plans,
    recorded_champion,
    rolled_back_versions,
)
from evergreen.tasks.core.promotion.ledger import LedgerEntry, check_chain
from evergreen.tasks.core.promotion.plan import CANDIDATE, CHALLENGER, CHAMPION, FALLBACK, ROLES
from evergreen.tasks.core.reports.html import markdown_table
from evergreen.tasks.core.verdict import StageResult

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
        registered = ", ".join(map(str, sorted(registry.versions))) or "none"
        raise InputError(
            f"Version {version} of model '{registry.model}' is not registered. Registered: {registered}."
        )
    status = registry.versions[version].get(VALIDATION_STATUS, "absent")
    if status != APPROVED:
        message = (
            f"Version {version} of model '{registry.model}' has {VALIDATION_STATUS} '{status}'; only 'approved' "
            f"may go on. Run 'evergreen validate {registry.model}' first."
        )
        raise NotLearnable("not_approved", message, observed=status, limit=APPROVED)


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
        message = f"Version {version} of model '{registry.model}' is @champion already."
        raise Blocked("already_champion", message)


def check_former_champion(registry: RegistryState, version: int) -> int:
    """Return the version when it was champion and still exists.

    Raises
    ------
    InputError
        When it was never champion.
    """
    recorded = {period.version for period in champion_periods(registry.history)}
    champions = recorded | {registry.fallback, registry.champion}
    former = sorted(one for one in champions if one is not None and one in registry.versions)
    if version not in former:
        listed = ", ".join(map(str, former)) or "none"
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
        message = f"Model '{model}' has no @{alias} to act on. Aliases: {held}. Name a version instead."
        raise NotLearnable(f"no_{alias}", message)
    return aliases[alias]


STAGE_WORDS = {CHAMPION: "Production", CHALLENGER: "Staging", FALLBACK: "Archived", CANDIDATE: "None"}
"""For teams that still say Staging, Production, Archived: the stage an alias stands for."""


def describe_status(
    *, aliases: Mapping[str, int], entries: Sequence[LedgerEntry], lock_is_held: bool
) -> dict[str, Any]:
    """Return the status of one model; it only reads and changes nothing.

    Parameters
    ----------
    aliases : mapping of str to int
        The model's aliases.
    entries : sequence of Entry
        The model's ledger entries, whole streams in order.
    lock_is_held : bool
        Whether a process moves the model's aliases now; an open plan is then in progress, else its owner died.

    Returns
    -------
    dict
        ``champion``, ``fallback``, ``challenger``, ``candidate``: ``{version, stage, …}`` or None.
        ``pending``: open plans, each ``in_progress`` or ``crashed``. ``consistent``: ledger and aliases
        agree, no owner died, and the chain is whole; ``inconsistencies`` says in sentences what is not.
    """
    pending = [
        {
            "plan_id": recorded.plan_id,
            "kind": recorded.plan.kind,
            "version": recorded.plan.version,
            "since": recorded.at.isoformat(),
            "state": "in_progress" if lock_is_held else "crashed",
        }
        for recorded in open_plans(entries)
    ]
    problems = _problems(aliases, entries, lock_is_held=lock_is_held)
    return {
        **{role: _holder(role, aliases, entries) for role in ROLES},
        "pending": pending,
        "consistent": not problems,
        "inconsistencies": problems,
    }


def _holder(role: str, aliases: Mapping[str, int], entries: Sequence[LedgerEntry]) -> dict[str, Any] | None:
    if role not in aliases:
        return None
    holder: dict[str, Any] = {"version": aliases[role], "stage": STAGE_WORDS[role]}
    current = champion_periods(entries)[-1:]
    if role == CHAMPION and current and current[0].version == aliases[role]:
        story = current[0].to_dict()
        holder |= {key: story[key] for key in ("since", "how", "reason", "evidence")}
    return holder


def _problems(aliases: Mapping[str, int], entries: Sequence[LedgerEntry], *, lock_is_held: bool) -> list[str]:
    champion, fallback = aliases.get(CHAMPION), aliases.get(FALLBACK)
    problems = [fault.message for fault in check_chain(entries)]
    if fallback is not None and fallback == champion:
        problems.append(f"@fallback and @champion are both version {champion}.")
    if fallback in rolled_back_versions(entries):
        problems.append(f"@fallback is version {fallback}, which was rolled back from.")
    plans = open_plans(entries)
    if plans and not lock_is_held:
        problems.append(
            f"Plan {plans[0].plan_id} was begun and its process ended; 'evergreen reconcile' finishes or abandons it."
        )
    expected = {recorded_champion(entries)}
    for recorded in plans:
        expected |= {recorded.plan.expected_champion, recorded.plan.version}
    if champion not in expected:
        names = ", ".join(str(version or "absent") for version in sorted(expected, key=str))
        problems.append(f"@champion is {champion or 'absent'}, the ledger says {names}.")
    return problems


# A page about a promotion or rollback: what moved, why, and which versions were champion before.


SHOWN = 10
"""Champions on the page; the ledger keeps them all."""


def promotion_markdown(result: StageResult, history: Sequence[ChampionPeriod]) -> str:
    """Return the page as Markdown: state, aliases, reasons, the newest champions."""
    holders = [f"@{alias}: {result.details.get(alias) or 'absent'}" for alias in ("champion", "fallback")]
    reasons = [f"- `{reason.code}` {_in_one_line(reason.message)}" for reason in result.reasons]
    settled = [
        f"- {plan['outcome']} the {plan['kind']} to version {plan['version']} that a crash left ({plan['plan_id']})"
        for plan in result.details.get("settled", [])
    ]
    head = ("version", "since", "until", "how", "why", "evidence")
    table = markdown_table(head, [_row(period) for period in reversed(history[-SHOWN:])])
    title = f"## {result.model}: {result.state.value}"
    return "\n".join([title, "", " · ".join(holders), "", *reasons, *settled, "", *table])


def _row(period: ChampionPeriod) -> tuple[Any, ...]:
    since = period.since.isoformat(timespec="seconds") if period.since else "unknown"
    until = period.until.isoformat(timespec="seconds") if period.until else "now"
    return period.version, since, until, period.how, period.reason, period.evidence or "none"


def _in_one_line(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
