"""What the gate hands on: the stage's result, and the tags that tell the version's story."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.core.challenge.opponents import REJECTED_FOR
from tasks.core.gates.context import GateContext
from tasks.core.gates.validate import GateDecision
from tasks.core.reign.realm import APPROVED, VALIDATION_STATUS
from tasks.core.verdict import StageResult, State

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
