"""What a smoke test in its own process measured, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Outcome, Reason, Verdict


@dataclass(frozen=True, kw_only=True)
class SmokeProbe:
    """One question put to the loaded model: its name, whether the answer was right, and what happened."""

    name: str
    passed: bool
    message: str


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one kind of request, over ``repeats`` requests of ``rows`` rows."""

    p50_ms: float
    p95_ms: float
    rows: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class SmokeReport(Struct):
    """Everything measured on a model in its own process."""

    uri: str
    """What was loaded."""
    version: int | None = None
    """The version it resolved to."""
    probes: tuple[SmokeProbe, ...]
    """Questions and answers."""
    single: Latency | None = None
    batch: Latency | None = None
    """Latency for one row and for a batch; None when the model never loaded."""
    size_mb: float | None = None
    load_seconds: float | None = None
    """Size of the model's files in megabytes (10^6 bytes), and the time to load it."""


def judge_smoke(report: SmokeReport) -> Verdict:
    """Fail with one reason for each probe that failed.

    Examples
    --------
    >>> broken = SmokeProbe(name="one_row", passed=False, message="no answer")
    >>> judge_smoke(SmokeReport(uri="models:/m/1", probes=(broken,))).reasons[0].code
    'smoke_one_row'
    """
    failed = []
    for probe in (one for one in report.probes if not one.passed):
        message = f"Smoke test '{probe.name.replace('_', ' ')}' failed: {probe.message}"
        failed.append(Reason(code=f"smoke_{probe.name}", message=message))
    if failed or not report.probes:
        nothing = Reason(code="smoke_nothing", message="The smoke test sent no rows, so it proves nothing.")
        return Verdict(outcome=Outcome.FAIL, reasons=tuple(failed) or (nothing,))
    count = len(report.probes)
    message = f"{report.uri} answered {count} probes correctly in a fresh process."
    met = Reason(code="smoke_met", message=message, observed=count)
    return Verdict(outcome=Outcome.PASS, reasons=(met,))
