"""Operational gates: smoke test, latency and size; measured live, never replayed."""

from __future__ import annotations

from collections.abc import Iterator

from evergreen.tasks.core.config.validation import LatencyLimits
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
    measured = {
        "latency_p50_ms": report.single.p50_ms,
        "latency_p95_ms": report.single.p95_ms,
        "latency_batch_p95_ms": report.batch.p95_ms,
    }
    ceilings = {
        "latency_p50_ms": limits.p50_ms,
        "latency_p95_ms": limits.p95_ms,
        "latency_batch_p95_ms": limits.batch_p95_ms,
    }
    message = (
        f"One row {report.single.p50_ms:.3g} ms (p95 {report.single.p95_ms:.3g}), "
        f"{report.batch.rows} rows p95 {report.batch.p95_ms:.3g} ms."
    )
    met = Reason(
        code="latency_met",
        message=message,
        observed=report.single.p95_ms,
        limit=limits.p95_ms,
        n=report.single.repeats,
    )
    return check(
        "latency",
        failed=list(_too_slow(measured, ceilings, report)),
        met=met,
        measured=measured,
        family="operational",
    )


def _too_slow(
    measured: dict[str, float], ceilings: dict[str, float], report: SmokeReport
) -> Iterator[Reason]:
    rows = 0 if report.batch is None else report.batch.rows
    what = {
        "latency_p50_ms": "The median for one row",
        "latency_p95_ms": "The 95th percentile for one row",
        "latency_batch_p95_ms": f"The 95th percentile for {rows} rows",
    }
    for name, value in measured.items():
        if not value <= ceilings[name]:
            message = f"{what[name]} is {value:.4g} ms, allowed {ceilings[name]:g} ms."
            yield Reason(code="too_slow", message=message, observed=value, limit=ceilings[name])


def check_size(report: SmokeReport, *, max_mb: float) -> CheckResult:
    """Compare the size of the model's files with the limit, in megabytes."""
    if report.size_mb is None:
        reason = Reason(code="size_unknown", message="The size is unknown: the model could not be fetched.")
        return check("size", failed=[reason], family="operational")
    message = f"The model's files have {report.size_mb:.1f} MB, allowed {max_mb:g} MB."
    reason = Reason(code="too_large", message=message, observed=report.size_mb, limit=max_mb)
    message = f"The model's files have {report.size_mb:.1f} MB."
    met = Reason(code="size_met", message=message, observed=report.size_mb, limit=max_mb)
    return check(
        "size",
        failed=[] if report.size_mb <= max_mb else [reason],
        met=met,
        measured={"model_mb": report.size_mb},
        family="operational",
    )


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
