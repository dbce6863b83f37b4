"""Status of a model: which version has which alias, what is pending, and whether ledger and aliases agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
            f"Plan {plans[0].plan_id} was begun and its owner is gone; 'evergreen reconcile' settles it."
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
