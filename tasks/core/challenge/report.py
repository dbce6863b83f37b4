"""The page of a challenge: what was compared, how sure it is, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Tags, Text
from evergreen.tasks.core.reports.html import markdown_table, number
from evergreen.tasks.core.verdict import StageResult


def challenge_markdown(result: StageResult) -> str:
    """Return the markdown of a decided challenge, for the Prefect UI and the approval form."""
    facts = result.details
    lines = [
        f"## {result.model} version {facts['versions']['challenger']}: {facts['verdict']}",
        "",
        *(f"- **{reason.code}**: {reason.message}" for reason in result.reasons),
        "",
        *markdown_table(("what", "value"), _rows(facts)),
    ]
    return "\n".join(lines)


def challenge_items(result: StageResult, page: str) -> Iterator[LogItem]:
    """Describe what is logged of a decided challenge."""
    facts = result.details
    names = (
        "difference",
        "p_value",
        "level",
        "n",
        "blocks",
        "champion",
        "challenger",
        "alpha_left",
        "needed_n",
    )
    yield Metrics({name: float(facts[name]) for name in names if facts[name] is not None})
    low, high = facts["interval"]
    if low is not None and high is not None:
        yield Metrics({"interval_low": low, "interval_high": high})
    yield Params({name: facts[name] for name in ("metric", "test", "data_fingerprint")})
    yield Tags({"evergreen.verdict": facts["verdict"], "evergreen.decision": str(result.decision_id)})
    yield Json("decision.json", result.to_dict())
    yield Text("decision.md", page)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    versions = facts["versions"]
    low, high = facts["interval"]
    rows = [
        ("challenger", f"version {versions['challenger']}: {_number(facts['challenger'])}"),
        ("against", f"{facts['against']}: {_number(facts['champion'])}"),
        ("metric", facts["metric"]),
        ("difference", f"{_number(facts['difference'])} [{_number(low)}, {_number(high)}]"),
        ("test", f"{facts['test']}, level {_number(facts['level'])}, p {_number(facts['p_value'])}"),
        ("rows", f"{facts['n']} in {facts['blocks'] or 'no'} blocks"),
        ("rows that would decide", _number(facts["needed_n"])),
        ("alpha left for 90 days", _number(facts["alpha_left"])),
        ("data", f"`{facts['data_fingerprint'][:12]}`"),
    ]
    if facts["window"]:
        first, last = facts["window"]
        rows[6:6] = [("first row", first), ("last row", last)]
    defender = versions["defender"]
    if defender is not None and defender != versions["champion"]:
        champion = versions["champion"]
        rows.insert(
            2, ("stand-in", f"judged version of champion {champion}, which was trained on these rows")
        )
    return rows


def _number(value: Any) -> str:
    return number(value) or "-"
