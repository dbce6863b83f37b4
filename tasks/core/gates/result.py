"""What a check of the gate answers with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.core.verdict import Outcome, Reason, Verdict

Family = Literal["statistical", "operational"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check: its verdict, what it warns about and the numbers that decided.

    Attributes
    ----------
    name : str
        Stable name of the check.
    verdict : Verdict
        PASS, FAIL or INSUFFICIENT with reasons.
    family : {'statistical', 'operational'}
        Statistical checks are replayed over history; operational ones (latency, smoke, size) run live only.
    warnings : tuple[Reason, ...]
        What a person should look at although it decides nothing.
    measured : dict[str, float]
        Numbers for the run, by a name MLflow accepts.
    """

    name: str
    verdict: Verdict
    family: Family = "statistical"
    warnings: tuple[Reason, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "check": self.name,
            "family": self.family,
            **self.verdict.to_dict(),
            "warnings": [reason.to_dict() for reason in self.warnings],
            "measured": self.measured,
        }


def check(
    name: str,
    *,
    failed: Iterable[Reason] = (),
    met: Reason | None = None,
    warnings: Iterable[Reason] = (),
    measured: dict[str, float] | None = None,
    family: Family = "statistical",
) -> CheckResult:
    """Build a result: FAIL when anything failed, else PASS with what was met."""
    reasons = tuple(failed)
    good = () if met is None else (met,)
    return CheckResult(
        name=name,
        verdict=Verdict(outcome=Outcome.FAIL if reasons else Outcome.PASS, reasons=reasons or good),
        family=family,
        warnings=tuple(warnings),
        measured=measured or {},
    )


def insufficient(name: str, reason: Reason, *, family: Family = "statistical") -> CheckResult:
    """Build a result for what cannot be judged yet; it never approves."""
    return CheckResult(
        name=name, verdict=Verdict(outcome=Outcome.INSUFFICIENT, reasons=(reason,)), family=family
    )
