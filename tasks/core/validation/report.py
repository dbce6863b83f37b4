"""The gate's report: markdown for Prefect, a page and documents for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evergreen.tasks.core.contract.check import contract_document, contract_page
from evergreen.tasks.core.contract.contract import Contract
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Table, Tags, Text
from evergreen.tasks.core.promotion.registry_state import APPROVED, REJECTED_FOR, VALIDATION_STATUS
from evergreen.tasks.core.reports import html
from evergreen.tasks.core.validation.gate import CheckResult, GateContext
from evergreen.tasks.core.validation.validate import GateDecision
from evergreen.tasks.core.verdict import StageResult, State


def describe_validation(
    context: GateContext, decision: GateDecision, contract: Contract | None
) -> Iterator[LogItem]:
    """Yield what the run of one validation holds.

    Parameters
    ----------
    context, decision : GateContext, GateDecision
        What was judged, and the judgement.
    contract : Contract | None
        The version's contract; None when it is switched off.
    """
    yield Metrics(decision.measured)
    version, state = str(context.version), decision.state.value
    yield Tags({"evergreen.stage": "validation", "evergreen.version": version, "evergreen.state": state})
    yield Json("validation/report.json", validation_document(context, decision))
    yield Text("validation/report.html", validation_page(context, decision))
    rows, names = [_row(one) for one in decision.checks], ("check", "family", "outcome", "why")
    yield Table("validation/checks.json", {name: [row[k] for row in rows] for k, name in enumerate(names)})
    if contract is not None and context.contract:
        yield Json("validation/contract.json", contract_document(contract, context.contract))
        title = f"Data contract of {context.config.model}, version {context.version}"
        yield Text("validation/contract.html", contract_page(contract, context.contract, title=title))


def validation_document(context: GateContext, decision: GateDecision) -> dict[str, Any]:
    """Return the JSON form of the whole judgement."""
    smoke = None
    if context.smoke is not None:
        smoke = {name: getattr(context.smoke, name) for name in ("uri", "size_mb", "load_seconds")}
        probes = context.smoke.probes
        smoke["probes"] = [{"probe": one.name, "passed": one.passed, "said": one.message} for one in probes]
    return {
        "model": context.config.model,
        "version": context.version,
        "state": decision.state.value,
        **decision.verdict.to_dict(),
        "warnings": [reason.to_dict() for reason in decision.warnings],
        "checks": [one.to_dict() for one in decision.checks],
        "holdout_rows": len(context.scored),
        "smoke": smoke,
    }


def validation_page(context: GateContext, decision: GateDecision) -> str:
    """Return the page: why, then every check, then what the fresh process answered."""
    verdict = decision.verdict
    parts = [
        html.paragraph(f"{decision.state.value} on {len(context.scored):,} holdout rows."),
        html.table(("outcome", "why"), [(verdict.outcome.value, r.message) for r in verdict.reasons]),
        html.heading("Checks"),
        html.table(("check", "family", "outcome", "what decided"), [_row(one) for one in decision.checks]),
    ]
    if decision.warnings:
        warned = [("WARNING", reason.message) for reason in decision.warnings]
        parts += [html.heading("Warnings"), html.table(("", "what"), warned)]
    if context.smoke is not None:
        answers = [("PASS" if p.passed else "FAIL", p.name, p.message) for p in context.smoke.probes]
        parts += [html.heading("Fresh process"), html.table(("outcome", "probe", "what happened"), answers)]
    return html.page(f"Validation of {context.config.model}, version {context.version}", parts)


def validation_markdown(context: GateContext, decision: GateDecision, *, run_url: str | None) -> str:
    """Return the Prefect artifact."""
    rows = [(name, outcome, why) for name, _, outcome, why in map(_row, decision.checks)]
    lines = [
        f"# {context.config.model}, version {context.version}: {decision.state.value}",
        "",
        *(f"- {reason.message}" for reason in decision.verdict.reasons),
        "",
        *html.markdown_table(("check", "outcome", "what decided"), rows),
    ]
    if decision.warnings:
        lines += ["", "## Warnings", "", *(f"- {reason.message}" for reason in decision.warnings)]
    if run_url:
        lines += ["", f"[The run in MLflow]({run_url})"]
    return "\n".join(lines)


def _row(one: CheckResult) -> tuple[str, str, str, str]:
    why = " ".join(reason.message for reason in one.verdict.reasons)
    return one.name, one.family, one.verdict.outcome.value, why


# What the gate returns: the stage's result, and the tags that say what became of the version.


_LONGEST = 1_000


def conclude_validation(
    context: GateContext,
    decision: GateDecision,
    *,
    metrics: Mapping[str, float],
    baseline: Mapping[str, float],
    run: Mapping[str, Any],
) -> StageResult:
    """Return the stage's result.

    Parameters
    ----------
    context, decision : GateContext, GateDecision
        What was judged, and the judgement.
    metrics, baseline : mapping of str to float
        Holdout metrics of the version and of the naive baseline.
    run : mapping
        ``run_id`` and ``run_url`` of the report.
    """
    return StageResult(
        state=decision.state,
        model=context.config.model,
        reasons=decision.verdict.reasons,
        version=context.version,
        details={
            "metric": context.metric.name,
            "metrics": dict(metrics),
            "baseline": dict(baseline),
            "holdout_rows": len(context.scored),
            "checks": {one.name: one.verdict.outcome.value for one in decision.checks},
            "warnings": [reason.to_dict() for reason in decision.warnings],
            **run,
        },
    )


def version_tags(result: StageResult) -> dict[str, str]:
    """Return the tags of a judged version: its status, why it was rejected, where the evidence is.

    Examples
    --------
    >>> version_tags(StageResult(state=State.APPROVED, model="m", decision_id="m/decisions/1"))["validation_status"]
    'approved'
    """
    rejected = result.state is State.REJECTED
    why = "; ".join(reason.message for reason in result.reasons) if rejected else ""
    return {
        VALIDATION_STATUS: "rejected" if rejected else APPROVED,
        REJECTED_FOR: why if len(why) <= _LONGEST else f"{why[: _LONGEST - 1]}…",
        "evergreen.validation_run": str(result.details.get("run_id", "")),
        "evergreen.validation_decision": result.decision_id or "",
    }
