"""The contract's result as a JSON document and as a page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.core import html
from tasks.core.contract.contract import Contract
from tasks.core.contract.judge import ContractResult, finding_to_dict
from tasks.core.verdict import Outcome


def contract_document(contract: Contract, results: Sequence[ContractResult]) -> dict[str, Any]:
    """Return the JSON form: the limits, and each window's verdict, warnings and findings."""
    return {
        "contract": contract.to_dict(),
        "windows": [
            {
                "window": result.window,
                **result.verdict.to_dict(),
                "warnings": [reason.to_dict() for reason in result.warnings],
                "rows": result.n,
                "rows_checked": result.checked,
                "findings": [finding_to_dict(finding) for finding in result.findings],
            }
            for result in results
        ],
    }


def contract_page(contract: Contract, results: Sequence[ContractResult], *, title: str) -> str:
    """Return the page: breaches first, then everything that was checked."""
    parts = [html.paragraph(f"Limits learned from {contract.learned_rows:,} training rows.")]
    for result in results:
        parts += _window_parts(result)
    return html.page(title, parts)


def _window_parts(result: ContractResult) -> list[str]:
    failed = result.verdict.outcome is Outcome.FAIL
    breaches = [("FAIL", reason.message) for reason in result.verdict.reasons] if failed else []
    breaches += [("WARNING", reason.message) for reason in result.warnings]
    said = html.table(("", "what"), breaches) if breaches else html.paragraph("Nothing to remark.")
    return [
        html.heading(f"{result.window}: {result.verdict.outcome.value}"),
        html.paragraph(f"{result.n:,} rows, values checked on {result.checked:,} of them."),
        said,
        html.table(
            ("check", "columns", "expected", "share outside", "limit", "result", "examples"),
            [_finding_row(finding_to_dict(finding)) for finding in result.findings],
        ),
    ]


def _finding_row(plain: dict[str, Any]) -> list[Any]:
    """Return one row of the table of findings."""
    broken = "FAIL" if plain["hard"] else "WARNING"
    return [
        plain["check"],
        ", ".join(plain["columns"]),
        plain["expected"],
        plain["share_outside"],
        plain["limit"],
        "PASS" if plain["met"] else broken,
        ", ".join(plain["examples"]),
    ]
