"""How a run of retraining ends: as its last stage does, or with what holds it; and the page about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from evergreen.tasks.core.reports.html import markdown_table
from evergreen.tasks.core.retraining.decide import cooldown_ends_at
from evergreen.tasks.core.retraining.history import Attempt, RetrainHistory
from evergreen.tasks.core.retraining.types import RetrainDecision, RetrainingAction, RetrainPolicy
from evergreen.tasks.core.verdict import Reason, StageResult, State


def conclude_refusal(
    model: str, decision: RetrainDecision, *, closed: Sequence[Reason] = (), dry_run: bool = False
) -> StageResult:
    """Return how a run ends that starts nothing: Blocked or InsufficientData; of a dry run, what it would have done."""
    reasons, plain = (*decision.reasons, *closed), decision.to_dict()
    details = {name: plain[name] for name in ("outcome", "causes", "next_allowed_at")}
    if dry_run:
        would = "would start" if decision.starts else "would not start"
        message = f"A dry run: a retraining {would}; nothing was done."
        reasons, details = (Reason(code="dry_run", message=message), *reasons), {**details, "dry_run": True}
    if decision.starts:
        details["next_allowed_at"] = None
    insufficient = decision.outcome is RetrainingAction.INSUFFICIENT
    state = State.INSUFFICIENT_DATA if insufficient else State.BLOCKED
    return StageResult(state=state, model=model, reasons=reasons, details=details)


def conclude_busy(
    model: str, history: RetrainHistory, *, now: datetime, policy: RetrainPolicy
) -> StageResult:
    """Return how a run ends while another is at work: Blocked, with the moment from which one may start again."""
    free_at, running = cooldown_ends_at(history, policy) or now + policy.cooldown, history.last
    claim = f" ({running.claim}, since {running.at:%Y-%m-%d %H:%M:%S} UTC)" if running else ""
    message = f"A retraining of '{model}' is in progress{claim}; one runs at a time."
    details = {"outcome": RetrainingAction.HOLD.value, "causes": [], "next_allowed_at": free_at.isoformat()}
    reasons = (Reason(code="in_progress", message=message),)
    return StageResult(state=State.BLOCKED, model=model, reasons=reasons, details=details)


def conclude_retraining(
    result: StageResult, attempt: Attempt, *, closed: Sequence[Reason] = ()
) -> StageResult:
    """Return how a retraining ends: as the last stage did, with the causes and each stage's result."""
    causes = (cause.to_reason() for cause in attempt.causes)
    facts: dict[str, Any] = {
        "outcome": RetrainingAction.START.value,
        "claim": attempt.claim,
        "causes": [cause.to_dict() for cause in attempt.causes],
        "forced": attempt.forced,
        "resumed": attempt.resumed,
        "stages": {name: dict(stage) for name, stage in attempt.stages.items()},
    }
    return replace(
        result,
        decision_id=None,
        reasons=(*causes, *result.reasons, *closed),
        details={**result.details, **facts, "evidence": result.decision_id},
    )


def retraining_markdown(result: StageResult) -> str:
    """Return the page of a run: how it ended, what asked, each stage's result, when the next may start."""
    facts = result.details
    lines = [f"## {result.model}: {result.state.value}", ""]
    lines += [f"- `{reason.code}` {reason.message}" for reason in result.reasons]
    stages = facts.get("stages") or {}
    if stages:
        rows = [
            (name, one["state"], one["version"] or "-", one["decision_id"] or "-")
            for name, one in stages.items()
        ]
        lines += ["", *markdown_table(("stage", "ended", "version", "decision"), rows)]
    if facts.get("next_allowed_at"):
        lines += ["", f"The next retraining may start at {facts['next_allowed_at']}."]
    return "\n".join(lines)
