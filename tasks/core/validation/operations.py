"""Operational gates: smoke test, latency and size; measured live, never replayed."""

from __future__ import annotations

from typing import Any

from evergreen.tasks.core.config.evaluation import LatencyLimits
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, check, gate
from evergreen.tasks.core.validation.smoke import SmokeReport, judge_smoke
from evergreen.tasks.core.verdict import Reason


def check_smoke(report: SmokeReport) -> CheckResult:
    """Require that every probe in the fresh process was answered correctly."""
    return CheckResult(name="smoke", verdict=judge_smoke(report), family="operational")


def check_latency(report: SmokeReport, *, limits: LatencyLimits) -> CheckResult:
    """Compare the measured latency of one row and of a batch with the limits, in milliseconds."""
    if report.single is None or report.batch is None:
        reason = Reason(code="latency_unknown", message="No latency was measured: the model did not answer.")
        return check("latency", failed=[reason], family="operational")
    single, batch = report.single, report.batch
    many = f"The 95th percentile for {batch.rows} rows"
    measured = (
        ("latency_p50_ms", "The median for one row", single.p50_ms, limits.p50_ms),
        ("latency_p95_ms", "The 95th percentile for one row", single.p95_ms, limits.p95_ms),
        ("latency_batch_p95_ms", many, batch.p95_ms, limits.batch_p95_ms),
    )
    failed = [_too_slow(what, value, limit) for _, what, value, limit in measured if not value <= limit]
    message = f"One row {single.p50_ms:.3g} ms (p95 {single.p95_ms:.3g}), {batch.rows} rows p95 {batch.p95_ms:.3g} ms."
    numbers: dict[str, Any] = {"observed": single.p95_ms, "limit": limits.p95_ms, "n": single.repeats}
    met = Reason(code="latency_met", message=message, **numbers)
    values = {name: value for name, _, value, _ in measured}
    return check("latency", failed=failed, met=met, measured=values, family="operational")


def _too_slow(what: str, value: float, limit: float) -> Reason:
    message = f"{what} is {value:.4g} ms, allowed {limit:g} ms."
    return Reason(code="too_slow", message=message, observed=value, limit=limit)


def check_size(report: SmokeReport, *, max_mb: float) -> CheckResult:
    """Compare the size of the model's files with the limit, in megabytes."""
    size = report.size_mb
    if size is None:
        reason = Reason(code="size_unknown", message="The size is unknown: the model could not be fetched.")
        return check("size", failed=[reason], family="operational")
    text, measured, failed = f"The model's files have {size:.1f} MB", {"model_mb": size}, []
    if not size <= max_mb:
        message = f"{text}, allowed {max_mb:g} MB."
        failed = [Reason(code="too_large", message=message, observed=size, limit=max_mb)]
    met = Reason(code="size_met", message=f"{text}.", observed=size, limit=max_mb)
    return check("size", failed=failed, met=met, measured=measured, family="operational")


@gate("smoke", needs=("smoke",), always=True)
def smoke_gate(context: GateContext) -> CheckResult:
    """Require right answers in a fresh process."""
    return check_smoke(_live(context))


@gate("latency", section="validation.latency", needs=("smoke",), always=True)
def latency_gate(context: GateContext, limits: LatencyLimits) -> CheckResult:
    """Require answers in time."""
    return check_latency(_live(context), limits=limits)


@gate("size", section="validation.max_model_mb", needs=("smoke",), always=True)
def size_gate(context: GateContext, max_mb: float) -> CheckResult:
    """Require files that are not too large."""
    return check_size(_live(context), max_mb=max_mb)


def _live(context: GateContext) -> SmokeReport:
    assert context.smoke is not None
    return context.smoke
