"""What a health check answers with, and all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.core.verdict import Reason


class Condition(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check, with the numbers that decided."""

    name: str
    condition: Condition
    reason: Reason

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: ``check``, ``condition`` and the reason's parts."""
        return {"check": self.name, "condition": self.condition.value, **self.reason.to_dict()}


@dataclass(frozen=True, kw_only=True)
class HealthReport:
    """All checks of one run."""

    checks: tuple[Check, ...]

    @property
    def condition(self) -> Condition:
        """The worst of the checks that apply."""
        found = {check.condition for check in self.checks}
        return next((one for one in (Condition.FAILED, Condition.WARNING) if one in found), Condition.OK)

    def ill(self) -> Iterator[Check]:
        """Yield checks that warn or failed."""
        yield from (c for c in self.checks if c.condition in (Condition.WARNING, Condition.FAILED))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Reasons of the checks that warn or failed."""
        return tuple(check.reason for check in self.ill())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"condition": self.condition.value, "checks": [check.to_dict() for check in self.checks]}


def check(
    name: str,
    condition: Condition,
    message: str,
    *,
    observed: float | str | None = None,
    limit: float | str | None = None,
    n: int | None = None,
) -> Check:
    """Return a check whose reason's code is its name and how it ended, e.g. ``feed_failed``."""
    code = f"{name}_{condition.value}"
    return Check(
        name=name,
        condition=condition,
        reason=Reason(code=code, message=message, observed=observed, limit=limit, n=n),
    )


def duration(seconds: float) -> str:
    """Return a length of time for people.

    >>> duration(90.0), duration(7200.0), duration(200000.0)
    ('90 s', '2 h', '2.3 days')
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
