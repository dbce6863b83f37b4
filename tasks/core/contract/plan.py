"""What a contract asks of a window, described as a plan of expectations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.core.contract.contract import ColumnRule, Contract, Kind

Check = Literal["exists", "kind", "nulls", "range", "categories", "rows", "unique"]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One thing a window must satisfy; described here, checked by ``tasks.io.contracts``.

    ``limit`` is the largest share (0 to 1) of offending values; ``hard`` says that any breach rejects.
    """

    check: Check
    columns: tuple[str, ...] = ()
    kind: Kind = "any"
    limit: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    hard: bool = False


def plan_expectations(contract: Contract, kinds: Mapping[str, Kind]) -> list[Expectation]:
    """Return what to check on a window whose columns hold ``kinds`` (present columns only).

    Values are looked at only in columns that are present and of the right kind: the range of a text is not
    a second finding.
    """
    plan = [
        Expectation(
            check="rows", minimum=float(contract.min_rows), maximum=_as_float(contract.max_rows), hard=True
        )
    ]
    for rule in contract.columns:
        plan.append(Expectation(check="exists", columns=(rule.name,), hard=rule.required))
        if rule.name in kinds:
            plan += _expect_values(rule, kinds[rule.name], outside=contract.outside_tolerance)
    present = [columns for columns in contract.unique if set(columns) <= set(kinds)]
    return plan + [Expectation(check="unique", columns=columns, hard=True) for columns in present]


def _expect_values(rule: ColumnRule, found: Kind, *, outside: float) -> list[Expectation]:
    columns = (rule.name,)
    plan = [Expectation(check="nulls", columns=columns, limit=rule.max_nulls, hard="nulls" in rule.by_hand)]
    if rule.kind in {"number", "time"}:
        plan.append(Expectation(check="kind", columns=columns, kind=rule.kind, hard=True))
    if rule.kind == "number" and found == "number":
        plan += _expect_range(rule, outside=outside)
    if rule.categories is not None and found != "any":
        by_hand = "categories" in rule.by_hand
        plan.append(
            Expectation(
                check="categories", columns=columns, categories=rule.categories, limit=outside, hard=by_hand
            )
        )
    return plan


def _expect_range(rule: ColumnRule, *, outside: float) -> list[Expectation]:
    """Return the learned and the written bounds apart: only the written ones reject at once."""
    bounds = {"minimum": rule.minimum, "maximum": rule.maximum}
    plan = []
    for hard in (True, False):
        part = {
            name: bound
            for name, bound in bounds.items()
            if bound is not None and (name in rule.by_hand) is hard
        }
        if part:
            plan.append(
                Expectation(
                    check="range",
                    columns=(rule.name,),
                    minimum=part.get("minimum"),
                    maximum=part.get("maximum"),
                    limit=outside,
                    hard=hard,
                )
            )
    return plan


def _as_float(value: int | None) -> float | None:
    return None if value is None else float(value)
