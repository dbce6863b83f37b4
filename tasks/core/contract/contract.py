"""The data contract: what a window of rows must look like, frozen with the version that learned it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pandas.api import types

from evergreen.tasks.core.serial import Struct

Kind = Literal["number", "text", "time", "any"]


@dataclass(frozen=True, kw_only=True)
class ColumnRule(Struct):
    """Limits of one column.

    Attributes
    ----------
    name : str
        Column.
    kind : {'number', 'text', 'time', 'any'}
        What the values must be; ``any`` is not checked.
    required : bool
        The column must be present.
    max_nulls : float
        Largest share of nulls, 0 to 1.
    minimum, maximum : float | None
        Bounds of the values, both inclusive, in the column's own unit; None: unbounded.
    categories : tuple[str, ...] | None
        Allowed values as text; None: an open vocabulary.
    by_hand : tuple[str, ...]
        Which of ``nulls``, ``minimum``, ``maximum``, ``categories`` a person wrote: breaking those rejects,
        breaking what was only learned warns until most of the window is outside.
    """

    name: str
    kind: Kind = "any"
    required: bool = True
    max_nulls: float = 1.0
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contract(Struct):
    """What every window of a version's rows is checked against.

    Attributes
    ----------
    columns : tuple[ColumnRule, ...]
        One rule a column.
    unique : tuple[tuple[str, ...], ...]
        Sets of columns that together identify a row.
    min_rows, max_rows : int, int | None
        Bounds of the number of rows, inclusive.
    outside_tolerance : float
        Share of values that may leave range or categories unremarked.
    gross_tolerance : float
        Share outside *learned* limits from which the window is another quantity and the check fails.
    learned_rows : int
        Rows the limits were learned from.
    """

    columns: tuple[ColumnRule, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    min_rows: int = 1
    max_rows: int | None = None
    outside_tolerance: float = 0.01
    gross_tolerance: float = 0.5
    learned_rows: int = 0


def kind_of(values: pd.Series) -> Kind:
    """Return what a column holds; ``any`` for one of nulls alone, which says nothing.

    Numbers may be stored as objects (decimals of a database), categories by what they are made of.

    Examples
    --------
    >>> kind_of(pd.Series([1, None])), kind_of(pd.Series(["a"])), kind_of(pd.Series([None]))
    ('number', 'text', 'any')
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.categories.to_series()
    if types.is_datetime64_any_dtype(values.dtype):
        return "time"
    if types.is_numeric_dtype(values.dtype):
        return "any" if len(values) and bool(values.isna().all()) else "number"
    return _kind_of_objects(values)


def _kind_of_objects(values: pd.Series) -> Kind:
    found = types.infer_dtype(values, skipna=True)
    if found == "empty":
        return "any"
    if found in {"integer", "floating", "decimal", "mixed-integer-float", "boolean"}:
        return "number"
    return "time" if found in {"datetime", "datetime64", "date"} else "text"


def as_text(values: pd.Series) -> pd.Series:
    """Return categories as text, nulls kept; whole floats lose their ``.0``, so a null changes no name.

    Examples
    --------
    >>> as_text(pd.Series([1.0, None, 2.0])).tolist()
    ['1', None, '2']
    """
    return pd.Series(
        [None if missing else _text(value) for value, missing in zip(values, values.isna(), strict=True)],
        index=values.index,
        dtype=object,
    )


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# What a contract asks of a window, described as a plan of expectations.


Check = Literal["exists", "kind", "nulls", "range", "categories", "rows", "unique"]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One thing a window must satisfy; described here, checked by ``evergreen.tasks.io.contracts``.

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
