"""A page about an act on the throne: what moved, why, and who reigned before."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.reign.history import Reign
from tasks.core.verdict import StageResult

SHOWN = 10
"""Reigns on the page; the ledger keeps them all."""


def promotion_markdown(result: StageResult, history: Sequence[Reign]) -> str:
    """Return the page as Markdown: state, aliases, reasons, the newest reigns."""
    holders = [f"@{alias}: {result.details.get(alias) or 'absent'}" for alias in ("champion", "fallback")]
    reasons = [f"- `{reason.code}` {_cell(reason.message)}" for reason in result.reasons]
    settled = [
        f"- {plan['outcome']} the {plan['kind']} to version {plan['version']} that a crash left ({plan['plan_id']})"
        for plan in result.details.get("settled", [])
    ]
    rows = [_row(reign) for reign in reversed(history[-SHOWN:])]
    return "\n".join(
        [
            f"## {result.model}: {result.state.value}",
            "",
            " · ".join(holders),
            "",
            *reasons,
            *settled,
            "",
            "| version | since | until | how | why | evidence |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def _row(reign: Reign) -> str:
    since = reign.since.isoformat(timespec="seconds") if reign.since else "unknown"
    until = reign.until.isoformat(timespec="seconds") if reign.until else "reigns"
    cells = [str(reign.version), since, until, reign.how, _cell(reign.reason), reign.evidence or "none"]
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
