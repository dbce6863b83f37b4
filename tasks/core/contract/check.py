"""The verdict on one window: what broke its contract, and what merely drifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evergreen.tasks.core.contract.contract import Check, Contract, Expectation
from evergreen.tasks.core.reports import html
from evergreen.tasks.core.verdict import Outcome, Reason, Verdict


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check: the share of offending values (0 to 1) and some of them.

    ``observed`` is the number of rows where that is what was checked.
    """

    expectation: Expectation
    share: float
    n: int
    examples: tuple[str, ...] = ()
    observed: int | None = None


@dataclass(frozen=True, kw_only=True)
class ContractResult:
    """The verdict on one window, with the breaches that only warn."""

    window: str
    """Which rows were checked."""
    verdict: Verdict
    """FAIL with every rejecting breach by column, else PASS."""
    warnings: tuple[Reason, ...]
    """Breaches of learned limits that look like drift."""
    n: int
    checked: int
    """``n``, ``checked``: rows of the window, and of the sample its values were checked on."""
    findings: tuple[Finding, ...]
    """Everything that was checked."""


def judge_contract(
    contract: Contract, findings: Sequence[Finding], *, window: str, n: int, checked: int
) -> ContractResult:
    """Judge the checks of one window.

    What makes a window unreadable (a missing column, another kind of value, a column of nulls alone, wrong
    row counts, repeated keys) and what breaks a limit a person wrote is FAIL. Leaving limits that were only
    *learned* is drift, not a broken contract: it warns, until more than ``gross_tolerance`` of the window
    lies outside.

    Examples
    --------
    >>> missing = Finding(expectation=Expectation(check="exists", columns=("age",), hard=True), share=1.0, n=9)
    >>> judge_contract(Contract(columns=()), [missing], window="holdout", n=9, checked=9).verdict.outcome
    <Outcome.FAIL: 'FAIL'>
    """
    broken = [finding for finding in findings if _is_broken(finding)]
    fatal = [finding for finding in broken if _is_fatal(finding, gross=contract.gross_tolerance)]
    message = f"The {window} window meets its contract."
    met = Reason(code="contract_met", message=message, observed=len(findings), n=n)
    reasons = tuple(explain_finding(finding, window=window) for finding in fatal) or (met,)
    return ContractResult(
        window=window,
        verdict=Verdict(outcome=Outcome.FAIL if fatal else Outcome.PASS, reasons=reasons),
        warnings=tuple(explain_finding(f, window=window) for f in broken if f not in fatal),
        n=n,
        checked=checked,
        findings=tuple(findings),
    )


def _is_broken(finding: Finding) -> bool:
    return finding.share > finding.expectation.limit


def _is_fatal(finding: Finding, *, gross: float) -> bool:
    """Tell a breach that rejects from drift."""
    expected, share = finding.expectation, finding.share
    if expected.hard or expected.check == "exists":
        return expected.hard
    return (expected.check == "nulls" and share == 1.0) or share > expected.limit + gross


def explain_finding(finding: Finding, *, window: str) -> Reason:
    """Return the sentence of one breach: the column, what was observed, the limit, some values."""
    expected = finding.expectation
    names, share, bounds = ", ".join(expected.columns), f"{finding.share:.1%}", _bounds(expected)
    column, shown = f"column '{names}'", f", e.g. {', '.join(finding.examples)}" if finding.examples else ""
    kind, allowed = expected.kind, f"allowed {expected.limit:.1%}"
    texts: dict[Check, tuple[str, str]] = {
        "exists": ("missing_column", f"{column} is missing"),
        "kind": ("kind_changed", f"{column} should hold a {kind}, {share} of its values do not{shown}"),
        "nulls": ("too_many_nulls", f"{column} has {share} nulls, {allowed}"),
        "range": ("out_of_range", f"{column} has {share} of values outside {bounds}, {allowed}{shown}"),
        "categories": (
            "unseen_categories",
            f"{column} has {share} of values outside its categories, {allowed}{shown}",
        ),
        "rows": ("row_count", f"there are {finding.observed} rows, expected {bounds}"),
        "unique": ("not_unique", f"{share} of rows repeat ({names}), which should identify a row{shown}"),
    }
    code, text = texts[expected.check]
    counted = expected.check == "rows"
    return Reason(
        code=code,
        message=f"In the {window} window {text}.",
        observed=finding.observed if counted else round(finding.share, 6),
        limit=bounds if counted else expected.limit,
        n=finding.n,
    )


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """Return the JSON form of one finding."""
    expected = finding.expectation
    return {
        "check": expected.check,
        "columns": list(expected.columns),
        "expected": _expected(expected),
        "share_outside": finding.share,
        "limit": expected.limit,
        "met": not _is_broken(finding),
        "hard": expected.hard,
        "n": finding.n,
        "examples": list(finding.examples),
    }


def _expected(expected: Expectation) -> str:
    if expected.check in {"range", "rows"}:
        return _bounds(expected)
    if expected.check == "categories":
        return ", ".join((expected.categories or ())[:20])
    return expected.kind if expected.check == "kind" else ""


def _bounds(expected: Expectation) -> str:
    low = "-∞" if expected.minimum is None else f"{expected.minimum:g}"
    high = "∞" if expected.maximum is None else f"{expected.maximum:g}"
    return f"[{low}, {high}]"


# The contract's result as a JSON document and as a page that needs no network.


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
    titles = ("check", "columns", "expected", "share outside", "limit", "result", "examples")
    for result in results:
        failed = result.verdict.outcome is Outcome.FAIL
        breaches = [("FAIL", reason.message) for reason in result.verdict.reasons] if failed else []
        breaches += [("WARNING", reason.message) for reason in result.warnings]
        parts += [
            html.heading(f"{result.window}: {result.verdict.outcome.value}"),
            html.paragraph(f"{result.n:,} rows, values checked on {result.checked:,} of them."),
            html.table(("", "what"), breaches) if breaches else html.paragraph("Nothing to remark."),
            html.table(titles, [_finding_row(finding) for finding in result.findings]),
        ]
    return html.page(title, parts)


def _finding_row(finding: Finding) -> list[Any]:
    """Return one row of the table of findings."""
    expected, broken = finding.expectation, "FAIL" if finding.expectation.hard else "WARNING"
    limits = [_expected(expected), finding.share, expected.limit]
    result = broken if _is_broken(finding) else "PASS"
    return [expected.check, ", ".join(expected.columns), *limits, result, ", ".join(finding.examples)]
